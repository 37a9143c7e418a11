"""What happens beside the loop: records are prepared in one thread and learned in the next, in the order they came.

Preparing (decoding, hashing) and learning release the interpreter's lock for nearly all of their time, so both go on
while the loop polls. A shard's records pass through both in offset order, whatever overlaps, and versions are sealed in
the thread that learns, between two batches: so what is learned, and what a version holds, does not depend on timing.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from confluent_kafka import Message

from worker.pipeline import Pipeline, Prepared
from worker.stream.owned import Owned
from worker.stream.polling import columns

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


class Stages:
    """The threads that prepare and learn, and the bounded queue before them.

    Args:
        pipeline: what they do to records.
        most_events: about so many may be on their way; then there is no room for more.
    """

    def __init__(self, pipeline: Pipeline, most_events: int) -> None:
        self._pipeline, self._most_events = pipeline, most_events
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._learning = ThreadPoolExecutor(1, thread_name_prefix="learn")
        self._moved = threading.Condition()
        self._waiting = 0.0  # events handed over and not yet learned
        self._batches = self._finished = 0
        self._failure: BaseException | None = None

    @property
    def finished(self) -> int:
        """Count the batches that are done with."""
        return self._finished

    @property
    def idle(self) -> bool:
        """Tell whether nothing is on its way."""
        return self._batches == self._finished

    def hand_over(self, owned: Owned, messages: list[Message]) -> float:
        """Prepare and learn records of a shard, after all that were handed over before; gives about how many events."""
        events = len(messages) * self._pipeline.events_a_record
        with self._moved:
            self._batches += 1
            self._waiting += events
        prepared = self._preparing.submit(self._prepare, messages)
        self._learning.submit(self._learn, owned, messages, prepared, events)
        return events

    def between(self, work: Callable[[], Result]) -> "Future[Result]":
        """Do something in the thread that learns, once all that was handed over before is learned."""
        return self._learning.submit(work)

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
        self._preparing.shutdown(cancel_futures=True)
        self._learning.shutdown(cancel_futures=True)

    def _prepare(self, messages: list[Message]) -> Prepared:
        return self._pipeline.prepare(*columns(messages))

    def _learn(self, owned: Owned, messages: list[Message], prepared: "Future[Prepared]", events: float) -> None:
        try:
            batch = prepared.result()
            if not owned.given_up and self._failure is None:
                self._pipeline.take(owned.state, batch, messages[-1].offset() + 1)
                owned.dead_letters += [(messages[bad.index], bad) for bad in batch.rejected]
                _LOG.debug(
                    "shard %d: %d records", owned.state.shard, len(messages),
                    extra={"action": "learn", "shard": owned.state.shard},
                )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - the loop raises it
            self._failure = error
        finally:
            with self._moved:
                self._waiting -= events
                self._finished += 1
                self._moved.notify_all()
