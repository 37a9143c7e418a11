"""The tables of a report: all that its charts show, and what no chart can. Each is bounded, and says what it leaves out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from worker.evaluation.runlog import Compared, RunLog
from worker.report.chart import interval
from worker.report.comparing import ranked
from worker.report.figures import Axis, Figure, thinned
from worker.report.markup import Child, Markup, join, tag
from worker.report.scales import Scale, moment, span
from worker.report.words import UNKNOWN, count, plural, share, signed, value

MOST_RUNS: Final = 100
MOST_MARKS: Final = 200
MOST_SETTINGS: Final = 200
MOST_SHARDS: Final = 64
_LONG = 160  # characters of a setting


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    head: Child
    run: int | None = None  # whose it is: the legend hides it too
    text: bool = False  # else numbers, to the right

    @property
    def kind(self) -> str | None:
        """Give its class."""
        names = [f"run s{self.run}"] if self.run is not None else []
        return " ".join([*names, *(["text"] if self.text else [])]) or None


def table(columns: Sequence[Column], rows: Iterable[Sequence[Child]], *, label: str) -> Markup:
    """Make a table that scrolls sideways by itself where it is wider than the page."""
    head = (tag("th", column.head, scope="col", class_=column.kind) for column in columns)
    body = (
        tag("tr", *(
            tag("td" if number else "th", cell, class_=column.kind, scope=None if number else "row")
            for number, (column, cell) in enumerate(zip(columns, row, strict=True))
        ))
        for row in rows
    )  # fmt: skip
    made = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", made, class_="scroll", tabindex=0, role="region", aria_label=label)


def behind(made: Markup, what: str) -> Markup:
    """Put a table behind a line that opens it."""
    return tag("details", tag("summary", what), made)


def named(run: RunLog, number: int | None) -> Markup:
    """Write a run's name beside its colour; None where it has none, for it is in no chart."""
    key = None if number is None else tag("i", class_=f"key s{number}")
    return tag("span", key, run.name, class_="name")


def runs_table(runs: Sequence[RunLog], shown: Sequence[RunLog]) -> Markup:
    """Tell of every run, the best first."""
    best, logistic = ranked(runs)[0].totals.loss, runs[0].loss == "logistic"
    heads = ["Log loss" if logistic else "Loss", "to the best"]
    if logistic:
        heads += ["Normalised entropy", "Calibration", "Calibration error", "AUC"]
    else:
        heads += ["Mean prediction", "Mean label"]
    heads += ["Events", "Events/s", "Alarms", "Rejected"]
    columns = [Column(head="Run", text=True), Column(head="Mode", text=True), *(Column(head=head) for head in heads)]
    rows = []
    for run in ranked(runs)[:MOST_RUNS]:
        told = run.totals
        more = told.loss is not None and best
        row: list[Child] = [
            named(run, _number(run, shown)), run.mode, tag("b", value(told.loss)),
            (f"+{share(told.loss / best - 1)}" if told.loss != best else "best") if more and told.loss else UNKNOWN,
        ]  # fmt: skip
        if logistic:
            auc = value(told.auc) + (f" ±{told.auc_error:.1g}" if told.auc is not None and told.auc_error else "")
            row += [value(told.normalized_entropy), value(told.calibration), value(told.calibration_error), auc]
        else:
            row += [value(told.mean_score), value(told.base_rate)]
        rejected = sum(run.rejected.values())
        rows.append([*row, count(run.events), count(run.events_per_second), count(run.alarms), count(rejected)])
    return join(table(columns, rows, label="Runs"), _left_out(len(runs) - MOST_RUNS, "run"))


def comparison_table(comparison: Sequence[Compared]) -> Markup:
    """Tell how runs compare, event by event, with the interval of each difference drawn."""
    entries = sorted(comparison, key=lambda one: one.log_loss)[:MOST_RUNS]
    ends = [end for one in entries for end in (one.low, one.high, one.difference) if end is not None]
    scale = Scale.of_values([*ends, 0.0])
    columns = [
        Column(head="Run", text=True), Column(head="Log loss"), Column(head="AUC"), Column(head="Difference"),
        Column(head="Confidence interval"), Column(head=f"{scale.low:+.2g} … 0 … {scale.high:+.2g}", text=True),
        Column(head="Compared with", text=True),
    ]  # fmt: skip
    rows = []
    for one in entries:
        known = one.difference is not None and one.low is not None and one.high is not None
        rows.append(
            [
                one.name, tag("b", value(one.log_loss)), value(one.auc), signed(one.difference),
                f"{signed(one.low)} to {signed(one.high)} ({share(one.confidence)})" if known else UNKNOWN,
                interval(one.low or 0.0, one.high or 0.0, one.difference or 0.0, scale) if known else UNKNOWN,
                one.against or UNKNOWN,
            ]
        )  # fmt: skip
    made = table(columns, rows, label="Comparison of runs")
    return join(tag("div", made, class_="compared"), _left_out(len(comparison) - MOST_RUNS, "run"))


