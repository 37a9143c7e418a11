"""The options that commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

DEFAULT_FILE: Final = "headrace.toml"

Command = TypeVar("Command", bound=Callable[..., Any])


def _default(_context: click.Context, _parameter: click.Parameter, given: Path | None) -> Path | None:
    if given is None and Path(DEFAULT_FILE).is_file():
        return Path(DEFAULT_FILE)
    return given


def config_option(command: Command) -> Command:
    """Add `--config`: the command is given `config_path`, which is None where only the environment configures."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        envvar="HEADRACE_CONFIG",
        show_envvar=True,
        callback=_default,
        help=f"The configuration file.  [default: ./{DEFAULT_FILE} where there is one]",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`: the command is given `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines to read.")(command)


def pack_option(command: Command) -> Command:
    """Add `--pack`: the command is given `pack_events`."""
    return click.option(
        "--pack",
        "pack_events",
        default=1_000,
        show_default=True,
        type=click.IntRange(1, 262_144),
        metavar="EVENTS",
        help='The most events of a message, where events.format is "arrow".',
    )(command)
