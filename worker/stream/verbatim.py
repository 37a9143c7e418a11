"""Records into a topic as they are: same partition, key, value, headers and timestamp, each partition in its order."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError, HeadraceError, IncompatibleDataError
from worker.recording.records import Records
from worker.recording.times import as_text
from worker.stream.client import administer
from worker.stream.sending import DELIVERY_SECONDS, WAIT_SECONDS, Pace, sender_settings
from worker.stream.span import Span
from worker.stream.topics import Seen, describe

_SLICE: Final = 1_000  # records between two looks at deliveries
_BATCH_BYTES: Final = 1_000_000  # librdkafka's default


class Verbatim:
    """Sends records to one topic.

    Attributes:
        sent: records handed over; all of them are stored once `flush` returns.
        restamped: of those, records that had no timestamp (or 0, which the client takes for none): their timestamp is
            the moment of sending.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        *,
        rate: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, and look at the topic.

        Args:
            config: how to reach Kafka.
            topic: where to.
            rate: records a second; None is as fast as it goes.
            monotonic: the clock of the rate, in seconds.

        Raises:
            ConfigurationError: the topic does not exist, or a setting is refused.
            BrokerUnreachableError: no broker answers.
        """
        self.topic, self._config = topic, config
        self.sent = self.restamped = 0
        self._pace, self._monotonic = Pace(rate, monotonic), monotonic
        self._failure: KafkaError | None = None
        self._seen = describe(administer(config), [topic])[topic]
        if not self._seen.partitions:
            raise ConfigurationError(f"topic {topic!r} does not exist: make it with `headrace topics create`")
        settings = sender_settings(config)
        # A topic limits batches, not records: small records in one batch above the limit would be refused together.
        limit = self._seen.limit_bytes() if self._seen.settings else _BATCH_BYTES
        settings["batch.size"] = min(int(settings.get("batch.size", _BATCH_BYTES)), limit)
        try:
            self._producer = Producer({**settings, "on_delivery": self._delivered})
        except KafkaException as error:
            raise ConfigurationError(f"[kafka.producer]: {error.args[0].str()}") from error

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return self._seen.partitions

    def check(self, partitions: int, times: tuple[int, int] | None, now: int, *, append: bool) -> None:
        """Make sure that the topic can take records as they are, before the first one is sent.

        Args:
            partitions: of the topic that they come from.
            times: their earliest and latest timestamp, in milliseconds since 1970; None where they have none.
            now: likewise.
            append: records that are there already are none in the way.

        Raises:
            IncompatibleDataError: it would change them, refuse them, or lose them at once.
            ConfigurationError: it holds records.
        """
        problem = judge(self._seen, partitions, times, now)
        if problem is not None:
            raise IncompatibleDataError(f"topic {self.topic} {problem}")
        if append:
            return
        with Span(self._config, self.topic) as span:
            held = [number for number, (low, end) in span.bounds(range(span.partitions)).items() if low < end]
        if held:
            raise ConfigurationError(
                f"topic {self.topic} holds records already, in partition {', '.join(map(str, held))}: a recording goes "
                "into an empty one (set events.topic, or HEADRACE_EVENTS__TOPIC), or behind them with --append"
            )

    def send(self, batches: Iterable[Records], progress: Callable[[int], None]) -> None:
        """Send records.

        Raises:
            BrokerUnreachableError, ConfigurationError, HeadraceError: as `worker.stream.sending.Sender` does.
        """
        for records in batches:
            for begin in range(0, len(records), _SLICE):
                part = records.slice(begin, begin + _SLICE)
                while (delay := self._pace.delay(self.sent)) > 0:
                    self._producer.poll(min(delay, WAIT_SECONDS))
                    self._raise_failure()
                self._send(part)
                self._producer.poll(0)
                self._raise_failure()
                progress(len(part))

    def flush(self, seconds: float = DELIVERY_SECONDS) -> None:
        """Wait until every record is acknowledged."""
        deadline = self._monotonic() + seconds
        while left := self._producer.flush(WAIT_SECONDS):
            self._raise_failure()
            if self._monotonic() >= deadline:
                self._producer.purge()
                raise BrokerUnreachableError(
                    f"{left} of {self.sent} records for topic {self.topic!r} were not acknowledged within "
                    f"{seconds:.0f} s: see `headrace doctor`"
                )
        self._raise_failure()

    def give_up(self) -> None:
        """Drop what is not sent yet."""
        self._producer.purge()

    def _send(self, records: Records) -> None:
        rows = zip(
            records.timestamps.tolist(),
            records.keys.to_pylist(),
            records.values.to_pylist(),
            records.headers.to_pylist(),
            strict=True,
        )
        for timestamp, key, value, headers in rows:
            record: dict[str, Any] = {"key": key, "value": value, "partition": records.partition}
            if timestamp > 0:
                record["timestamp"] = timestamp
            else:
                self.restamped += 1
            if headers:
                record["headers"] = [(header["key"], header["value"]) for header in headers]
            self._produce(record)
            self.sent += 1

    def _produce(self, record: dict[str, Any]) -> None:
        while True:
            try:
                self._producer.produce(self.topic, **record)
            except BufferError:  # the queue is full: the broker sets the pace
                self._producer.poll(WAIT_SECONDS)
                self._raise_failure()
            except KafkaException as error:
                raise self._explained(error.args[0]) from error
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._explained(self._failure)

    def _explained(self, error: KafkaError) -> HeadraceError:
        what = f"records for topic {self.topic!r} were not delivered: {error.str()}"
        code = error.code()
        if code == KafkaError.MSG_SIZE_TOO_LARGE:
            return HeadraceError(f"{what}; raise the topic's max.message.bytes to that of the recorded one")
        if code in (KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD):
            return HeadraceError(
                f"{what}; a compacted topic takes no record without a key, and message.timestamp.before.max.ms and "
                "message.timestamp.after.max.ms bound timestamps"
            )
        if code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
            return ConfigurationError(f"{what}; the user needs the right to write to the topic")
        return BrokerUnreachableError(f"{what}; see `headrace doctor`")


def judge(topic: Seen, partitions: int, times: tuple[int, int] | None, now: int) -> str | None:
    """Tell why a topic cannot take records as they are; None where it can."""
    if topic.partitions != partitions:
        return (
            f"has {topic.partitions} partitions, and the recorded one {partitions}: a record keeps its partition, so "
            "make one of as many"
        )
    settings = topic.settings
    if settings.get("message.timestamp.type", "CreateTime") != "CreateTime":
        return "has message.timestamp.type=LogAppendTime, which would overwrite timestamps: set it to CreateTime"
    if times is None:
        return None
    earliest, latest = times
    retention = int(settings.get("retention.ms", -1))
    if retention >= 0 and "delete" in settings.get("cleanup.policy", "delete") and earliest < now - retention:
        return (
            f"keeps records for {retention / 86_400_000:g} days (retention.ms={retention}), and the earliest is of "
            f"{as_text(earliest)}: the broker would delete them as soon as it looks. Set retention.ms=-1 on it"
        )
    # 9223372036854775807 is no bound: the default of the first one.
    before = int(settings.get("message.timestamp.before.max.ms", now))
    after = int(settings.get("message.timestamp.after.max.ms", latest))
    for name, most, bound, refused in (
        ("before", before, earliest, earliest < now - before),
        ("after", after, latest, latest > now + after),
    ):
        if refused:
            return f"has message.timestamp.{name}.max.ms={most}, and would refuse what is of {as_text(bound)}: raise it"
    return None