def windows_table(figure: Figure, runs: Sequence[RunLog], axis: Axis) -> Markup:
    """Tell a value of every window of runs."""
    told: dict[int, dict[int, str]] = {}
    for number, run in enumerate(runs):
        for window in run.windows:
            told.setdefault(window.begin - axis.starts[number], {})[number] = value(figure.of(window))
    columns = [Column(head="Window begins", text=True), *_columns(runs)]
    rows = [[axis.moment(begin), *(cells.get(number, "") for number in range(len(runs)))] for begin, cells in sorted(told.items())]
    return behind(table(columns, rows, label=f"{figure.title} by window"), f"Values of {plural(len(rows), 'window')}")


def reliability_table(runs: Sequence[RunLog]) -> Markup:
    """Tell of every bin of scores, how often labels were positive."""
    bins = {(one.low, one.high) for run in runs for one in run.reliability}
    by_run = [{(one.low, one.high): one for one in run.reliability} for run in runs]
    columns = [Column(head="Score", text=True)]
    for number, run in enumerate(runs):
        columns += [Column(head=join(named(run, number), ": positive"), run=number), Column(head="events", run=number)]
    rows = []
    for low, high in sorted(bins):
        row: list[Child] = [f"{share(low)} to {share(high)}"]
        for of_run in by_run:
            one = of_run.get((low, high))
            row += [share(one.label) if one else "", count(one.weight) if one else ""]
        rows.append(row)
    return behind(table(columns, rows, label="Positive labels by score"), f"Values of {plural(len(rows), 'bin')} of scores")


def throughput_table(runs: Sequence[RunLog]) -> Markup:
    """Tell of every run how fast it was when."""
    told: dict[float, dict[int, str]] = {}
    for number, run in enumerate(runs):
        for pace in run.throughput:
            told.setdefault(pace.seconds, {})[number] = count(pace.events / pace.length_seconds)
    columns = [Column(head="Since the beginning", text=True), *_columns(runs)]
    rows = [[span(1_000 * at), *(cells.get(number, "") for number in range(len(runs)))] for at, cells in sorted(told.items())]
    return behind(table(columns, rows, label="Events a second"), f"Values of {plural(len(rows), 'step')}")


def slices_table(runs: Sequence[RunLog]) -> Markup | None:
    """Tell of every slice, how well runs predict it."""
    of_runs = [{(one.field, one.value): one for one in run.slices} for run in runs]
    names = list(dict.fromkeys(name for of_run in of_runs for name in of_run))
    if not names:
        return None
    columns = [Column(head="Slice", text=True), Column(head="Share"), Column(head="Base rate")]
    for number, run in enumerate(runs):
        columns += [
            Column(head=join(named(run, number), ": loss"), run=number),
            Column(head="normalised entropy", run=number), Column(head="calibration", run=number),
        ]  # fmt: skip
    rows = []
    for name in names:
        first = next(of_run[name] for of_run in of_runs if name in of_run)
        weight = next(run.totals.weight for run, of_run in zip(runs, of_runs, strict=True) if name in of_run)
        row: list[Child] = [
            f"{name[0]} = {name[1]}", share(first.weight / weight if weight else None), share(first.base_rate)
        ]  # fmt: skip
        for of_run in of_runs:
            one = of_run.get(name)
            row += [value(one.loss if one else None), value(one.normalized_entropy if one else None), value(one.calibration if one else None)]
        rows.append(row)
    return table(columns, rows, label="Slices")


def marks_table(runs: Sequence[RunLog]) -> Markup | None:
    """Tell of alarms of drift, in the order of time."""
    marks = sorted(((mark.order, number, mark) for number, run in enumerate(runs) for mark in run.marks), key=lambda one: one[:2])
    if not marks:
        return None
    heads = ("Run", "Detector", "Shard", "Statistic", "Threshold", "Event of the shard")
    columns = [Column(head="Event time", text=True), *(Column(head=head, text=number < 2) for number, head in enumerate(heads))]
    rows = [
        [
            moment(mark.time), named(runs[number], number), mark.signal, str(mark.shard), value(mark.size),
            value(mark.threshold), count(mark.event),
        ]
        for _, number, mark in thinned(marks, MOST_MARKS)
    ]  # fmt: skip
    every = sum(run.alarms for run in runs)
    return join(table(columns, rows, label="Alarms of drift"), _left_out(every - len(rows), "alarm"))


