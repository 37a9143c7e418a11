"""How many events were learned when, by the clock on the wall; bounded however long a run takes."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from worker.evaluation.measures import Part
from worker.evaluation.spans import WIDTHS_MS, wider

MOST: Final = 120
_FINEST = WIDTHS_MS[2]  # 100 ms: below that the batches of a replay show, not its pace


class Pace(Part):
    """Events that were learned within so many seconds from when the first batch was."""

    seconds: float  # since then
    length_seconds: float
    events: int


class Throughput:
    """Counts events by wall time.

    Args:
        clock: seconds, rising, from any beginning; of all that are merged the same.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.width = _FINEST
        self.counts: Counter[int] = Counter()  # by milliseconds of the clock // width

    def add(self, events: int) -> None:
        """Count events that were learned just now."""
        self.counts[int(self._clock() * 1_000) // self.width] += events
        self._bound()

    def merge(self, other: "Throughput") -> None:
        """Add another one's."""
        while self.width < other.width:
            self._join()
        for place, events in other.counts.items():
            self.counts[place * other.width // self.width] += events
        self._bound()

    def paces(self) -> list[Pace]:
        """Tell, from the first that counted to the last; in between there may be none."""
        if not self.counts:
            return []
        first, length = min(self.counts), self.width / 1_000
        return [
            Pace(seconds=round((place - first) * length, 3), length_seconds=length, events=self.counts[place])
            for place in range(first, max(self.counts) + 1)
        ]

    def _bound(self) -> None:
        while self.counts and max(self.counts) - min(self.counts) >= MOST:
            self._join()

    def _join(self) -> None:
        width, before = wider(self.width), self.counts
        self.counts = Counter()
        for place, events in before.items():
            self.counts[place * self.width // width] += events
        self.width = width
