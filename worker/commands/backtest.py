"""`headrace backtest`: several configurations over one recording."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.commands.options import config_option, json_option
from worker.commands.replaying import table, time_of

if TYPE_CHECKING:
    from worker.backtest import Candidate, Outcome, Ranked
    from worker.backtest.outcome import Prepared

EXAMPLES = """\b
Examples:
  headrace backtest tuesday --grid model.half_life=off,1d,7d --out tried
  headrace backtest tuesday --grid model.factors=8,16 --grid model.merge=true,false --out tried
  headrace backtest tuesday -c headrace.toml --with other.toml --delay 1h --out late
  headrace backtest tuesday --batch 1d --out batch      (is learning online worth it?)
  headrace run -c tried/winner.toml

\b
Interrupted, start the same command again: runs that are done are taken from --out as they are, if
their settings, their records and these options are the same.
"""


def _duration(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    from worker.backtest.candidates import milliseconds

    try:
        return milliseconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _warm_up(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """Read a share, below 1, or a duration, in milliseconds."""
    from worker.backtest.candidates import milliseconds

    try:
        if text.strip().endswith("%"):
            share = float(text.strip()[:-1]) / 100
            if not 0 <= share < 1:
                raise click.BadParameter(f"{text} is no share of the records: from 0% to 99%")
            return share
        return float(milliseconds(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a share such as 10% nor a duration such as 1d") from None


@click.command(epilog=EXAMPLES, short_help="Compare configurations over a recording, and take the best.")
@click.argument("recording")
@config_option
@click.option(
    "--with", "others", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Another configuration file to compare with; repeatable.",
)  # fmt: skip
@click.option(
    "--grid", "grid", multiple=True, metavar="SETTING=A,B",
    help="Change a setting of the configuration; of several, every combination is run. Repeatable.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Run so many combinations of the grid, drawn at random.")
@click.option("--yes", is_flag=True, help="Run a large grid as it is.")
@click.option(
    "--delay", "delay_ms", default="0", show_default=True, callback=_duration, metavar="1h",
    help="Learn an event's label only so much later, by the time of the log, as in life.",
)  # fmt: skip
@click.option(
    "--batch", "batches", multiple=True, metavar="1d",
    help="Compare with the configuration if it were retrained on all data so far, so often; repeatable.",
)  # fmt: skip
@click.option("--no-base-rate", is_flag=True, help="Do not compare with the share of positive labels so far.")
@click.option(
    "--warm-up", default="10%", show_default=True, callback=_warm_up, metavar="10%|1d",
    help="Learn so much without measuring it: a share of the records, or a duration.",
)  # fmt: skip
@click.option(
    "--shards", type=click.IntRange(1, 1_024), metavar="N",
    help="Part records among so many, by their keys, up to 1,024.  [default: as recorded]",
)  # fmt: skip
@click.option("--topic", help="Where the recording holds several.")
@click.option("--partition", "partitions", multiple=True, type=click.IntRange(min=0), help="Only this one; repeatable.")
@click.option("--from-timestamp", callback=time_of, metavar="TIME", help="From this record timestamp on.")
@click.option("--to-timestamp", callback=time_of, metavar="TIME", help="Up to this one.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1), help="Of the intervals and --limit."
)
@click.option(
    "--jobs", type=click.IntRange(1, 256),
    help="Runs at once, each in a process; the result is the same for any number.  [default: one a core]",
)  # fmt: skip
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path),
    help="The folder for winner.toml, report.html, backtest.json and what each run measured.",
)  # fmt: skip
@json_option
def backtest(
    recording: str,
    config_path: Path | None,
    others: tuple[Path, ...],
    grid: tuple[str, ...],
    limit: int | None,
    yes: bool,
    delay_ms: int,
    batches: tuple[str, ...],
    no_base_rate: bool,
    warm_up: float,
    shards: int | None,
    topic: str | None,
    partitions: tuple[int, ...],
    from_timestamp: int | None,
    to_timestamp: int | None,
    seed: int,
    jobs: int | None,
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Compare configurations over RECORDING: each learns all of it from nothing, predicting every event first.

    All are compared with the configuration of -c, over the same events: the interval of a difference is a bootstrap
    over blocks of time. The best that learns online is written to winner.toml. With --delay, what is predicted at a
    time t has learned no label of an event after t less the delay.
    """
    import orjson

    from worker import warm
    from worker.backtest import Backtest
    from worker.commands.sending import progress_bar

    candidates = _candidates(config_path, others, grid, limit, yes=yes, seed=seed, by_key=shards is not None)
    asked = Backtest(
        recording, candidates, out, topic=topic, begin=from_timestamp, end=to_timestamp,
        partitions=sorted(set(partitions)) or None, shards=shards, delay_ms=delay_ms, batches=batches,
        base_rate=not no_base_rate, warm_up=warm_up, seed=seed, jobs=jobs,
    )  # fmt: skip
    with progress_bar(None, doing="looking", what="records") as progress:
        prepared = asked.prepare(progress)
    for warning in prepared.warnings:
        click.echo(f"warning: {warning}", err=True)
    if prepared.waiting:
        warm.compile_all()  # once, for all processes
    with progress_bar(prepared.total, doing=_doing(prepared), what="records") as progress:
        outcome = prepared.run(progress)
    if as_json:
        click.echo(orjson.dumps(prepared.told(outcome), option=orjson.OPT_INDENT_2))
    else:
        click.echo(_told(outcome, delay_ms))


