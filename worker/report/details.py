"""What no chart shows: alarms, settings, what was left out, and what is needed to do the same again."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from worker.evaluation.runlog import RunLog
from worker.observe.wording import duration
from worker.report.figures import thinned
from worker.report.markup import Child, Markup, join, tag
from worker.report.scales import moment
from worker.report.tables import Column, behind, columns_of, left_out, named, table
from worker.report.words import UNKNOWN, count, plural

MOST_MARKS: Final = 200
MOST_SETTINGS: Final = 200
MOST_SHARDS: Final = 64
_LONG = 160  # characters of a setting


def marks_table(runs: Sequence[RunLog]) -> Markup | None:
    """Tell of alarms of drift, in the order of time."""
    marks = sorted(
        ((mark.order, number, mark) for number, run in enumerate(runs) for mark in run.marks), key=lambda one: one[:2]
    )
    if not marks:
        return None
    heads = ("Run", "Detector", "Shard", "Statistic", "Threshold", "Event of the shard")
    columns = [
        Column(head="Event time", text=True, whole=True),
        *(Column(head=head, text=number < 2) for number, head in enumerate(heads)),
    ]
    rows = [
        [
            moment(mark.time), named(runs[number], number), mark.signal, str(mark.shard), f"{mark.size:.3g}",
            f"{mark.threshold:.3g}", count(mark.event),
        ]
        for _, number, mark in thinned(marks, MOST_MARKS)
    ]  # fmt: skip
    every = sum(run.alarms for run in runs)
    return join(table(columns, rows, label="Alarms of drift"), left_out(every - len(rows), "alarm"))


def settings_table(runs: Sequence[RunLog]) -> Markup:
    """Tell in which settings runs differ, and which others are not the defaults."""
    names = sorted({name for run in runs for name in run.configuration})
    differing = [name for name in names if len({_setting(run, name) for run in runs}) > 1]
    parts: list[Markup] = []
    columns = [
        Column(head="Setting", text=True),
        *(Column(head=named(run, number), run=number, text=True) for number, run in enumerate(runs)),
    ]
    if len(runs) > 1 and differing:
        rows = [[name, *(_setting(run, name) for run in runs)] for name in differing[:MOST_SETTINGS]]
        parts += [
            table(columns, rows, label="Settings that differ"),
            left_out(len(differing) - MOST_SETTINGS, "setting") or Markup(""),
        ]
    elif len(runs) > 1:
        parts.append(tag("p", "The settings that the runs tell of do not differ.", class_="soft"))
    same = [name for name in names if name not in differing or len(runs) == 1]
    if same:
        rows = [[name, _setting(runs[0], name)] for name in same[:MOST_SETTINGS]]
        made = table([columns[0], Column(head="Value", text=True)], rows, label="Settings that are the same")
        what = "that the runs have in common" if len(runs) > 1 else "other than the defaults"
        parts.append(
            made if len(runs) == 1 else behind(made, f"{plural(len(same), 'setting')} {what}, other than the defaults")
        )
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
        [
            reason, run.name, str(example.shard), str(example.offset), example.detail,
            UNKNOWN if example.value is None else tag("code", example.value),
        ]
        for run in runs
        for reason, examples in run.examples.items()
        for example in examples
    ]  # fmt: skip
    heads = (
        ("Reason", True),
        ("Run", True),
        ("Shard", False),
        ("Offset", False),
        ("What is wrong", True),
        ("Begins with", True),
    )
    columns = [Column(head=head, text=text) for head, text in heads]
    if not rows:
        return None
    return behind(
        table(columns, rows[:MOST_MARKS], label="Rejected records"), f"Where to look: {plural(len(rows), 'record')}"
    )


def origins_table(runs: Sequence[RunLog]) -> Markup:
    """Tell what is needed to do the same again, and to know that it is the same."""
    heads = ("Run", "Began", "Took", "Source", "Headrace", "Shards", "Digests")
    columns = [Column(head=head, text=True, whole=head not in {"Run", "Source"}) for head in heads]
    rows = []
    for number, run in enumerate(runs):
        digests = [tag("code", f"{shard}: {digest}") for shard, digest in sorted(run.digests.items())[:MOST_SHARDS]]
        told = (
            behind(tag("div", *digests, class_="digests"), plural(len(run.digests), "digest")) if digests else UNKNOWN
        )
        rows.append(
            [
                named(run, number), moment(run.when), duration(run.seconds), run.source or UNKNOWN, run.headrace,
                count(run.shards), told,
            ]
        )  # fmt: skip
    return table(columns, rows, label="Where the numbers come from")


def _reasons(runs: Sequence[RunLog], of: Callable[[RunLog], dict[str, int]], head: str) -> Markup | None:
    reasons = sorted({reason for run in runs for reason in of(run)})
    if not reasons:
        return None
    rows = [[reason, *(count(of(run).get(reason, 0)) for run in runs)] for reason in reasons]
    return table([Column(head=head, text=True), *columns_of(runs)], rows, label=head)


def _setting(run: RunLog, name: str) -> str:
    if name not in run.configuration:
        return "default"
    told: Any = run.configuration[name]
    text = told if isinstance(told, str) else orjson.dumps(told).decode()
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"
