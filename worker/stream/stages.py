"""What happens beside the loop: records are prepared in one thread and learned in the next, in the order they came.

Preparing (decoding, hashing) and learning release the interpreter's lock for nearly all of their time, so both go on
while the loop polls. A shard's records pass through both in offset order, whatever overlaps. A version of a shard is
sealed between two of its batches, by another thread: meanwhile the other shards are learned. So what is learned, and
what a version holds, does not depend on timing.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import Message

from worker.pipeline import Pipeline, Prepared
from worker.stream.owned import Owned
from worker.stream.polling import columns, source

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Records of a shard on their way."""

    owned: Owned
    messages: list[Message]  # none: what is held back of the shard is to be judged as it is
    prepared: "Future[Prepared] | None"
    events: float  # about so many


class Stages:
    """The threads that prepare and learn, and the bounded queue before them.

    Args:
        pipeline: what they do to records.
        most_events: about so many may be on their way; then there is no room for more.
        clock: seconds that only ever rise.
    """

    def __init__(self, pipeline: Pipeline, most_events: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._pipeline, self._most_events, self._clock = pipeline, most_events, clock
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._moved = threading.Condition()  # guards all that follows
        self._queue: deque[_Batch] = deque()  # not begun yet
        self._busy: list[Owned] = []  # being learned, or sealed
        self._waiting = 0.0  # events handed over and not yet learned
        self._batches = self._finished = 0
        self._stood_still = 0.0
        self._failure: BaseException | None = None
        self._closed = False
        self._learning = threading.Thread(target=self._learn_all, name="learn", daemon=True)
        self._learning.start()

    @property
    def finished(self) -> int:
        """Count the batches that are done with."""
        return self._finished

    @property
    def idle(self) -> bool:
        """Tell whether nothing is on its way."""
        return self._batches == self._finished

    @property
    def stood_still_seconds(self) -> float:
        """Tell for how long so far nothing was learned because all shards with records to learn were set apart."""
        return self._stood_still

    def hand_over(self, owned: Owned, messages: list[Message]) -> float:
        """Prepare and learn records of a shard, after all that were handed over before; gives about how many events."""
        events = 0.0
        for start, stop in [(0, len(messages))] if owned.block is None else owned.block.cuts(len(messages)):
            part = messages[start:stop]
            some = len(part) * self._pipeline.events_a_record
            prepared = self._preparing.submit(self._prepare, part)
            self._append(_Batch(owned=owned, messages=part, prepared=prepared, events=some))
            events += some
        return events

    def cut(self, owned: Owned) -> None:
        """Judge what is held back of a shard, after all that was handed over before, and go on with it."""
        self._append(_Batch(owned=owned, messages=[], prepared=None, events=0.0))

    def apart(self, owned: Owned, batches: int, work: Callable[[], Result]) -> Result:
        """Do something to a shard between two of its batches, once so many are done with; others are learned meanwhile.

        Args:
            owned: the shard.
            batches: a number that `Owned.handed_over` had.
            work: what is done.

        Raises:
            BaseException: what preparing or learning has failed of: then no shard is good for anything any more.
        """
        with self._moved:
            self._moved.wait_for(lambda: self._failure or (owned.done_with >= batches and owned not in self._busy))
            self.require_sound()
            self._busy.append(owned)
        try:
            return work()
        finally:
            with self._moved:
                self._let_go(owned)

    def await_room(self, seconds: float) -> bool:
        """Wait until more records may be handed over, no longer than that; tells whether they may.

        Raises:
            BaseException: what preparing or learning has failed of.
        """
        with self._moved:
            room = self._moved.wait_for(lambda: self._waiting < self._most_events or self._failure, seconds)
        self.require_sound()
        return bool(room)

    def require_sound(self) -> None:
        """Raise what preparing or learning has failed of, if it has: nothing was learned from there on."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Finish what is being done, and drop the rest."""
        with self._moved:
            self._closed = True
            self._moved.notify_all()
        self._preparing.shutdown(cancel_futures=True)
        self._learning.join()

    def _append(self, batch: _Batch) -> None:
        with self._moved:
            self._batches += 1
            batch.owned.handed_over += 1
            self._waiting += batch.events
            self._queue.append(batch)
            self._moved.notify_all()

    def _prepare(self, messages: list[Message]) -> Prepared:
        return self._pipeline.prepare(*columns(messages), source(messages) if self._pipeline.asks_source else None)

    def _learn_all(self) -> None:
        while (batch := self._next()) is not None:
            try:
                self._learn(batch)
            except BaseException as error:  # noqa: BLE001 - the loop raises it
                self._failure = error
            with self._moved:
                self._waiting -= batch.events
                self._finished += 1
                batch.owned.done_with += 1
                self._let_go(batch.owned)

    def _next(self) -> _Batch | None:
        """Wait for the first batch whose shard is not set apart; None at the end."""
        with self._moved:
            while not self._closed:
                for batch in self._queue:
                    if batch.owned not in self._busy:
                        self._queue.remove(batch)
                        self._busy.append(batch.owned)
                        return batch
                blocked, since = bool(self._queue), self._clock()
                self._moved.wait()
                if blocked:
                    self._stood_still += self._clock() - since
        return None

    def _learn(self, batch: _Batch) -> None:
        owned, messages = batch.owned, batch.messages
        prepared = batch.prepared.result() if batch.prepared is not None else None
        if owned.given_up or self._failure is not None or owned.frozen:
            return
        if owned.block is None:
            if prepared is not None:
                self._take(owned, messages, prepared)
            return
        if prepared is None:
            judged = owned.block.cut()
        else:
            judged = owned.block.add(owned.state, messages, (messages[0].offset(), messages[-1].offset()), prepared)
        for piece in judged.learn:
            self._take(owned, piece.held, piece.prepared)
        for piece in judged.pass_over:
            self._pass_over(owned, piece.held, piece.prepared)

    def _take(self, owned: Owned, messages: list[Message], prepared: Prepared) -> None:
        self._pipeline.take(owned.state, prepared, messages[-1].offset() + 1)
        owned.dead_letters += [(messages[bad.index], bad) for bad in prepared.rejected]
        _LOG.debug(
            "shard %d: %d records", owned.state.shard, len(messages),
            extra={"action": "learn", "shard": owned.state.shard},
        )  # fmt: skip

    def _pass_over(self, owned: Owned, messages: list[Message], prepared: Prepared) -> None:
        self._pipeline.pass_over(owned.state, prepared, messages[0].offset(), messages[-1].offset() + 1)
        owned.dead_letters += [(messages[bad.index], bad) for bad in prepared.rejected]

    def _let_go(self, owned: Owned) -> None:
        """Let others have a shard again. The caller holds the lock."""
        self._busy.remove(owned)
        self._moved.notify_all()
