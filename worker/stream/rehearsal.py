"""Recorded records into a topic, in their order and with their timing: a rehearsal of what happened."""

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from worker.config import Config
from worker.recording.records import NO_TIMESTAMP, Records
from worker.stream.verbatim import Verbatim

_SPEED = re.compile(r"([0-9]+(?:\.[0-9]+)?)x?")
_LONGEST_WAIT_SECONDS: Final = 0.2  # until an interrupt is heard
_AT_ONCE: Final = 1_000  # records between two looks at the clock, at full speed


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """What was sent.

    Attributes:
        topic: where to.
        records: how many.
        seconds: that it took.
        span_seconds: from the first timestamp to the last.
        latest_seconds: by how much the record that was most late was late; 0 at full speed.
        complete: whether all were sent; False where it was stopped.
    """

    topic: str
    records: int
    seconds: float
    span_seconds: float
    latest_seconds: float
    complete: bool


def speed_of(text: str) -> float | None:
    """Read a speed: how many times as fast as it happened; None is as fast as it goes.

    Raises `ValueError`.

    >>> speed_of("60x"), speed_of("1"), speed_of("max")
    (60.0, 1.0, None)
    """
    if text == "max":
        return None
    found = _SPEED.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is no speed: write 60x, 0.5x, or max")
    return float(found[1])


class Rehearsal:
    """Sends records to the partitions of their numbers, byte for byte, each when its time has come.

    Args:
        config: how to reach Kafka.
        topic: where to; it exists, and has as many partitions.
        partitions: of the topic that was recorded.
        times: the earliest and the latest timestamp, milliseconds since 1970; None where they are not known.
        append: add to what the topic holds, in place of refusing.
        restamp: leave the timestamps to the moment of sending, in place of those that were recorded.
        wall: milliseconds since 1970.

    Raises:
        ConfigurationError: there is no such topic, or it holds records already.
        IncompatibleDataError: it would not take the records as they are.
        BrokerUnreachableError: no broker answers.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        partitions: int,
        *,
        times: tuple[int, int] | None = None,
        append: bool = False,
        restamp: bool = False,
        wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._sender = Verbatim(config, topic, restamp=restamp)
        self._sender.check(partitions, times, wall(), append=append)

    def run(
        self,
        records: Iterable[Records],
        speed: float | None,
        *,
        progress: Callable[[int], None] = lambda _records: None,
        stopped: threading.Event | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Rehearsed:
        """Send all of it.

        Args:
            records: in the order in which they are due.
            speed: how many times as fast as it happened; None is as fast as it goes.
            progress: called with the number of records that were sent since the last call.
            stopped: set from elsewhere to end early.
            monotonic: the clock, in seconds.

        Raises:
            BrokerUnreachableError: records could not be delivered.
            HeadraceError: a broker refused some.
        """
        sender, stopped = self._sender, stopped or threading.Event()
        began, first, latest, late = monotonic(), None, NO_TIMESTAMP, 0.0
        for some in records:
            for timestamp, record in sender.rows(some):
                latest = max(latest, timestamp)
                if first is None and timestamp != NO_TIMESTAMP:
                    first, began = timestamp, monotonic()
                if speed is not None and first is not None:
                    late = max(late, self._await(began + (latest - first) / 1_000 / speed, stopped, monotonic))
                if stopped.is_set():
                    break
                sender.put(record)
                if speed is not None or sender.sent % _AT_ONCE == 0:
                    sender.delivery.serve()
            progress(len(some))
            if stopped.is_set():
                break
        sender.flush()
        return Rehearsed(
            topic=sender.topic, records=sender.sent, seconds=monotonic() - began,
            span_seconds=(latest - first) / 1_000 if first is not None else 0.0, latest_seconds=late,
            complete=not stopped.is_set(),
        )  # fmt: skip

    def _await(self, due: float, stopped: threading.Event, monotonic: Callable[[], float]) -> float:
        """Wait until a record is due; tells by how many seconds it is late."""
        while (wait := due - monotonic()) > 0 and not stopped.is_set():
            self._sender.delivery.serve()
            stopped.wait(min(wait, _LONGEST_WAIT_SECONDS))
        return max(0.0, -wait)
