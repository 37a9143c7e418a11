"""Sending events to a topic: keyed, paced, with back-pressure, and accounted for to the last one."""

import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from worker.config import Config
from worker.errors import ConfigurationError
from worker.stream.client import Settings, admin_settings, reach
from worker.stream.delivery import DELIVERY_SECONDS, WAIT_SECONDS, Delivery
from worker.stream.packs import PACK_EVENTS, Packed, Packs

SLICE_EVENTS = 1_000  # handed over at once: some 10 ms at full speed
SLICE_SECONDS = 0.05  # at a slow rate: 20 slices a second look steady on every dashboard
# Murmur2 is what Java's producers do, so that an event lands in the same partition whoever sent it.
PARTITIONERS = {"murmur2": "murmur2_random", "crc32": "consistent_random"}


def sender_settings(config: Config) -> Settings:
    """Give the settings of a producer of events: what works well, then the user's, then what a guarantee hangs on.

    Secrets are in the clear in the result: hand it to librdkafka and to nothing else.
    """
    given = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in config.kafka.producer.items()
    }
    return {
        **admin_settings(config),
        "linger.ms": 20,  # full batches compress well, and 20 ms are nothing beside a commit's second
        "compression.type": "lz4",
        **given,
        "partitioner": PARTITIONERS[config.events.partitioner],
        "enable.idempotence": True,  # a retry neither doubles an event nor overtakes the one before
        "message.timeout.ms": int(DELIVERY_SECONDS * 1_000),
        "message.max.bytes": 1_000_000_000,  # librdkafka's own maximum: the topic's limit shall rule
        "delivery.report.only.error": True,  # a report for each of a million events would cost half the speed
    }


def slice_events(rate: float | None) -> int:
    """Choose how many events to send at once at a rate in events a second.

    >>> slice_events(None), slice_events(1_000), slice_events(2)
    (1000, 50, 1)
    """
    return SLICE_EVENTS if rate is None else min(max(int(rate * SLICE_SECONDS), 1), SLICE_EVENTS)


class Pace:
    """When the next events are due at a steady rate, counted from the first one."""

    def __init__(self, rate: float | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Pace to `rate` events a second; None is as fast as it goes."""
        if rate is not None and not rate > 0:
            raise ConfigurationError(
                f"the rate must be above 0 events a second, not {rate}; leave it out for full speed"
            )
        self._rate = rate
        self._monotonic = monotonic
        self._start: float | None = None

    def delay(self, events: int) -> float:
        """Tell how many seconds from now the event after the first `events` is due; 0 is now."""
        if self._rate is None:
            return 0.0
        now = self._monotonic()
        if self._start is None:
            self._start = now
        return max(0.0, self._start + events / self._rate - now)


class Sender:
    """Sends events to one topic, in the order of their keys, and knows that each has arrived.

    Use as a context: it ends well only when every event is acknowledged by all replicas in sync, and gives up what
    is still queued when the body raises.

    Raises:
        ConfigurationError: a setting that librdkafka refuses, or a topic that does not exist.
        BrokerUnreachableError: no broker answers, or events could not be delivered within `DELIVERY_SECONDS`.
        HeadraceError: a broker refused events (too large, not authorized).
    """

    def __init__(
        self,
        config: Config,
        *,
        rate: float | None = None,
        pack_events: int = PACK_EVENTS,
        progress: Callable[[int], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to the event topic of the configuration.

        Args:
            config: the broker, the topic and its partitioner.
            rate: events a second; None is as fast as the broker takes them.
            pack_events: the most events of a message, where `events.format` packs them.
            progress: called with the number of events of each `send`.
            monotonic: the clock, in seconds.
        """
        self.topic = config.events.topic
        self.sent = 0  # handed to librdkafka, or waiting to be packed
        self._pace = Pace(rate, monotonic)
        self._progress = progress
        # All topics are asked for: to ask for one by its name would create it, with the broker's default settings.
        topics = reach(config).topics
        if self.topic not in topics:
            raise ConfigurationError(f"topic {self.topic!r} does not exist: make it with `headrace topics create`")
        self.partitions = len(topics[self.topic].partitions)
        self._packs = (
            Packs(config.events, self.partitions, most=pack_events, monotonic=monotonic)
            if config.events.format == "arrow"
            else None
        )
        self._delivery = Delivery(
            self.topic, sender_settings(config), what="events", monotonic=monotonic,
            too_large="raise the topic's max.message.bytes, or leave the event out",
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.flush()
        else:
            self._delivery.purge()

    @property
    def delivered(self) -> int:
        """Count the events that all replicas in sync have; exact after `flush`."""
        return self.sent - self._delivery.failed - len(self._delivery)

    def wait(self) -> None:
        """Wait until the next event is due, so that what is made then, such as its time, is fresh."""
        while (delay := self._pace.delay(self.sent)) > 0:
            self._delivery.serve(min(delay, WAIT_SECONDS))

    def send(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Queue events, each with its record key; waits while the queue is full, and for their time to come."""
        self.wait()
        if self._packs is not None:
            self._send_packed(self._packs.add(keys, values))
            self.sent += len(values)
        else:
            for key, value in zip(keys, values, strict=True):
                self._delivery.produce(value=value, key=key)
                self.sent += 1
        self._delivery.serve()
        if self._progress is not None:
            self._progress(len(values))

    def flush(self, seconds: float = DELIVERY_SECONDS) -> None:
        """Wait until every event is acknowledged."""
        if self._packs is not None:
            self._send_packed(self._packs.rest())
        self._delivery.flush(self.sent, seconds)

    def _send_packed(self, messages: Iterable[Packed]) -> None:
        for message in messages:
            # No key: a message is of many users. Their partition is chosen as the partitioner would.
            self._delivery.produce(value=message.value, partition=message.partition, events=message.events)
