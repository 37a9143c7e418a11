"""`headrace report`: what runs measured, as one page."""

from pathlib import Path

import click

from worker.commands.options import json_option

EXAMPLES = """\b
Examples:
  headrace report run.json
  headrace report before.json after.json --out change.html
  headrace report runs/*.json --json
"""


@click.command(epilog=EXAMPLES, short_help="Make one page of what runs measured.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN.json...")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True,
    help="The HTML file.",
)  # fmt: skip
@json_option
def report(runs: tuple[Path, ...], out: Path, *, as_json: bool) -> None:
    """Make one page of what runs measured, out of their logs: a single HTML file that loads nothing from anywhere.

    It says in plain sentences which run is best, by how much, and whether it drifted; then loss, normalised entropy,
    calibration and AUC over event time, alarms, slices, reliability, throughput, settings that differ, and what was
    rejected. Charts of more than 8 runs show the best 8. It prints on A4, and can be read without a script.

    Exit code: 0 written, 2 the runs do not compare or the file cannot be written, 4 a file is no run log.
    """
    import orjson

    from worker.errors import ConfigurationError
    from worker.evaluation.runlog import RunLog
    from worker.report.comparing import ranked
    from worker.report.page import write_report

    if out.resolve() in {run.resolve() for run in runs}:
        raise ConfigurationError(f"{out} is one of the run logs: name another file for the report, with --out")
    logs = [RunLog.read(run) for run in runs]
    write_report(out, logs)
    best, size = ranked(logs)[0], out.stat().st_size
    if as_json:
        told = {
            "report": str(out), "bytes": size, "runs": [log.name for log in logs], "best": best.name,
            "loss": best.totals.loss,
        }  # fmt: skip
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        return
    of = f"{len(logs)} runs, of which {best.name} has the lowest loss" if len(logs) > 1 else f"the run {best.name}"
    click.echo(f"{out}: {of}; {size / 1_000:,.0f} kB, open it in a browser")
