"""The report: one HTML file that needs nothing else, neither a network nor, to be read, a script.

All that comes from runs is escaped where elements are made (`markup`). A policy inside the file lets nothing run but
the script that ships with it, so a mistake would not be the end of it.
"""

import re
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

import orjson

from worker import __version__
from worker.errors import ConfigurationError
from worker.evaluation.runlog import Compared, RunLog
from worker.files import write_whole
from worker.report import details, figures, overview, tables, values
from worker.report.chart import Chart
from worker.report.comparing import ranked
from worker.report.figures import Axis
from worker.report.markup import Child, Markup, join, tag
from worker.report.scales import moment, span
from worker.report.summary import sentences
from worker.report.words import count, plural

MOST_SHOWN: Final = 8  # runs in charts: more lines nobody can tell apart
_LONG_NAME = 160  # characters
_PLACE = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart, and what stands around it."""

    title: str
    meaning: str
    chart: Chart
    note: Markup
    table: Child

    def section(self) -> Markup:
        """Set it: half as wide as the page."""
        return _section(self.title, self.meaning, self.chart.svg(), self.note, self.table, half=True)


def write_report(
    path: str | Path, runs: Sequence[RunLog], comparison: Sequence[Compared] | None = None, *, now: float | None = None
) -> None:
    """Write the report of some runs; a reader sees all of it or what was there before.

    Args:
        path: of the HTML file.
        runs: at least one; all of the same loss.
        comparison: of them, event by event, where there is one.
        now: seconds since 1970; the wall clock unless it is given.

    Raises:
        ConfigurationError: there is no run, they do not have the same loss, or the file cannot be written.
    """
    write_whole(Path(path), report(runs, comparison, now=time.time() if now is None else now).encode())


def report(runs: Sequence[RunLog], comparison: Sequence[Compared] | None = None, *, now: float) -> str:
    """Give the HTML.

    Args:
        runs: as above.
        comparison: as above.
        now: seconds since 1970.

    Raises:
        ConfigurationError: as above.
    """
    if not runs:
        raise ConfigurationError("a report needs at least one run")
    if len({run.loss for run in runs}) > 1:
        told = ", ".join(f"{run.name} {run.loss}" for run in runs[:MOST_SHOWN])
        raise ConfigurationError(
            f"runs of logistic and of squared loss do not compare: {told}. Make a report of each kind"
        )
    runs = _told_apart(runs)
    best = ranked(runs)[:MOST_SHOWN]
    shown = [run for run in runs if any(run is one for one in best)]
    axis = figures.axis_of(shown)
    drawn = list(_drawn(shown, axis))
    template = files("worker.report").joinpath("page.html").read_text(encoding="utf-8")
    places = {
        "policy": _policy(template),
        "title": escape(_title(runs)),
        "head": _head(runs, now),
        "summary": tag("ul", *(tag("li", sentence) for sentence in sentences(runs, comparison))),
        "legend": _legend(shown, len(runs)),
        "body": join(*_body(runs, shown, comparison, drawn)),
        "foot": join("Made by headrace ", __version__, ". This file loads nothing from anywhere."),
        "data": _data(shown, axis, [one.chart for one in drawn]),
    }
    return _PLACE.sub(lambda found: places[found[1]], template)


def _told_apart(runs: Sequence[RunLog]) -> list[RunLog]:
    """Give runs of the same name a number, and cut names that are very long."""
    names: Counter[str] = Counter()
    told = []
    for run in runs:
        name = run.name if len(run.name) <= _LONG_NAME else f"{run.name[:_LONG_NAME]}…"
        names[name] += 1
        if names[name] > 1:
            name = f"{name} ({names[name]})"
        told.append(run.model_copy(update={"name": name}))
    return told


def _body(
    runs: Sequence[RunLog],
    shown: Sequence[RunLog],
    comparison: Sequence[Compared] | None,
    drawn: Sequence[Drawn],
) -> Iterator[Markup]:
    yield _section("Runs", "Over all events of each run, the best first.", overview.runs_table(runs, shown))
    if comparison:
        meaning = (
            "The mean difference of the losses of the same events; a difference below 0 is better. Where the interval "
            "does not touch 0 (the upright line), it is more than chance."
        )
        yield _section("Comparison", meaning, overview.comparison_table(comparison))
    yield from _paired([one.section() for one in drawn])
    yield _section(
        "Drift",
        "When a detector found that the model's predictions, or the labels, were not what they had been. In the charts "
        "above an alarm is an upright line with a dot.",
        details.marks_table(shown) or _fine("No alarm."),
    )
    slices = values.slices_tables(shown)
    if slices:
        meaning = (
            "The same for events whose field has a certain value: a model may do well in the mean and badly for some."
        )
        yield _section("Slices", meaning, *slices)
    yield _section(
        "Settings", "In what the runs differ; what is not named is the default.", details.settings_table(shown)
    )
    rejected = [details.rejected_table(shown), details.examples_table(shown), details.skipped_table(shown)]
    yield _section(
        "Left out",
        "Records that could not be read are rejected; valid events may be skipped by the settings, as duplicates for "
        "instance.",
        *(rejected if any(rejected) else [_fine("Nothing: every record was learned from.")]),
    )
    meaning = "Two runs that end with the same digests have learned exactly the same, to the bit."
    yield _section("Origin", meaning, details.origins_table(shown))


def _drawn(shown: Sequence[RunLog], axis: Axis) -> Iterator[Drawn]:
    """Draw all charts."""
    for figure in figures.figures_of(shown):
        chart = figures.chart_of(figure, shown, axis)
        yield Drawn(
            title=figure.title, meaning=figure.meaning, chart=chart, note=_note(shown, axis, chart),
            table=values.windows_table(figure, shown, axis),
        )  # fmt: skip
    if any(run.reliability for run in shown):
        meaning = (
            "Of events that were given a score, how many had a positive label? On the dashed line as many as the score "
            "says; below it scores are too high. Only scores that were given to enough events to tell."
        )
        yield Drawn(
            title="Reliability", meaning=meaning, chart=figures.reliability_chart(shown),
            note=_axes("score", "share of positive labels"), table=values.reliability_table(shown),
        )  # fmt: skip
    if any(run.throughput for run in shown):
        meaning = "How many events were learned in a second, since each run began: with reading, decoding and learning."
        yield Drawn(
            title="Throughput", meaning=meaning, chart=figures.throughput_chart(shown),
            note=_axes("time since the beginning", "events a second"), table=values.throughput_table(shown),
        )  # fmt: skip


def _paired(sections: Sequence[Markup]) -> Iterator[Markup]:
    """Put charts side by side, two and two: so that no page of a printer cuts through them."""
    for at in range(0, len(sections), 2):
        yield tag("div", *sections[at : at + 2], class_="pair")


def _section(title: str, meaning: str, *content: Child, half: bool = False) -> Markup:
    place = title.lower().replace(" ", "-")
    head = (tag("h2", title, id=place), tag("p", meaning, class_="soft"))
    return tag("section", *head, *content, class_="card half" if half else "card", aria_labelledby=place)


def _note(shown: Sequence[RunLog], axis: Axis, chart: Chart) -> Markup:
    windows = [window for run in shown for window in run.windows]
    if not windows:
        return tag("p", "No event was measured.", class_="soft")
    lengths = sorted({window.end - window.begin for window in windows})
    mean = sum(window.events for window in windows) / len(windows)
    told = [
        f"A point is {' or '.join(span(one) for one in lengths[:3])} of event time, {count(mean)} events in the mean."
    ]
    if mean < 200:
        told.append("So few say little: mind the ups and downs less than the whole.")
    if axis.relative:
        told.append("The runs cover other times: each begins at 0.")
    if chart.y.cut:
        told.append("A few values beyond the chart are in the table only.")
    if axis.outside:
        told.append(
            f"{plural(axis.outside, 'window')} far from all others in time, with hardly an event, in the table only."
        )
    return tag("p", " ".join(told), class_="soft note")


def _axes(across: str, up: str) -> Markup:
    return tag("p", f"Across: {across}. Up: {up}.", class_="soft note")


def _fine(text: str) -> Markup:
    return tag("p", text, class_="fine")


def _title(runs: Sequence[RunLog]) -> str:
    return f"{runs[0].name} · Headrace report" if len(runs) == 1 else f"{len(runs)} runs · Headrace report"


def _head(runs: Sequence[RunLog], now: float) -> Markup:
    title = runs[0].name if len(runs) == 1 else f"Report of {plural(len(runs), 'run')}"
    return join(tag("h1", tag("span", title)), tag("p", f"Made {moment(1_000 * now)}", class_="soft"))


def _legend(shown: Sequence[RunLog], every: int) -> Markup:
    """Let runs be hidden: boxes that the style sheet looks at, so that no script is needed."""
    boxes = [
        tag("label", tag("input", type="checkbox", checked=True, id=f"show-{number}"), tables.named(run, number))
        for number, run in enumerate(shown)
    ]
    best = tag("span", f"the best {len(shown)} of {every}", class_="soft") if every > len(shown) else None
    return tag("fieldset", tag("legend", "Runs shown"), *boxes, best)


def _data(shown: Sequence[RunLog], axis: Axis, charts: Sequence[Chart]) -> str:
    """Give what the script shows where a pointer is; the same values as in the tables."""
    told = {
        "runs": [run.name for run in shown],
        "relative": axis.relative,
        "charts": {
            chart.key: {
                "low": chart.x.low,
                "high": chart.x.high,
                "bottom": chart.y.low,
                "top": chart.y.high,
                "lines": [{"x": list(line.x), "y": list(line.y)} for line in chart.lines],
                "flags": [{"x": flag.x, "run": flag.run, "text": flag.text} for flag in chart.flags],
            }
            for chart in charts
        },
    }
    text = orjson.dumps(told).decode()
    for sign in "<>&\u2028\u2029":  # so that nothing of it can end the element
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _policy(template: str) -> str:
    """Let the page's own style and script in, by what they are, and nothing else."""
    style, script = (_hash_of(tag_, template) for tag_ in ("style", "script"))
    own = f"script-src {script}; style-src {style}; img-src data:"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _hash_of(element: str, text: str) -> str:
    (inner,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
    return f"'sha256-{b64encode(sha256(inner.encode()).digest()).decode()}'"
