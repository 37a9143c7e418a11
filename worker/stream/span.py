"""What a topic holds: its partitions, their first and last offsets, and which of them are of which time."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError
from worker.stream.client import administer, reader_settings
from worker.stream.topics import refused

_LISTED, _NEAR = 12, 3  # topics that are named where one is not there: all, or of more those most like it
_REQUEST_SECONDS: Final = 15.0  # an answer takes milliseconds, an election of a leader seconds


class Span:
    """A topic, looked at.

    Attributes:
        topic: its name.
        topic_id: what tells it from one of the same name that was deleted.
        partitions: how many it has.

    Raises from its methods:
        BrokerUnreachableError: no answer in time.
        ConfigurationError: it is not permitted.
    """

    def __init__(self, config: Config, topic: str) -> None:
        """Look at a topic.

        Raises:
            ConfigurationError: there is none of that name, or it may not be seen.
            BrokerUnreachableError: no broker answers.
        """
        self.topic = topic
        self._admin = administer(config)
        try:
            found = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_REQUEST_SECONDS)
            described = found[topic].result()
        except KafkaException as error:
            if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                raise ConfigurationError(f"topic {topic!r} does not exist; {self._others()}") from None
            raise refused(error, f"topic {topic} cannot be described") from error
        self.topic_id, self.partitions = str(described.topic_id), len(described.partitions)
        self._consumer = Consumer(reader_settings(config.kafka))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def bounds(self, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Tell of each partition the first offset there is, and the one before which all is committed or aborted."""
        return {
            number: self._ask(self._consumer.get_watermark_offsets, TopicPartition(self.topic, number), cached=False)
            for number in partitions
        }

    def at(self, timestamp: int, partitions: Sequence[int]) -> dict[int, int | None]:
        """Find of each partition the first offset with such a timestamp or a later one; None where there is none."""
        # Below 0 are no times: -1 asks Kafka for the end, -2 for the beginning.
        asked = [TopicPartition(self.topic, number, max(timestamp, 0)) for number in partitions]
        found = self._ask(self._consumer.offsets_for_times, asked)
        return {place.partition: place.offset if place.offset >= 0 else None for place in found}

    def times(self, bounds: Mapping[int, tuple[int, int]]) -> tuple[int, int] | None:
        """Tell the timestamp of the earliest first record and the latest one there is; None where they have none."""
        filled = {number: bound for number, bound in bounds.items() if bound[0] < bound[1]}
        if not filled:
            return None
        latest = self._admin.list_offsets(
            {TopicPartition(self.topic, number): OffsetSpec.max_timestamp() for number in filled},
            request_timeout=_REQUEST_SECONDS,
        )
        try:
            high = max(found.result().timestamp for found in latest.values())
        except KafkaException as error:
            raise refused(error, f"the latest timestamp of topic {self.topic} was not told") from error
        first = [time for number, (low, _) in filled.items() if (time := self._time_from(number, low)) is not None]
        return (min(first), high) if first and high >= 0 else None

    def _time_from(self, number: int, offset: int) -> int | None:
        self._consumer.assign([TopicPartition(self.topic, number, offset)])
        try:
            for message in self._consumer.consume(1, _REQUEST_SECONDS):
                if message.error() is None and message.timestamp()[1] >= 0:
                    return int(message.timestamp()[1])
            return None
        finally:
            self._consumer.unassign()

    def _ask(self, question: Any, *asked: Any, **how: Any) -> Any:  # noqa: ANN401 - the client has no types
        try:
            return question(*asked, timeout=_REQUEST_SECONDS, **how)
        except KafkaException as error:
            raise refused(error, f"the offsets of topic {self.topic} were not told") from error

    def _others(self) -> str:
        try:
            names = sorted(name for name in self._admin.list_topics(timeout=_REQUEST_SECONDS).topics if name[0] != "_")
        except KafkaException as error:
            raise BrokerUnreachableError(f"no broker told its topics: {error.args[0].str()}") from error
        if len(names) > _LISTED:
            near = get_close_matches(self.topic, names, _NEAR, 0.0)
            return f"of {len(names)} topics {', '.join(near)} are most like it"
        return f"there are {', '.join(names)}" if names else "there are no topics yet"
