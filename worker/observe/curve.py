"""A curve in a bounded number of points: near things in detail, and as far back as there is room for."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

POINTS: Final = 240  # more than a screen can tell apart
# A point of one second shows what happens now. With points of a minute, 240 of them go back over four hours: beyond
# that a time-series database is the better place.
LONGEST_SECONDS: Final = 64
TIME, EVENTS, WEIGHT, LOSS, BASELINE, LABEL, SCORE = range(7)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """What some events add: weighted sums as those of `worker.quality.progress`."""

    events: float
    weight: float
    loss: float
    label: float
    score: float


class Curve:
    """Sums over time. Each point covers `seconds`; when there are too many, neighbours become one.

    From `LONGEST_SECONDS` a point on the oldest ones are dropped instead. Points where nothing was learned do not
    exist. One thread at a time.
    """

    def __init__(self) -> None:
        self.seconds = 1
        self._points = np.zeros((POINTS, 7))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, now: float, more: Sums, baseline: float) -> None:
        """Take in what was learned up to now, in seconds since 1970, and the loss that it is held against.

        A clock that was set back does not harm the order: what comes then counts to the last point.
        """
        if self._count == POINTS and self._is_later(now):
            self._make_room()  # which may make points so long that the last one is still going on
        if self._is_later(now):
            self._points[self._count] = 0.0
            self._points[self._count, TIME] = self._begin(now)
            self._count += 1
        self._points[self._count - 1, EVENTS:] += (
            more.events, more.weight, more.loss, more.weight * baseline, more.label, more.score,
        )  # fmt: skip

    def points(self) -> NDArray[np.float64]:
        """Copy the points [n, 7], oldest first: when each begins, and its sums; BASELINE is weighted too."""
        return self._points[: self._count].copy()

    def last(self, seconds: float) -> NDArray[np.float64]:
        """Add up the points of so many seconds [7] that lead to the newest one, whenever that was."""
        points = self._points[: self._count]
        if not self._count:
            return np.zeros(7)
        total: NDArray[np.float64] = points[points[:, TIME] > points[-1, TIME] - seconds].sum(axis=0)
        return total

    def _begin(self, now: float) -> float:
        return now // self.seconds * self.seconds

    def _is_later(self, now: float) -> bool:
        """Tell whether the last point is over."""
        return not self._count or self._begin(now) > self._points[self._count - 1, TIME]

    def _make_room(self) -> None:
        while self._count == POINTS and self.seconds < LONGEST_SECONDS:
            self.seconds *= 2
            points = self._points[: self._count]
            begins, firsts = np.unique(points[:, TIME] // self.seconds * self.seconds, return_index=True)
            merged = np.add.reduceat(points, firsts)
            merged[:, TIME] = begins
            self._count = len(merged)
            self._points[: self._count] = merged
        if self._count == POINTS:
            self._points[:-1] = self._points[1:].copy()
            self._count -= 1
