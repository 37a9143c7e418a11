"""How many events were learned when, by the clock on the wall; bounded however long a run takes."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from pydantic import Field

from worker.evaluation.measures import Part
from worker.evaluation.spans import WIDTHS_MS, wider

MOST: Final = 120
_FINEST = WIDTHS_MS[2]  # 100 ms
_BATCHES = 4  # in the mean, in what is told: of fewer, it shows when batches end, and not the pace
_SHORT = 0.3  # of a width
_INSTANT = 0.001  # seconds: what is measured is no shorter


class Pace(Part):
    """Events that were learned within some seconds of a run."""

    seconds: float = Field(description="since it began")
    length_seconds: float = Field(gt=0)
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
        self.batches = 0
        self.began = self.ended = clock()

    def add(self, events: int) -> None:
        """Count events that were learned just now."""
        self.ended = self._clock()
        self.counts[int(self.ended * 1_000) // self.width] += events
        self.batches += 1
        self._bound()

    def merge(self, other: "Throughput") -> None:
        """Add another one's."""
        while self.width < other.width:
            self._join()
        for place, events in other.counts.items():
            self.counts[place * other.width // self.width] += events
        self.batches += other.batches
        self.began, self.ended = min(self.began, other.began), max(self.ended, other.ended)
        self._bound()

    def paces(self) -> list[Pace]:
        """Tell, from the beginning to the last events; in between there may be none."""
        if not self.counts:
            return []
        width, counts = self.width, self.counts
        while self.batches < _BATCHES * (max(counts) - min(counts) + 1) > _BATCHES:
            width, counts = _joined(width, counts)
        first = min(*counts, int(self.began * 1000) // width)
        edges = [max(self.began, place * width / 1_000) for place in range(first, max(counts) + 1)]
        events = [counts[place] for place in range(first, max(counts) + 1)]
        if len(edges) > 1 and self.ended - edges[-1] < _SHORT * width / 1_000:  # so short that it says nothing alone
            events[-2:] = [sum(events[-2:])]
            del edges[-1]
        ends = [*edges[1:], max(self.ended, edges[-1] + _INSTANT)]
        return [
            Pace(seconds=round(begin - self.began, 3), length_seconds=max(round(end - begin, 4), _INSTANT), events=some)
            for begin, end, some in zip(edges, ends, events, strict=True)
        ]

    def _bound(self) -> None:
        while self.counts and max(self.counts) - min(self.counts) >= MOST:
            self._join()

    def _join(self) -> None:
        self.width, self.counts = _joined(self.width, self.counts)


def _joined(width: int, counts: Counter[int]) -> tuple[int, Counter[int]]:
    joined: Counter[int] = Counter()
    for place, events in counts.items():
        joined[place * width // wider(width)] += events
    return wider(width), joined
