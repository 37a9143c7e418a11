"""The `headrace` command: its subcommands, and how every error becomes a message and an exit code."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

import click

from worker import __version__
from worker.errors import HeadraceError

INTERRUPTED: Final = 130  # 128 + SIGINT, as a shell says it

# A command, and where it is: "module:attribute". Modules import click alone at their head, and what is heavy inside.
COMMANDS: Final = {
    "run": "worker.commands.run:run",
    "follow": "worker.commands.follow:follow",
    "score": "worker.commands.follow:score",
    "explain": "worker.commands.explain:explain",
    "reshard": "worker.commands.reshard:reshard",
    "snapshot": "worker.commands.snapshot:snapshot",
    "simulate": "worker.commands.simulate:simulate",
    "load": "worker.commands.load:load",
    "record": "worker.commands.record:record",
    "replay": "worker.commands.replay:replay",
    "verify": "worker.commands.verify:verify",
    "report": "worker.commands.report:report",
    "backtest": "worker.commands.backtest:backtest",
    "config": "worker.commands.config:config",
    "topics": "worker.commands.topics:topics",
    "doctor": "worker.commands.doctor:doctor",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  headrace config example > headrace.toml
  headrace doctor
  headrace topics create --partitions 4

\b
Exit codes: 0 ok, 1 unexpected, 2 configuration, 3 broker unreachable,
4 incompatible data, 5 fenced, 6 stalled, 7 storage, 130 interrupted
""",
)
@click.version_option(__version__, prog_name="headrace")
def headrace() -> None:
    """Turn a Kafka topic of interactions into a recommendation model that is seconds old."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: the one place where an error becomes a message and a code.

    An error that we did not foresee keeps its traceback: it is for us to read.
    """
    if os.getpid() == 1:  # of a container: the kernel drops what asks it to end, until something listens
        signal.signal(signal.SIGTERM, _end)
    try:
        code = headrace.main(args=arguments, prog_name="headrace", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HeadraceError as error:
        click.echo(f"headrace: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
