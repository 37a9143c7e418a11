"""`headrace doctor`: is everything there that a worker needs?"""

import os
from pathlib import Path

import click

from worker.commands.options import config_option, json_option


@click.command(
    short_help="Look whether all that a worker needs is there.",
    epilog="\b\nExamples:\n  headrace doctor\n  headrace doctor --json | jq '.[] | select(.level != \"ok\")'",
)
@config_option
@json_option
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds for a broker."
)
@click.pass_context
def doctor(context: click.Context, config_path: Path | None, as_json: bool, timeout: float) -> None:
    """Look at versions, settings, brokers, topics, permissions and ports, and say what to do.

    Nothing is written to a topic. Exit code: that of the worst finding, 0 where nothing failed, 2 configuration or
    permission, 3 no broker answers, 4 what is there does not fit.
    """
    from worker.commands import findings
    from worker.settings import load
    from worker.stream.doctor import examine, exit_code

    found = examine(load(config_path, os.environ), timeout)
    findings.show(found, as_json=as_json)
    context.exit(exit_code(found))
