"""`headrace topics`: make them, and tell whether they are as a worker needs them."""

import os
from pathlib import Path

import click

from worker.commands.options import config_option, json_option


@click.group(short_help="Create or check the topics.")
def topics() -> None:
    """Create or check the event topic, the model topic and the dead-letter topic."""


@topics.command(
    short_help="Tell whether they are as a worker needs them.",
    epilog="\b\nExamples:\n  headrace topics check\n  headrace topics check --json -c other.toml",
)
@config_option
@json_option
@click.pass_context
def check(context: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Tell whether the topics are as a worker needs them; changes nothing.

    Exit code: 0 all is well, 2 something is missing or not permitted, 3 no broker answers, 4 what is there does not
    fit.
    """
    from worker.commands import findings
    from worker.settings import load
    from worker.stream import client, doctor
    from worker.stream import topics as rules

    config = load(config_path, os.environ)
    found = rules.check(client.administer(config), config)
    findings.show(found, as_json=as_json)
    context.exit(doctor.exit_code(found))


@topics.command(
    epilog="""\b
Examples:
  headrace topics create --partitions 4
  headrace topics create                  # the event topic exists: make the other two like it
  headrace topics create --mend           # and set what does not fit
"""
)
@config_option
@click.option("--partitions", type=click.IntRange(min=1), help="Of the event topic, where it has to be made.")
@click.option(
    "--replication", type=click.IntRange(min=1), help="Brokers that hold each partition.  [default: the cluster's]"
)
@click.option("--mend", is_flag=True, help="Also change topics that exist and do not fit; no record is touched.")
def create(config_path: Path | None, partitions: int | None, replication: int | None, mend: bool) -> None:
    """Create the topics that are missing."""
    from worker.settings import load
    from worker.stream import client, provision
    from worker.stream import topics as rules

    config = load(config_path, os.environ)
    admin = client.administer(config)
    done = provision.create(admin, config, partitions=partitions, replication=replication, mend=mend)
    for line in done or ["nothing to do"]:
        click.echo(line)
    rules.require(admin, config)  # what is still wrong is told, with what to do
