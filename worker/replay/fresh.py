"""A fresh replay: shards begin with nothing, or with a version, and go on in step.

Where a live worker commits by its clock, a replay does by that of the log. The time of a record is the latest timestamp
of its partition up to it, and windows of `commit.interval_seconds` of that time, counted from 1970, are the same
whenever and wherever the records are replayed. At the end of a window every shard that has learned in it ends a
version, and folds in what the others have added in the windows before: a live shard too knows of the others what they
had committed when it last did. So the result is a function of the records and the settings alone.
"""

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from worker.pipeline import Pipeline, Prepared
from worker.recording.records import Records
from worker.replay.course import Leg, Mark, Noting
from worker.replay.exchange import Exchange
from worker.replay.guard import Guard
from worker.replay.source import Source
from worker.snapshot.boundary import Boundary
from worker.snapshot.state import ShardState

_BEFORE_ALL = np.int64(-1)  # the time of records that come before the first with a timestamp


class Fresh:
    """The course of a shard.

    Args:
        state: the shard; with no version, or at the one that it goes on from.
        source: where its events are.
        pipeline: what is done to them; this shard's alone.
        exchange: is told which window comes next.
        interval_ms: of a window.
        batch_events: that are learned at once: it changes no bit.
        cut_ms: no batch holds records from before this time of the log and later ones.
        note: hears of what is rejected.
        guard: holds records back until their block is judged; None where none is.
    """

    def __init__(
        self,
        *,
        state: ShardState,
        source: Source,
        pipeline: Pipeline,
        exchange: Exchange,
        interval_ms: int,
        batch_events: int,
        cut_ms: int | None = None,
        note: Noting = lambda _records, _rejected: None,
        guard: Guard | None = None,
    ) -> None:
        self.state = state
        self._source, self._pipeline, self._exchange = source, pipeline, exchange
        self._interval_ms, self._batch_events = max(1, interval_ms), batch_events
        self._cut_ms, self._note, self._guard = cut_ms, note, guard
        self._latest = int(_BEFORE_ALL)  # the time of what was taken
        self._windows: list[int] = []  # begun, and not ended yet: the first is the one that ends next
        self._lock = threading.Lock()  # one thread reads ahead, another one learns

    def legs(self) -> Iterator[Leg]:
        """Give what is learned, cut where windows end."""
        held: Leg | None = None
        number = self.state.shard
        first, after = self._source.ranges[number]
        start = max(first, self.state.next_offset)
        if start >= after:
            return
        latest, window = _BEFORE_ALL, 0
        for records in self._source.partition(number, start, after):
            if not len(records):
                continue
            times = np.maximum.accumulate(np.maximum(records.timestamps, latest))
            latest = times[-1]
            for records_of, of in self._parts(records, times):
                if held is not None:
                    ends = of != window
                    yield replace(held, mark=Mark(position=window)) if ends else held
                if held is None or of != window:
                    self._begin(of)
                window = of
                next_offset = int(records_of.offsets[-1]) + 1
                held = Leg(records=records_of, pipeline=self._pipeline, next_offset=next_offset)
        if held is not None:
            yield replace(held, mark=Mark(position=window), last=True)

    def learn(self, leg: Leg, prepared: Prepared) -> None:
        """Learn them, or hold them back."""
        if leg.records is None:
            return
        if self._guard is None:
            leg.pipeline.take(self.state, prepared, leg.next_offset)
            if prepared.rejected:
                self._note(leg.records, prepared.rejected)
            return
        self._latest = max(self._latest, int(leg.records.timestamps.max()))
        window = self._latest // self._interval_ms  # all records of a leg are of one
        self._guard.take(self.state, leg.records, prepared, window * self._interval_ms)
        if leg.last:
            self._guard.finish(self.state)

    def sealed(self, mark: Mark, boundary: Boundary) -> bool:  # noqa: ARG002 - as the protocol has it
        """Go on."""
        return True

    def passed(self, mark: Mark) -> None:
        """Tell the others which window comes next, as far as that is known."""
        with self._lock:
            self._windows.remove(mark.position)
            if self._windows:
                self._exchange.begins(self.state.shard, self._windows[0])

    def _begin(self, window: int) -> None:
        with self._lock:
            self._windows.append(window)
            if self._windows[0] == window:
                self._exchange.begins(self.state.shard, window)

    def _parts(self, records: Records, times: NDArray[np.int64]) -> Iterator[tuple[Records, int]]:
        """Cut records by their windows, where blocks end, and where they are too many to be learned at once."""
        windows = times // self._interval_ms
        cuts = {0, *(np.flatnonzero(np.diff(windows)) + 1).tolist(), len(records)}
        if self._cut_ms is not None:
            cuts.add(int(np.searchsorted(times, self._cut_ms)))
        most = self._pipeline.records(self._batch_events)
        for begin, end in pairwise(sorted(cuts)):
            for first, after in [(0, end - begin)] if self._guard is None else self._guard.cuts(end - begin):
                for at in range(begin + first, begin + after, most):
                    yield records.slice(at, min(at + most, begin + after)), int(windows[begin])
