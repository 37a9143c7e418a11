"""What is shown of windows, and what each value means in a line that needs no textbook."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from worker.evaluation.measures import Measures, Window
from worker.evaluation.runlog import RunLog
from worker.report.chart import MOST_FLAGS, Chart, Flag, Line
from worker.report.scales import Scale, moment, span

_T = TypeVar("_T")
_LONE_EVENTS = 0.002  # so small a share of the events, far away in time, does not stretch the axis


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A value over time."""

    key: str
    title: str
    meaning: str
    of: Callable[[Measures], float | None]
    reference: float | None = None
    floor_at: float | None = 0.0


def _bias(told: Measures) -> float | None:
    return None if told.mean_score is None or told.base_rate is None else told.mean_score - told.base_rate


LOGISTIC: Final = (
    Figure(
        key="loss", title="Log loss", of=lambda told: told.loss,
        meaning="How surprised the model was by what happened next, in nats. Lower is better; it also rises where "
        "labels become harder to tell for anybody.",
    ),
    Figure(
        key="normalized_entropy", title="Normalised entropy", of=lambda told: told.normalized_entropy, reference=1.0,
        meaning="Log loss over that of always answering with the window's own base rate. Below 1 (dashed) the model "
        "knows more than the base rate; lower is better.",
    ),
    Figure(
        key="calibration", title="Calibration", of=lambda told: told.calibration, reference=1.0,
        meaning="Sum of the scores over sum of the labels. 1 (dashed) is right in the mean; 1.1 promises 10 % too "
        "much.",
    ),
    Figure(
        key="auc", title="AUC", of=lambda told: told.auc, reference=0.5,
        meaning="How often a positive event is scored above a negative one, whatever the scores' size. 0.5 is chance, "
        "higher is better.",
    ),
)  # fmt: skip
SQUARED: Final = (
    Figure(
        key="loss", title="Loss", of=lambda told: told.loss,
        meaning="Half the mean squared distance of prediction and label. Lower is better.",
    ),
    Figure(
        key="bias", title="Bias", of=_bias, reference=0.0, floor_at=None,
        meaning="Mean prediction less mean label. 0 (dashed) is right in the mean.",
    ),
)  # fmt: skip


def figures_of(runs: Sequence[RunLog]) -> Sequence[Figure]:
    """Give what there is to show of runs, which have the same loss."""
    return LOGISTIC if runs[0].loss == "logistic" else SQUARED


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The times that charts cover: since 1970, or, of runs over other times, since each one's first window."""

    scale: Scale
    starts: Sequence[int]  # of each run: what is taken off its times
    outside: int  # windows that are not shown: a few events with a clock that is far off

    @property
    def relative(self) -> bool:
        """Whether each run has its own beginning."""
        return any(self.starts)

    def moment(self, time: float) -> str:
        """Write a time of it."""
        return f"{span(time)} after the beginning" if self.relative else moment(time)


def axis_of(runs: Sequence[RunLog]) -> Axis:
    """Find the times that all of these runs cover."""
    kept = [_without_lone(run.windows) for run in runs]
    bounds = [(windows[0].begin, windows[-1].end) for windows in kept if windows]
    if not bounds:
        return Axis(scale=Scale.of_times(0, 1), starts=[0] * len(runs), outside=0)
    begin, end = min(one for one, _ in bounds), max(one for _, one in bounds)
    longest = max(one[1] - one[0] for one in bounds)
    relative = end - begin > 2 * longest
    starts = [windows[0].begin if relative and windows else 0 for windows in kept]
    scale = Scale.of_times(0, longest, relative=True) if relative else Scale.of_times(begin, end)
    outside = sum(len(run.windows) - len(windows) for run, windows in zip(runs, kept, strict=True))
    return Axis(scale=scale, starts=starts, outside=outside)


