"""Records into a topic as they are: same partition, key, value, headers and timestamp, each partition in its order."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from worker.config import Config
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.recording.records import Records
from worker.recording.times import as_text
from worker.stream.client import administer
from worker.stream.delivery import WAIT_SECONDS, Delivery
from worker.stream.sending import Pace, sender_settings
from worker.stream.span import Span
from worker.stream.topics import Seen, describe

_SLICE: Final = 1_000  # records between two looks at deliveries
_BATCH_BYTES: Final = 1_000_000  # librdkafka's default


class Verbatim:
    """Sends records to one topic.

    Attributes:
        sent: records handed over; all of them are stored once `flush` returns.
        delivery: what it sends by.
        restamped: of those, records whose timestamp is the moment of sending: they had none (or 0, which the client
            takes for none), or it was not to be kept.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        *,
        rate: float | None = None,
        restamp: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, and look at the topic.

        Args:
            config: how to reach Kafka.
            topic: where to.
            rate: records a second; None is as fast as it goes.
            restamp: leave the timestamps to the moment of sending.
            monotonic: the clock of the rate, in seconds.

        Raises:
            ConfigurationError: the topic does not exist, or a setting is refused.
            BrokerUnreachableError: no broker answers.
        """
        self.topic, self._config = topic, config
        self.sent = self.restamped = 0
        self._pace, self._restamp = Pace(rate, monotonic), restamp
        self._seen = describe(administer(config), [topic])[topic]
        if not self._seen.partitions:
            raise ConfigurationError(f"topic {topic!r} does not exist: make it with `headrace topics create`")
        settings = sender_settings(config)
        # A topic limits batches, not records: small records in one batch above the limit would be refused together.
        limit = self._seen.limit_bytes() if self._seen.settings else _BATCH_BYTES
        settings["batch.size"] = min(int(settings.get("batch.size", _BATCH_BYTES)), limit)
        self.delivery = Delivery(
            topic, settings, what="records", monotonic=monotonic,
            too_large="raise the topic's max.message.bytes to that of the recorded one",
        )  # fmt: skip

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
        problem = judge(self._seen, partitions, times, now, restamp=self._restamp)
        if problem is not None:
            raise IncompatibleDataError(f"topic {self.topic} {problem}")
        if append:
            return
        with Span(self._config, self.topic) as span:
            held = [number for number, (low, end) in span.bounds(range(span.partitions)).items() if low < end]
        if held:
            raise ConfigurationError(
                f"topic {self.topic} holds records already, in partition {', '.join(map(str, held))}: a recording goes "
                "into an empty topic, so that nothing is there twice: name another one, or add to it with --append"
            )

    def send(self, batches: Iterable[Records], progress: Callable[[int], None]) -> None:
        """Send records; raises as `Delivery.serve` does."""
        for records in batches:
            for begin in range(0, len(records), _SLICE):
                part = records.slice(begin, begin + _SLICE)
                while (delay := self._pace.delay(self.sent)) > 0:
                    self.delivery.serve(min(delay, WAIT_SECONDS))
                for _, record in self.rows(part):
                    self.put(record)
                self.delivery.serve()
                progress(len(part))

    def rows(self, records: Records) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give the timestamp of each record, and the record as `put` takes it."""
        rows = zip(
            records.timestamps.tolist(),
            records.keys.to_pylist(),
            records.values.to_pylist(),
            records.headers.to_pylist(),
            strict=True,
        )
        for timestamp, key, value, headers in rows:
            record: dict[str, Any] = {"key": key, "value": value, "partition": records.partition}
            if timestamp > 0 and not self._restamp:
                record["timestamp"] = timestamp
            if headers:
                record["headers"] = [(header["key"], header["value"]) for header in headers]
            yield timestamp, record

    def put(self, record: dict[str, Any]) -> None:
        """Send one record; raises as `Delivery.serve` does."""
        self.delivery.produce(**record)
        self.sent += 1
        self.restamped += "timestamp" not in record

    def flush(self) -> None:
        """Wait until every record is acknowledged; raises as `Delivery.serve` does."""
        self.delivery.flush(self.sent)


def judge(
    topic: Seen, partitions: int, times: tuple[int, int] | None, now: int, *, restamp: bool = False
) -> str | None:
    """Tell why a topic cannot take records as they are; None where it can."""
    if topic.partitions != partitions:
        return (
            f"has {topic.partitions} partitions, and the recorded one {partitions}: a record keeps its partition, so "
            "make one of as many"
        )
    settings = topic.settings
    if not restamp and settings.get("message.timestamp.type", "CreateTime") != "CreateTime":
        return "has message.timestamp.type=LogAppendTime, which would overwrite timestamps: set it to CreateTime"
    if times is None or restamp:
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
