"""A range of a topic in Kafka as a replay reads it: what was committed when it was looked at."""

import time
from collections.abc import Iterable, Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, TopicPartition

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError, IncompatibleDataError
from worker.recording.records import Records
from worker.recording.times import as_text
from worker.stream.client import Settings, reader_settings
from worker.stream.messages import records_of
from worker.stream.polling import take
from worker.stream.span import Span

_READ: Final = 10_000  # messages at once
_POLL_SECONDS: Final = 0.5
# A broker that restarts is back within some 20 s, and an election takes less.
_SILENCE_SECONDS: Final = 60.0
_GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - public constants
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
        with Span(config, topic) as span:
            self.topic, self.shards = topic, span.partitions
            chosen = sorted(set(range(span.partitions) if partitions is None else partitions))
            wrong = [number for number in chosen if number >= span.partitions]
            if wrong:
                raise ConfigurationError(f"{topic} has the partitions 0 to {span.partitions - 1}, not {wrong[0]}")
            bounds = span.bounds(chosen)
            begins = {} if begin is None else span.at(begin, chosen)
            ends = {} if end is None else span.at(end, chosen)
        self.ranges: dict[int, tuple[int, int]] = {}
        for number, (low, high) in bounds.items():
            first, after = begins.get(number, low), ends.get(number, high)
            first, after = high if first is None else first, high if after is None else after
            self.ranges[number] = first, max(first, after)
        if all(first == after for first, after in self.ranges.values()):
            asked = [*(["from " + as_text(begin)] if begin is not None else [])]
            asked += ["to " + as_text(end)] if end is not None else []
            raise ConfigurationError(
                f"there are no records in {topic} {' '.join(asked)}".rstrip() + ": nothing to replay"
            )
        self._settings: Settings = reader_settings(config.kafka) | {"queued.max.messages.kbytes": _QUEUE_KBYTES}

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        """Give the records of a partition in the order of their offsets; by a client of its own.

        Raises:
            ConfigurationError: it is not among those that were chosen.
            IncompatibleDataError: retention was faster.
            BrokerUnreachableError: no record comes any more.
        """
        if number not in self.ranges:
            raise ConfigurationError(f"partition {number} of {self.topic} is not among those to be replayed")
        first, after = self.ranges[number]
        start, stop = first if start is None else start, after if stop is None else stop
        if start >= stop:
            return
        consumer = Consumer(self._settings)
        try:
            consumer.assign([TopicPartition(self.topic, number, start)])
            yield from self._read(consumer, number, stop)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, number: int, stop: int) -> Iterator[Records]:
        heard = time.monotonic()
        while True:
            messages, ended = [], False
            for message in take(consumer, _READ, _POLL_SECONDS):
                error = message.error()
                if error is None:
                    messages.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public constant
                    ended = True
                elif error.code() in _GONE:
                    raise IncompatibleDataError(
                        f"partition {number} of {self.topic}: the next record is gone, retention deleted it before it "
                        "was replayed. Record the topic (`headrace record`), and replay that"
                    )
            if messages:
                ended = ended or messages[-1].offset() + 1 >= stop
                messages = [message for message in messages if message.offset() < stop]
            if messages:
                yield records_of(messages)
                heard = time.monotonic()  # from here on: who reads may have taken its time over them
            if ended:
                return
            if time.monotonic() - heard > _SILENCE_SECONDS:
                raise BrokerUnreachableError(
                    f"partition {number} of {self.topic} gave nothing for {_SILENCE_SECONDS:g} s: is its leader up? "
                    "`headrace doctor` tells"
                )