def chart_of(figure: Figure, runs: Sequence[RunLog], axis: Axis) -> Chart:
    """Draw a value of runs over time, and their alarms."""
    lines = [_line(figure, number, run, axis.starts[number]) for number, run in enumerate(runs)]
    shown = [
        y for line in lines for x, y in zip(line.x, line.y, strict=True)
        if y is not None and axis.scale.low <= x <= axis.scale.high
    ]  # fmt: skip
    with_ = [figure.reference] if figure.reference is not None and figure.key != "auc" else []
    return Chart(
        key=figure.key,
        label=f"{figure.title} over event time; the values are in the table below",
        x=axis.scale,
        y=Scale.of_values(shown, floor_at=figure.floor_at, with_=with_),
        lines=lines,
        reference=figure.reference,
        flags=[
            Flag(run=number, x=mark.time - axis.starts[number], text=f"{run.name}: {mark.signal}, shard {mark.shard}")
            for number, run in enumerate(runs)
            for mark in thinned(run.marks, MOST_FLAGS)
        ],
    )


def reliability_chart(runs: Sequence[RunLog]) -> Chart:
    """Draw how often labels were positive, by what was predicted, where that was often enough to tell."""
    lines = []
    for number, run in enumerate(runs):
        bins = [one for one in run.reliability if one.weight >= max(20.0, 0.0005 * run.totals.weight)]
        lines.append(Line(run=number, name=run.name, x=[one.score for one in bins], y=[one.label for one in bins]))
    high = max((value for line in lines for value in (*line.x, *(y or 0.0 for y in line.y))), default=1.0)
    scale = Scale.of_values([0.0, high], floor_at=0.0)
    return Chart(
        key="reliability", label="Share of positive labels by score; the values are in the table below",
        x=scale, y=scale, lines=lines, diagonal=True,
    )  # fmt: skip


def throughput_chart(runs: Sequence[RunLog]) -> Chart:
    """Draw events a second over the time on the wall since each run began."""
    lines = []
    for number, run in enumerate(runs):
        x = [1_000 * (pace.seconds + pace.length_seconds / 2) for pace in run.throughput]
        y = [pace.events / pace.length_seconds for pace in run.throughput]
        lines.append(Line(run=number, name=run.name, x=x, y=list[float | None](y)))
    longest = max(
        (1_000 * (run.throughput[-1].seconds + run.throughput[-1].length_seconds) for run in runs if run.throughput),
        default=1.0,
    )
    values = [value for line in lines for value in line.y if value is not None]
    return Chart(
        key="throughput", label="Events a second over time; the values are in the table below",
        x=Scale.of_times(0, round(longest), relative=True), y=Scale.of_values([0.0, *values], floor_at=0.0),
        lines=lines,
    )  # fmt: skip


def thinned(some: Sequence[_T], most: int) -> Sequence[_T]:
    """Take at most so many, evenly spread."""
    return [some[at * len(some) // most] for at in range(most)] if len(some) > most else some


def _line(figure: Figure, number: int, run: RunLog, start: int) -> Line:
    x = [(window.begin + window.end) / 2 - start for window in run.windows]
    steps = sorted(after - before for before, after in itertools.pairwise(x))
    usual = steps[len(steps) // 2] if steps else 0.0
    return Line(run=number, name=run.name, x=x, y=[figure.of(window) for window in run.windows], gap=5 * usual)


def _without_lone(windows: Sequence[Window]) -> Sequence[Window]:
    """Leave out what few events, far from all others in time, have at either end."""
    total, first, last = sum(window.events for window in windows), 0, len(windows)
    before = after = 0
    while last - first > 1:
        whole = windows[last - 1].end - windows[first].begin
        before += windows[first].events
        after += windows[last - 1].events
        if before <= _LONE_EVENTS * total and windows[first + 1].begin - windows[first].end > whole / 2:
            first, after = first + 1, after - windows[last - 1].events
        elif after <= _LONE_EVENTS * total and windows[last - 1].begin - windows[last - 2].end > whole / 2:
            last, before = last - 1, before - windows[first].events
        else:
            break
    return windows[first:last]
