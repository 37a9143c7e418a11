"""What a topic holds: its partitions, their first and last offsets, which of them are of which time or asked for."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError
from worker.recording.plan import Asked
from worker.recording.times import as_text
from worker.stream.client import administer, reader_settings
from worker.stream.polling import refuse_forbidden
from worker.stream.topics import refused

Bounds = Mapping[int, tuple[int, int]]  # partition -> the first offset, and the one after the last

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

    def chosen(self, wanted: Iterable[int] | None) -> list[int]:
        """Give the partitions that are asked for, in their order; None is all.

        Raises:
            ConfigurationError: it has no such partition.
        """
        numbers = sorted(set(range(self.partitions) if wanted is None else wanted))
        missing = [number for number in numbers if number >= self.partitions]
        if missing:
            raise ConfigurationError(
                f"topic {self.topic} has no partition {', '.join(map(str, missing))}; it has 0 to {self.partitions - 1}"
            )
        return numbers

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

    def ranges(self, asked: Asked, bounds: Bounds) -> dict[int, tuple[int, int]]:
        """Give of each partition of `bounds` the first offset that is asked for, and the one after the last.

        Raises:
            ConfigurationError: an offset that is asked for does not lie within its partition.
        """
        stops = self.stops(asked, bounds)
        if asked.from_timestamp is not None:
            starts = self._within(asked.from_timestamp, bounds)
        elif asked.from_offset is not None:
            self._check("--from-offset", asked.from_offset, bounds)
            starts = dict.fromkeys(bounds, asked.from_offset)
        else:
            starts = {number: low for number, (low, _) in bounds.items()}
        return {number: (start, max(start, stops[number])) for number, start in starts.items()}

    def stops(self, asked: Asked, bounds: Bounds) -> dict[int, int]:
        """Give of each partition of `bounds` the offset after the last that is asked for; raises as `ranges` does."""
        if asked.to_timestamp is not None:
            return self._within(asked.to_timestamp, bounds)
        if asked.to_offset is not None:
            self._check("--to-offset", asked.to_offset, bounds)
            return dict.fromkeys(bounds, asked.to_offset)
        return {number: end for number, (_, end) in bounds.items()}

    def nothing(self, asked: Asked, bounds: Bounds, doing: str) -> ConfigurationError:
        """Say that there are no such records, and which there are, whatever was to be done with them ("record")."""
        if all(low == end for low, end in bounds.values()):
            where = " in these partitions" if asked.partitions else ""
            return ConfigurationError(f"topic {self.topic} holds no records{where}: there is nothing to {doing}")
        wanted = [
            f"{word} {as_text(value) if 'time' in name else value}"
            for word, name in (
                ("from", "from_timestamp"), ("from offset", "from_offset"),
                ("to", "to_timestamp"), ("to offset", "to_offset"),
            )
            if (value := getattr(asked, name)) is not None
        ]  # fmt: skip
        times = self.times(bounds)
        held = (
            f"it has some from {as_text(times[0])} to {as_text(times[1])}"
            if times
            else "its records have no timestamps"
        )
        offsets = ", ".join(
            f"{low} to {end - 1} in partition {number}" for number, (low, end) in bounds.items() if low < end
        )
        return ConfigurationError(f"topic {self.topic} has no records {' '.join(wanted)}: {held}; offsets {offsets}")

    def times(self, bounds: Bounds) -> tuple[int, int] | None:
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

    def _within(self, timestamp: int, bounds: Bounds) -> dict[int, int]:
        """Find of each partition the first committed offset of a time or later; its end where there is none."""
        found = self.at(timestamp, list(bounds))
        return {number: end if (at := found[number]) is None else min(at, end) for number, (_, end) in bounds.items()}

    def _check(self, option: str, offset: int, bounds: Bounds) -> None:
        for number, (low, end) in bounds.items():
            if not low <= offset <= end:
                held = f"holds offsets {low} to {end - 1}" if low < end else f"is empty, its next offset is {end}"
                raise ConfigurationError(
                    f"{option} {offset}: {self.topic} [{number}] {held}; --partition chooses partitions, each of which "
                    "has offsets of its own"
                )

    def _time_from(self, number: int, offset: int) -> int | None:
        self._consumer.assign([TopicPartition(self.topic, number, offset)])
        try:
            for message in self._consumer.consume(1, _REQUEST_SECONDS):
                if message.error() is not None:
                    refuse_forbidden(message.error(), self.topic)
                elif message.timestamp()[1] >= 0:
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
