"""`headrace config`: check it, show what is in force, print one to begin with."""

import os
from pathlib import Path

import click

from worker.commands.options import config_option, json_option


@click.group(short_help="Check or show the configuration.")
def config() -> None:
    """Check or show the configuration, or print one to begin with.

    A setting comes from the file, or from the environment, which goes before the file: HEADRACE_KAFKA__GROUP sets
    kafka.group, HEADRACE_FEATURES__AGE__KIND sets features.age.kind, HEADRACE_KAFKA__CLIENT__SASL_PASSWORD sets
    sasl.password of [kafka.client]. An empty variable counts as unset.
    """


@config.command(epilog="\b\nExamples:\n  headrace config check\n  headrace config check -c staging.toml")
@config_option
def check(config_path: Path | None) -> None:
    """Read and validate the configuration; no broker is asked.

    Exit code: 0 it is good, 2 it is not.
    """
    from worker.commands import findings
    from worker.events.columns import columns_of
    from worker.settings import load
    from worker.stream import client
    from worker.stream.doctor import cautions

    found = load(config_path, os.environ)
    client.check(found)
    for labelled in (True, False):  # to learn from, to score: no field is to be read in ways that exclude each other
        columns_of(found.learning, labelled=labelled)
    count, local = len(found.features), sum(found.is_local(name) for name in found.features)
    click.echo(
        f"{config_path or 'environment'}: good; {count} feature{'s' if count > 1 else ''}, "
        f"{local} local to their shard, {count - local} shared"
    )
    findings.show(cautions(found), as_json=False)


@config.command(
    short_help="Print every setting in force, and where it was set.",
    epilog="\b\nExamples:\n  headrace config show\n  headrace config show --json | jq .settings.kafka",
)
@config_option
@json_option
def show(config_path: Path | None, as_json: bool) -> None:
    """Print every setting in force, and where it was set; secrets are masked."""
    from worker.commands import rendering
    from worker.settings import read

    loaded = read(config_path, os.environ)
    click.echo(rendering.as_json(loaded) if as_json else rendering.as_toml(loaded), nl=False)


@config.command(
    short_help="Print a configuration to begin with.",
    epilog="\b\nExample:\n  headrace config example > headrace.toml",
)
def example() -> None:
    """Print a configuration to begin with: every setting with its default and what it means."""
    from worker.commands import rendering

    click.echo(rendering.example(), nl=False)
