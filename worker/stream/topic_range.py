"""A range of a topic in Kafka as a replay reads it: what was committed when it was looked at."""

from collections.abc import Iterable, Iterator
from typing import Final

from worker.config import Config
from worker.errors import ConfigurationError
from worker.recording.plan import Asked
from worker.recording.records import Records
from worker.stream.client import Settings, reader_settings
from worker.stream.reader import RangeReader
from worker.stream.span import Span

_QUEUE_KBYTES: Final = 32_768  # of a client: each partition that is being read has its own


class TopicRange:
    """Records of a topic: a source of `worker.replay`.

    Attributes:
        topic: its name.
        shards: how many partitions it has.
        ranges: partition -> the first offset, and the one after the last, as they were when this was made.
        times: the earliest and the latest timestamp: not known before all is read.
    """

    times: None = None

    def __init__(
        self,
        config: Config,
        topic: str,
        *,
        begin: int | None = None,
        end: int | None = None,
        partitions: Iterable[int] | None = None,
    ) -> None:
        """Look at a topic; no record is read yet.

        Args:
            config: how to reach Kafka.
            topic: its name.
            begin: from each partition's first record of this timestamp or later on, milliseconds since 1970.
            end: before each partition's first record of this timestamp or later.
            partitions: only these.

        Raises:
            ConfigurationError: there is no such topic, no such partition, or nothing in this range.
            BrokerUnreachableError: no broker answers.
        """
        asked = Asked(
            partitions=None if partitions is None else tuple(partitions), from_timestamp=begin, to_timestamp=end
        )
        with Span(config, topic) as span:
            self.topic, self.shards = topic, span.partitions
            bounds = span.bounds(span.chosen(asked.partitions))
            self.ranges = span.ranges(asked, bounds)
            if all(first == after for first, after in self.ranges.values()):
                raise span.nothing(asked, bounds, "replay")
        self._settings: Settings = reader_settings(config.kafka) | {"queued.max.messages.kbytes": _QUEUE_KBYTES}

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        """Give the records of a partition in the order of their offsets; by a client of its own.

        Raises:
            ConfigurationError: it is not among those that were chosen, or may not be read.
            IncompatibleDataError: retention was faster, or a record cannot be read.
            BrokerUnreachableError: no record comes any more.
        """
        if number not in self.ranges:
            raise ConfigurationError(f"partition {number} of {self.topic} is not among those to be replayed")
        first, after = self.ranges[number]
        bounds = first if start is None else start, after if stop is None else stop
        with RangeReader(
            self._settings, self.topic, {number: bounds}, doing="replayed",
            gone="Record the topic (`headrace record`), and replay that",
        ) as reader:  # fmt: skip
            while reader.open:
                yield from reader.poll()[0]
