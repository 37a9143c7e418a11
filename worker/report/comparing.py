"""Which run is best and by how much: over the same events, window by window, for chance moves both runs at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Final

import numpy as np

from worker.evaluation.runlog import Compared, RunLog

_LEAST_WINDOWS = 10  # below that the spread of the differences says too little
_NORMAL_95: Final = 1.959964


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean loss of one run less that of another, and a confidence interval where there is one."""

    mean: float
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95

    @property
    def reversed(self) -> "Difference":
        """Give that of the other run from the one."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return replace(self, mean=-self.mean, low=low, high=high)

    @property
    def is_clear(self) -> bool | None:
        """Tell whether it is more than chance; None where nobody knows."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0


def ranked(runs: Sequence[RunLog]) -> list[RunLog]:
    """Give the runs by their loss, the best first; those that learned nothing last."""
    return sorted(runs, key=lambda run: float("inf") if run.totals.loss is None else run.totals.loss)


def same_events(one: RunLog, other: RunLog) -> bool:
    """Tell whether two runs seem to have measured the same events."""
    return (one.totals.events, one.totals.base_rate) == (other.totals.events, other.totals.base_rate)


def difference(one: RunLog, other: RunLog) -> Difference | None:
    """Compare two runs; None where one has no loss.

    The interval takes windows for independent draws: of weights w and differences d, whose mean is m, its half width is
    1.96 sqrt(n / (n - 1) sum w^2 (d - m)^2) / sum w.
    """
    if one.totals.loss is None or other.totals.loss is None:
        return None
    mean = one.totals.loss - other.totals.loss
    theirs = {(window.begin, window.end): window for window in other.windows}
    pairs = [
        (window.weight, window.loss - match.loss)
        for window in one.windows
        if (match := theirs.get((window.begin, window.end))) is not None
        and window.weight == match.weight and window.loss is not None and match.loss is not None
    ]  # fmt: skip
    measured = sum(window.loss is not None for window in one.windows)
    if not same_events(one, other) or len(pairs) < max(_LEAST_WINDOWS, measured):
        return Difference(mean=mean)
    weights, differences = np.array(pairs).T
    spread = (weights**2 * (differences - mean) ** 2).sum() * len(pairs) / (len(pairs) - 1)
    half = _NORMAL_95 * sqrt(float(spread)) / float(weights.sum())
    return Difference(mean=mean, low=mean - half, high=mean + half)


def of_comparison(entry: Compared) -> Difference | None:
    """Give what a comparison that was made event by event says of a run."""
    return None if entry.difference is None else Difference(
        mean=entry.difference, low=entry.low, high=entry.high, confidence=entry.confidence
    )  # fmt: skip
