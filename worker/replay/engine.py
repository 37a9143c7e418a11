"""The engine: shards learned side by side by some threads, each shard in its own order.

What is decoded depends on records alone, so it runs ahead; what is learned depends on the shard alone; and where a
version ends it waits for what the others have added by then. Whatever thread does it, and when, the bits are the same.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from worker.events.intake import Source as Place
from worker.model.ledger import Contribution
from worker.pipeline import Prepared
from worker.replay.course import Course, Leg
from worker.replay.exchange import END, Exchange
from worker.snapshot.boundary import Boundary, Folding
from worker.snapshot.manifest import Peer

_AHEAD = 3  # legs of a shard that are decoded before they are learned
_LOOK_SECONDS = 0.5  # how late an interrupt is noticed


@dataclass(kw_only=True, eq=False)
class _Track:
    """A shard on its way."""

    course: Course
    legs: Iterator[Leg]
    ahead: deque[tuple[Leg, Prepared | None]] = field(default_factory=deque)
    reading: bool = False
    learning: bool = False
    read_all: bool = False
    ended: bool = False

    @property
    def shard(self) -> int:
        return self.course.state.shard


class Engine:
    """Takes shards through their courses.

    Args:
        courses: one a shard.
        exchange: what goes from shard to shard.
        threads: how many work; the result is the same for any number.
        progress: called with the number of records that were learned since the last call, one thread at a time.
        enough: asked after every version: whether to stop here.
    """

    def __init__(
        self,
        courses: Sequence[Course],
        exchange: Exchange,
        *,
        threads: int = 1,
        progress: Callable[[int], None] = lambda _records: None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        self._tracks = [_Track(course=course, legs=course.legs()) for course in courses]
        self._exchange, self._threads, self._progress, self._enough = exchange, threads, progress, enough
        self._moved = threading.Condition()
        self._busy = 0
        self._stopped = False
        self.records = 0  # learned, or refused, so far

    def run(self) -> dict[int, Leg]:
        """Go on until all shards have come to the end of their courses, or wait for what will not come.

        Returns:
            By shard, the leg at whose end it waits in vain for what others add; none where all have ended.

        Raises:
            HeadraceError: what reading, decoding or learning has failed of.
        """
        with ThreadPoolExecutor(self._threads, thread_name_prefix="replay") as pool:
            working = [pool.submit(self._work) for _ in range(self._threads)]
            try:
                pending = set(working)
                while pending:
                    done, pending = wait(pending, _LOOK_SECONDS, FIRST_EXCEPTION)
                    for it in done:
                        it.result()
            finally:
                with self._moved:
                    self._stopped = True
                    self._moved.notify_all()
        return {track.shard: track.ahead[0][0] for track in self._tracks if track.ahead and not track.ended}

    def _work(self) -> None:
        while (work := self._choose()) is not None:
            try:
                work()
            except BaseException:
                with self._moved:
                    self._stopped = True
                raise
            finally:
                with self._moved:
                    self._busy -= 1
                    self._moved.notify_all()

    def _choose(self) -> Callable[[], None] | None:
        """Wait for something to do; None at the end."""
        with self._moved:
            while not self._stopped:
                found = self._find()
                if found is not None:
                    self._busy += 1
                    return found
                if not self._busy:
                    return None  # all have ended, or wait for what will not come
                self._moved.wait()
        return None

    def _find(self) -> Callable[[], None] | None:
        """Find something to do: learning first. The caller holds the lock."""
        for track in sorted(self._tracks, key=lambda it: it.course.state.version):
            if track.ahead and not track.learning and not track.ended and self._may_learn(track):
                track.learning = True
                return lambda track=track: self._learn(track)  # type: ignore[misc]
        for track in sorted(self._tracks, key=lambda it: len(it.ahead)):
            if not (track.reading or track.read_all or track.ended) and len(track.ahead) < _AHEAD:
                track.reading = True
                return lambda track=track: self._read(track)  # type: ignore[misc]
        return None

    def _may_learn(self, track: _Track) -> bool:
        leg, prepared = track.ahead[0]
        return prepared is not None or leg.mark is None or self._exchange.ready(track.shard, leg.mark)

    def _read(self, track: _Track) -> None:
        """Read and decode the next leg of a shard."""
        leg = next(track.legs, None)
        prepared = None
        if leg is not None and leg.records is not None:
            place = Place(shard=track.shard, offsets=leg.records.offsets) if leg.pipeline.asks_source else None
            prepared = leg.pipeline.prepare(leg.records.values, leg.records.timestamps, place)
        with self._moved:
            track.reading = False
            track.read_all = leg is None
            if leg is not None:
                track.ahead.append((leg, prepared))
            if track.read_all and not track.ahead and not track.learning:
                self._end(track)

    def _learn(self, track: _Track) -> None:
        """Learn the next leg of a shard, and end a version where it does, if the others are so far."""
        leg, prepared = track.ahead[0]
        state, goes_on = track.course.state, True
        if leg.watch is not None:
            state.watch = leg.watch
        if prepared is not None:
            track.course.learn(leg, prepared)
        elif leg.records is None:
            state.next_offset = leg.next_offset
        waits = leg.mark is not None and not self._exchange.ready(track.shard, leg.mark)
        if leg.mark is not None and not waits:
            goes_on = self._seal(track, leg)
        with self._moved:
            track.learning = False
            if prepared is not None and leg.records is not None:
                self.records += len(leg.records)
                self._progress(len(leg.records))
            if waits:
                track.ahead[0] = (leg, None)  # learned, and not ended yet
                return
            track.ahead.popleft()
            if not goes_on:
                track.ended = True
                track.ahead.clear()
            if track.ended or (track.read_all and not track.ahead):
                self._end(track)
            if leg.mark is not None and self._enough():
                self._stopped = True

    def _seal(self, track: _Track, leg: Leg) -> bool:
        mark, course = leg.mark, track.course
        if mark is None:
            return True
        boundary = Boundary(course.state, self._exchange.take(track.shard, mark))
        goes_on = course.sealed(mark, boundary)
        if goes_on:
            if boundary.contribution is not None:
                self._exchange.put(mark, _folding(course, boundary.contribution))
            course.passed(mark)
        return goes_on

    def _end(self, track: _Track) -> None:
        track.ended = True
        self._exchange.begins(track.shard, END)


def _folding(course: Course, contribution: Contribution) -> Folding:
    state = course.state
    peer = Peer(version=state.version, offset=0, events=state.progress.events)
    return Folding(shard=state.shard, peer=peer, contribution=contribution)