def settings_table(runs: Sequence[RunLog]) -> Markup:
    """Tell in which settings runs differ, and which others are not the defaults."""
    names = sorted({name for run in runs for name in run.configuration})
    differing = [name for name in names if len({_setting(run, name) for run in runs}) > 1]
    parts: list[Markup] = []
    columns = [Column(head="Setting", text=True), *(Column(head=named(run, number), run=number, text=True) for number, run in enumerate(runs))]
    if len(runs) > 1 and differing:
        rows = [[name, *(_setting(run, name) for run in runs)] for name in differing[:MOST_SETTINGS]]
        parts += [table(columns, rows, label="Settings that differ"), _left_out(len(differing) - MOST_SETTINGS, "setting") or Markup("")]
    elif len(runs) > 1:
        parts.append(tag("p", "The settings that the runs tell of do not differ.", class_="soft"))
    same = [name for name in names if name not in differing or len(runs) == 1]
    if same:
        rows = [[name, _setting(runs[0], name)] for name in same[:MOST_SETTINGS]]
        made = table([columns[0], Column(head="Value", text=True)], rows, label="Settings that are the same")
        what = "that the runs have in common" if len(runs) > 1 else "other than the defaults"
        parts.append(made if len(runs) == 1 else behind(made, f"{plural(len(same), 'setting')} {what}, other than the defaults"))
    return join(*parts) if parts else tag("p", "All settings are the defaults.", class_="soft")


def rejected_table(runs: Sequence[RunLog]) -> Markup | None:
    """Tell why events were left out, with the first examples."""
    return _reasons(runs, lambda run: run.rejected, "Rejected because")


def skipped_table(runs: Sequence[RunLog]) -> Markup | None:
    """Tell why valid events were not learned."""
    return _reasons(runs, lambda run: run.skipped, "Skipped because")


def examples_table(runs: Sequence[RunLog]) -> Markup | None:
    """Tell where the first rejected records are."""
    rows: list[list[Child]] = [
        [reason, run.name, str(example.shard), str(example.offset), example.detail]
        for run in runs
        for reason, examples in run.examples.items()
        for example in examples
    ]
    heads = (("Reason", True), ("Run", True), ("Shard", False), ("Offset", False), ("What is wrong", True))
    columns = [Column(head=head, text=text) for head, text in heads]
    if not rows:
        return None
    return behind(table(columns, rows[:MOST_MARKS], label="Rejected records"), f"Where to look: {plural(len(rows), 'record')}")


def origins_table(runs: Sequence[RunLog]) -> Markup:
    """Tell what is needed to do the same again, and to know that it is the same."""
    columns = [Column(head=head, text=True) for head in ("Run", "Began", "Took", "Source", "Headrace", "Shards", "Digests")]
    rows = []
    for number, run in enumerate(runs):
        digests = [tag("code", f"{shard}: {digest}") for shard, digest in sorted(run.digests.items())[:MOST_SHARDS]]
        told = behind(tag("div", *digests, class_="digests"), plural(len(run.digests), "digest")) if digests else UNKNOWN
        rows.append(
            [
                named(run, number), moment(run.when), span(1_000 * run.seconds), run.source or UNKNOWN, run.headrace,
                count(run.shards), told,
            ]
        )  # fmt: skip
    return table(columns, rows, label="Where the numbers come from")


def _reasons(runs: Sequence[RunLog], of: Callable[[RunLog], dict[str, int]], head: str) -> Markup | None:
    reasons = sorted({reason for run in runs for reason in of(run)})
    if not reasons:
        return None
    rows = [[reason, *(count(of(run).get(reason, 0)) for run in runs)] for reason in reasons]
    return table([Column(head=head, text=True), *_columns(runs)], rows, label=head)


def _columns(runs: Sequence[RunLog]) -> list[Column]:
    return [Column(head=named(run, number), run=number) for number, run in enumerate(runs)]


def _number(run: RunLog, shown: Sequence[RunLog]) -> int | None:
    return next((number for number, one in enumerate(shown) if one is run), None)


def _setting(run: RunLog, name: str) -> str:
    if name not in run.configuration:
        return "default"
    told: Any = run.configuration[name]
    text = told if isinstance(told, str) else orjson.dumps(told).decode()
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _left_out(number: int, what: str) -> Markup | None:
    return tag("p", f"And {plural(number, f'more {what}')}.", class_="soft") if number > 0 else None
