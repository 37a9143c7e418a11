"""`headrace run`: the worker."""

import os
from pathlib import Path

import click

from worker.commands.options import config_option

EXAMPLES = """\b
Examples:
  headrace run
  headrace run -c headrace.toml
  HEADRACE_METRICS__PORT=0 headrace run      (a second worker on the same machine)

\b
SIGTERM or Ctrl-C: commits what is learned, leaves the group, ends. A second one ends at once;
what was not committed then is learned again by whoever takes over.
"""


@click.command(epilog=EXAMPLES, short_help="Learn from the event topic until stopped.")
@config_option
def run(config_path: Path | None) -> None:
    """Learn from the event topic, as one member of the group, until stopped."""
    from worker.observe import log
    from worker.run import run as work
    from worker.settings import load

    config = load(config_path, os.environ)
    log.setup(config.log.level, config.log.format)
    work(config)
