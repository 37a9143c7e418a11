"""Sums by windows of event time: a bounded number of them, however many events and whatever time they span.

All windows are equally wide and begin at whole multiples of their width since 1970; those without events do not exist,
so an event with a broken clock costs one window. When there are too many, neighbours are joined into the next width.
Every value is a sum, so joined windows, and those of several shards, are what one pass over their events would give.
"""

from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.evaluation.spans import WIDTHS_MS, wider
from worker.quality.layout import SCORE_BINS
from worker.quality.progress import (
    BINS,
    EVENTS,
    LABEL,
    LOGIT_LIMIT,
    LOSS,
    PREDICTION,
    SQUARED_ERROR,
    WEIGHT,
    Judged,
    Progress,
    place_of,
)

MOST: Final = 240  # more than a screen can tell apart
A_SCORE_BIN: Final = BINS // SCORE_BINS
_MIDDLES = 1.0 / (1.0 + np.exp(-LOGIT_LIMIT * ((2 * np.arange(BINS) + 1) / BINS - 1)))  # probabilities, of the bins


@dataclass(kw_only=True)
class Windows:
    """The windows [n] in the order of time, each `width` milliseconds; arrays have room for `MOST`.

    `begins` [n] milliseconds since 1970. `sums` [n, 6], `histogram` [n, 2, BINS]: as those of
    `worker.quality.progress.Progress`. `scores` [n, SCORE_BINS]: the weighted sum of predictions by bins of them.
    `total` [6]: the sums over all events in the order in which they came, to the bit those of a `Progress`.
    """

    logistic: bool
    width: int = WIDTHS_MS[0]
    count: int = 0
    begins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(MOST, np.int64))
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((MOST, 6)))
    histogram: NDArray[np.float64] = field(default_factory=lambda: np.zeros((MOST, 2, BINS)))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros((MOST, SCORE_BINS)))
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(6))

    def __len__(self) -> int:
        """Count the windows that have events."""
        return self.count

    def add(
        self,
        times: NDArray[np.int64],
        observed: NDArray[np.float32],
        labels: NDArray[np.float32],
        weights: NDArray[np.float32],
        judged: Judged,
    ) -> None:
        """Add n events, whatever their order in time.

        Args:
            times: [n] event times, milliseconds since 1970.
            observed: [n] predictions.
            labels: [n].
            weights: [n].
            judged: how the predictions fared.
        """
        done = 0
        while done < len(times):
            done = _add(
                done, times, observed, labels, weights, judged.logits, judged.losses, self.logistic, self.width,
                self.begins[: self.count], self.sums, self.histogram, self.scores, self.total,
            )  # fmt: skip
            if done < len(times):
                self._open(int(times[done]))

    def add_sums(self, time: int, more: Progress) -> None:
        """Add events of about one time, of which only the sums are known; scores count as in the middle of their bin.

        Args:
            time: milliseconds since 1970.
            more: their sums.
        """
        places = self.begins[: self.count]
        begin = time // self.width * self.width
        if begin not in places:
            self._open(time)
            begin = time // self.width * self.width
        at = int(np.searchsorted(self.begins[: self.count], begin))
        self.sums[at] += more.sums
        self.histogram[at] += more.histogram
        self.scores[at] += (more.histogram.sum(axis=0) * _MIDDLES).reshape(SCORE_BINS, A_SCORE_BIN).sum(axis=1)
        self.total += more.sums

    def merge(self, other: "Windows") -> None:
        """Add those of other events."""
        more = other.copy()
        while more.width < self.width:
            more.join()
        while self.width < more.width:
            self.join()
        begins = np.union1d(self.begins[: self.count], more.begins[: more.count])
        while len(begins) > MOST:
            self.join()
            more.join()
            begins = np.union1d(self.begins[: self.count], more.begins[: more.count])
        added = []
        for mine, theirs in zip(self.arrays(), more.arrays(), strict=True):
            total = np.zeros_like(mine)
            total[np.searchsorted(begins, self.begins[: self.count])] += mine[: self.count]
            total[np.searchsorted(begins, more.begins[: more.count])] += theirs[: more.count]
            added.append(total)
        self.count = len(begins)
        self.begins[: self.count] = begins
        self.sums, self.histogram, self.scores = added
        self.total = self.total + other.total

    def join(self) -> int:
        """Join neighbours: windows of the next width; gives how many there are then."""
        self.width = wider(self.width)
        if not self.count:
            return 0
        begins, firsts = np.unique(self.begins[: self.count] // self.width * self.width, return_index=True)
        for array in self.arrays():
            joined = np.add.reduceat(array[: self.count], firsts)
            array[len(begins) : self.count] = 0.0
            array[: len(begins)] = joined
        self.count = len(begins)
        self.begins[: self.count] = begins
        return self.count

    def copy(self) -> Self:
        """Copy them as they are now."""
        arrays = {name: getattr(self, name).copy() for name in ("begins", "sums", "histogram", "scores", "total")}
        return type(self)(logistic=self.logistic, width=self.width, count=self.count, **arrays)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Give what adds up, by window."""
        return self.sums, self.histogram, self.scores

    def _open(self, time: int) -> None:
        """Make a window for this time."""
        if self.count == MOST:
            while self.count == MOST:
                self.join()
            if time // self.width * self.width in self.begins[: self.count]:
                return
        begin = time // self.width * self.width
        at = int(np.searchsorted(self.begins[: self.count], begin))
        self.begins[at + 1 : self.count + 1] = self.begins[at : self.count].copy()
        self.begins[at] = begin
        for array in self.arrays():
            array[at + 1 : self.count + 1] = array[at : self.count].copy()
            array[at] = 0.0
        self.count += 1


@njit(cache=True, nogil=True)
def _add(
    start, times, observed, labels, weights, logits, losses, logistic, width, begins, sums, histogram, scores,
    total,
):  # fmt: skip
    """Add events from number `start` on; gives the first one for which there is no window, or their number."""
    at, begin, end = 0, np.int64(0), np.int64(0)  # the window of the event before: nearly always the same one
    for n in range(start, len(times)):
        if not begin <= times[n] < end:
            begin = times[n] // width * width
            end = begin + width
            at, above = 0, len(begins)
            while at < above:
                middle = (at + above) // 2
                if begins[middle] < begin:
                    at = middle + 1
                else:
                    above = middle
            if at == len(begins) or begins[at] != begin:
                return n
        p, y, weight = np.float64(observed[n]), np.float64(labels[n]), np.float64(weights[n])
        error = p - y
        for place, value in (
            (EVENTS, 1.0), (WEIGHT, weight), (LOSS, weight * losses[n]), (LABEL, weight * y), (PREDICTION, weight * p),
            (SQUARED_ERROR, weight * error * error),
        ):  # fmt: skip
            sums[at, place] += value
            total[place] += value
        if logistic:
            place = place_of(logits[n])
            histogram[at, 0, place] += weight * (1.0 - y)
            histogram[at, 1, place] += weight * y
            scores[at, place // A_SCORE_BIN] += weight * p
    return len(times)