def _candidates(
    path: Path | None,
    others: tuple[Path, ...],
    grid: tuple[str, ...],
    limit: int | None,
    *,
    yes: bool,
    seed: int,
    by_key: bool,
) -> "list[Candidate]":
    from worker.backtest.candidates import MOST_RUNS, from_files
    from worker.backtest.grid import Axis, combinations, size, some
    from worker.errors import ConfigurationError

    axes = [Axis.parse(text) for text in grid]
    runs = size(axes)
    if limit is None and runs > MOST_RUNS and not yes:
        raise ConfigurationError(
            f"this grid has {runs:,} combinations, and each of them goes through the whole recording: --yes runs them "
            f"all, --limit {MOST_RUNS} runs so many of them, drawn at random"
        )
    if limit is not None and not axes:
        raise click.UsageError("--limit is of a grid: add --grid, or leave it out.")
    every = combinations(axes)
    return from_files(path, others, os.environ, every if limit is None else some(every, limit, seed), by_key=by_key)


def _doing(prepared: "Prepared") -> str:
    runs = len(prepared.waiting)
    return f"{runs} run{'' if runs == 1 else 's'}"


def _told(outcome: "Outcome", delay_ms: int) -> str:
    from worker.recording.times import as_text

    first = outcome.ranking[0]
    logistic = first.loss_kind == "logistic"
    loss = "log loss" if logistic else "half squared error"
    head = ["run", loss, "difference", f"{first.confidence:.0%} interval"]
    if logistic:
        head += ["AUC", "AUC points", f"{first.confidence:.0%} interval", "NE", "calibration"]
    lines = [tuple(_line(one, logistic=logistic)) for one in outcome.ranking]
    base = next(one.name for one in outcome.ranking if one.against is None)
    neighbours = [one.neighbours for one in outcome.ranking if one.neighbours]
    told = [
        f"{len(outcome.ranking)} runs over {outcome.records:,} records"
        + (f", {outcome.kept} of them made before" if outcome.kept else "")
        + f"; measured from {as_text(outcome.measured_from_ms)} on, {outcome.measured:,} events"
        + (f"; labels known {delay_ms / 1000:,.0f} s later" if delay_ms else ""),
        table(tuple(head), lines, left=("run",)),
    ]
    if neighbours:
        told.append(
            f"differences are from {base}; intervals by a circular block bootstrap, "
            f"{_range(neighbours)} blocks of time drawn together"
        )
        if len(neighbours) > 1:
            told.append("each interval is of one comparison: the best of many looks better than it is")
    else:
        told.append(f"differences are from {base}; there is too little time in it for intervals")
    told.append(
        f"best online: {outcome.winner.name}; {outcome.folder / 'winner.toml'}, {outcome.folder / 'report.html'}"
    )
    return "\n".join(told)


def _line(one: "Ranked", *, logistic: bool) -> list[str]:
    cells = [one.name, f"{one.log_loss:.5f}", _signed(one.difference, 5), _interval(one.low, one.high, 5)]
    if logistic:
        points, low, high = (
            None if value is None else 100 * value for value in (one.auc_difference, one.auc_low, one.auc_high)
        )
        cells += [
            _plain(one.auc), _signed(points, 2), _interval(low, high, 2),
            _plain(one.normalized_entropy), _plain(one.calibration, 3),
        ]  # fmt: skip
    return cells


def _plain(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:+.{digits}f}"


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f"{low:+.{digits}f} to {high:+.{digits}f}"


def _range(values: list[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"
