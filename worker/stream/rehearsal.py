"""Recorded records into a topic, in their order and with their timing: a rehearsal of what happened."""

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError, HeadraceError, IncompatibleDataError
from worker.recording.records import NO_TIMESTAMP, Records
from worker.stream.client import reach, reader_settings
from worker.stream.sending import DELIVERY_SECONDS, WAIT_SECONDS, sender_settings

_SPEED = re.compile(r"([0-9]+(?:\.[0-9]+)?)x?")
_REQUEST_SECONDS: Final = 15.0
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
        append: add to what the topic holds, in place of refusing.
        restamp: leave the timestamps to the moment of sending, in place of those that were recorded.

    Raises:
        ConfigurationError: there is no such topic, or it holds records already.
        IncompatibleDataError: it has another number of partitions.
        BrokerUnreachableError: no broker answers.
    """

    def __init__(
        self, config: Config, topic: str, partitions: int, *, append: bool = False, restamp: bool = False
    ) -> None:
        self.topic, self._restamp = topic, restamp
        self._failure: KafkaError | None = None
        found = reach(config).topics
        if topic not in found:
            raise ConfigurationError(
                f"topic {topic!r} does not exist: make it with {partitions} partitions, such as by "
                f"HEADRACE_EVENTS__TOPIC={topic} headrace topics create --partitions {partitions}"
            )
        if len(found[topic].partitions) != partitions:
            raise IncompatibleDataError(
                f"topic {topic} has {len(found[topic].partitions)} partitions, and {partitions} were recorded: records "
                "go to the partition they came from, make a topic that has as many"
            )
        if not append:
            self._require_empty(config, partitions)
        self._producer = Producer(sender_settings(config) | {"on_delivery": self._delivered, "compression.type": "lz4"})

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
        stopped = stopped or threading.Event()
        began, first, latest, late, sent = monotonic(), None, NO_TIMESTAMP, 0.0, 0
        for some in records:
            for number, value, key, headers in zip(
                range(len(some)), some.values.to_pylist(), some.keys.to_pylist(), some.headers.to_pylist(), strict=True
            ):
                timestamp = int(some.timestamps[number])
                latest = max(latest, timestamp)
                if first is None and timestamp != NO_TIMESTAMP:
                    first, began = timestamp, monotonic()
                if speed is not None and first is not None:
                    late = max(late, self._await(began + (latest - first) / 1_000 / speed, stopped, monotonic))
                if stopped.is_set():
                    break
                self._send(some.partition, key, value, headers, timestamp)
                sent += 1
                if sent % _AT_ONCE == 0:
                    self._require_sound()
            progress(len(some))
            if stopped.is_set():
                break
        left = self._producer.flush(DELIVERY_SECONDS)
        self._require_sound()
        if left:
            raise BrokerUnreachableError(f"{left} records could not be sent to {self.topic} in {DELIVERY_SECONDS:g} s")
        return Rehearsed(
            topic=self.topic, records=sent, seconds=monotonic() - began,
            span_seconds=(latest - first) / 1_000 if first is not None else 0.0, latest_seconds=late,
            complete=not stopped.is_set(),
        )  # fmt: skip

    def _await(self, due: float, stopped: threading.Event, monotonic: Callable[[], float]) -> float:
        """Wait until a record is due; tells by how many seconds it is late."""
        while (wait := due - monotonic()) > 0 and not stopped.is_set():
            self._producer.poll(0)
            stopped.wait(min(wait, _LONGEST_WAIT_SECONDS))
        return max(0.0, -wait)

    def _send(
        self, partition: int, key: bytes | None, value: bytes | None, headers: list[dict[str, bytes]] | None, at: int
    ) -> None:
        said = [(header["key"], header["value"]) for header in headers or []]
        stamp = {} if self._restamp or at == NO_TIMESTAMP else {"timestamp": at}
        while True:
            try:
                self._producer.produce(self.topic, value, key, partition, headers=said or None, **stamp)
            except BufferError:  # the queue is full: let some of it be delivered
                self._producer.poll(WAIT_SECONDS)
                self._require_sound()
            except KafkaException as error:
                raise HeadraceError(f"a record cannot be sent to {self.topic}: {error.args[0].str()}") from error
            else:
                self._producer.poll(0)
                return

    def _require_empty(self, config: Config, partitions: int) -> None:
        consumer = Consumer(reader_settings(config.kafka))
        try:
            bounds = [
                consumer.get_watermark_offsets(
                    TopicPartition(self.topic, number), timeout=_REQUEST_SECONDS, cached=False
                )
                for number in range(partitions)
            ]
        except KafkaException as error:
            raise BrokerUnreachableError(f"the offsets of {self.topic} were not told: {error.args[0].str()}") from error
        finally:
            consumer.close()
        held = sum(high - low for low, high in bounds)
        if held:
            raise ConfigurationError(
                f"topic {self.topic} holds {held} records already. A rehearsal that was interrupted is not taken up "
                "where it ended: what it had sent would be there twice. Delete the topic or name another one, or add "
                "to what is there with --append"
            )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failure = error

    def _require_sound(self) -> None:
        if self._failure is None:
            return
        kind = BrokerUnreachableError if self._failure.code() == KafkaError._MSG_TIMED_OUT else HeadraceError  # noqa: SLF001
        raise kind(f"records could not be sent to {self.topic}: {self._failure.str()}")
