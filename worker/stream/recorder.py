"""Kafka to files: a topic, or a range of it, recorded.

What is recorded is decided before the first record is read, and written down (`worker.recording.plan`). From there on
files depend on the records alone, so a run that is interrupted, however hard, is taken up where its last whole file
ends, and makes the files that it would have made.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError, DamagedRecordingError, IncompatibleDataError
from worker.recording.layout import topic_folder
from worker.recording.places import exclusive, place
from worker.recording.plan import Asked, write_plan
from worker.recording.writing import Limits, PartitionWriter
from worker.stream.client import reader_settings
from worker.stream.messages import records_of
from worker.stream.planning import Prepared, prepare, recorded
from worker.stream.polling import take
from worker.stream.span import Span
from worker.stream.writer import Writer

_READ: Final = 10_000  # messages at once
_POLL_SECONDS: Final = 0.5  # until a signal is heard
# A broker that restarts is back within some 20 s, and an election takes less.
_SILENCE_SECONDS: Final = 60.0
_GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - public constants
_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is recorded of one partition, by all runs."""

    partition: int
    first_offset: int
    next_offset: int  # the one after the last that is recorded
    records: int
    files: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was recorded."""

    topic: str
    location: str  # passwords masked
    complete: bool  # all that was planned; False where the run was interrupted
    records: int  # by this run, in whole files
    files: int  # likewise
    seconds: float
    records_per_second: float
    partitions: list[Part]
    warnings: list[str]


class _Lane:
    """One partition on its way into files."""

    def __init__(self, writer: PartitionWriter, stop: int | None) -> None:
        self.writer, self.stop = writer, stop
        self.at = writer.next_offset  # all before it is taken

    @property
    def done(self) -> bool:
        return self.stop is not None and self.at >= self.stop


class Recorder:
    """Records one topic. To make it looks at the topic and at what is recorded already; `run` records.

    Attributes:
        total: how many offsets there are to read; None where it goes on until it is stopped.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        to: str | Path,
        asked: Asked,
        *,
        follow: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """Decide what is recorded.

        Args:
            config: how to reach Kafka.
            topic: what to record.
            to: the folder of the recording, or its address.
            asked: which records.
            follow: go on at the end of the topic until stopped.
            limits: when a file is full; None is as before, or the default.

        Raises:
            ConfigurationError: there are no such records, or they do not go on where the recording ends.
            IncompatibleDataError: what is recorded already is damaged, or what should come next is gone.
            BrokerUnreachableError: no broker answers.
        """
        self._config, self._topic, self._follow = config, topic, follow
        self._where = place(to)
        with Span(config, topic) as span:
            self._prepared: Prepared = prepare(span, self._where, asked, follow=follow, limits=limits)
        plan = self._prepared.plan
        self.total = (
            None
            if follow
            else sum((stop or 0) - self._prepared.at[number] for number, (_, stop) in plan.ranges.items())
        )

    def run(
        self,
        *,
        progress: Callable[[int], None] | None = None,
        stopped: threading.Event | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Summary:
        """Record until all of it is there, or until stopped.

        Args:
            progress: called with the number of offsets that were passed.
            stopped: set from elsewhere to end early: what is not in a whole file is left to the next run, but where
                the end of the topic is followed, files are ended as they are.
            monotonic: the clock, in seconds.

        Raises:
            ConfigurationError, BrokerUnreachableError: Kafka, or the file system, refuses.
            IncompatibleDataError: retention was faster.
        """
        begun = monotonic()
        plan = self._prepared.plan
        with exclusive(self._where, self._where.below(topic_folder(self._topic))):
            write_plan(self._where, plan)
            lanes = {number: _Lane(self._writer(number), stop) for number, (_, stop) in plan.ranges.items()}
            with Writer() as writer:
                self._copy(lanes, writer, progress or (lambda _passed: None), stopped or threading.Event(), monotonic)
        return self._summary(lanes, monotonic() - begun)

    def _writer(self, number: int) -> PartitionWriter:
        plan = self._prepared.plan
        return PartitionWriter(
            self._where, self._topic, number,
            partitions=plan.partitions, start=self._prepared.at[number], limits=plan.limits,
        )  # fmt: skip

    def _copy(
        self,
        lanes: dict[int, _Lane],
        writer: Writer,
        progress: Callable[[int], None],
        stopped: threading.Event,
        monotonic: Callable[[], float],
    ) -> None:
        open_ = {number: lane for number, lane in lanes.items() if not lane.done}
        consumer = Consumer(reader_settings(self._config.kafka) | {"check.crcs": True})
        try:
            consumer.assign([TopicPartition(self._topic, number, lane.at) for number, lane in open_.items()])
            heard = monotonic()
            while open_ and not stopped.is_set():
                messages = take(consumer, _READ, _POLL_SECONDS)
                if not messages and not self._follow and monotonic() - heard > _SILENCE_SECONDS:
                    raise BrokerUnreachableError(
                        f"topic {self._topic} gave nothing for {_SILENCE_SECONDS:g} s, and {len(open_)} of its "
                        "partitions are not at their end: `headrace doctor` tells more. To go on, run it again"
                    )
                before = sum(lane.at for lane in open_.values())
                self._take(messages, open_, writer)
                if messages:  # looked at after they were taken: writing may have waited for its disk
                    heard = monotonic()
                progress(sum(lane.at for lane in open_.values()) - before)
                for number in [number for number, lane in open_.items() if lane.done]:
                    lane = open_.pop(number)
                    writer.finish(lane.writer, lane.at)
                    consumer.incremental_unassign([TopicPartition(self._topic, number)])
            if self._follow:
                for lane in open_.values():
                    writer.finish(lane.writer, lane.at)
        finally:
            consumer.close()

    def _take(self, messages: list[Message], lanes: dict[int, _Lane], writer: Writer) -> None:
        ends = [message for message in messages if message.error() is not None]
        if ends:
            messages = [message for message in messages if message.error() is None]
        for number, run in groupby(messages, Message.partition):  # the client gives what it fetched of one in a row
            lane = lanes.get(number)
            if lane is None:
                continue  # fetched before it was found to be done
            records = records_of(list(run))
            end = int(records.offsets[-1]) + 1
            if lane.stop is not None:
                end = min(end, lane.stop)
            wanted = records.between(lane.at, end)
            if len(wanted):
                writer.add(lane.writer, wanted)
            lane.at = max(lane.at, end)
        for message in ends:
            self._judge(message, lanes)

    def _judge(self, message: Message, lanes: dict[int, _Lane]) -> None:
        error = message.error()
        lane = lanes.get(message.partition())
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public constant
            if lane is not None:  # past the markers of transactions too
                lane.at = max(lane.at, message.offset() if lane.stop is None else min(message.offset(), lane.stop))
        elif error.code() in _GONE and lane is not None:
            raise IncompatibleDataError(
                f"{self._topic} [{message.partition()}]: retention deleted offset {lane.at} before it was recorded "
                f"({error.str()}). What is recorded is whole; what is left needs a folder of its own"
            )
        elif error.code() in _FORBIDDEN:
            raise ConfigurationError(f"Kafka refuses access: {error.str()}; `headrace doctor` lists what is needed")
        elif error.fatal():
            raise BrokerUnreachableError(f"topic {self._topic}: {error.str()}; to go on, run it again")

    def _summary(self, lanes: dict[int, _Lane], seconds: float) -> Summary:
        """Hold what is on the disk now against what was written, and against the plan."""
        records = sum(lane.writer.records for lane in lanes.values())
        return Summary(
            topic=self._topic,
            location=self._where.text,
            complete=all(lane.done for lane in lanes.values()) or self._follow,
            records=records,
            files=sum(lane.writer.files for lane in lanes.values()),
            seconds=seconds,
            records_per_second=records / seconds if seconds > 0 else 0.0,
            partitions=self._verified(lanes),
            warnings=self._prepared.warnings,
        )

    def _verified(self, lanes: dict[int, _Lane]) -> list[Part]:
        found = recorded(self._where, self._topic)
        parts = []
        for number, lane in lanes.items():
            segments, first = found.get(number, []), self._prepared.plan.ranges[number][0]
            count, wanted = (
                sum(one.count for one in segments),
                self._prepared.count.get(number, 0) + lane.writer.records,
            )
            begin, stop = (segments[0].first, segments[-1].stop) if segments else (first, first)
            if (count, begin) != (wanted, first) or (lane.done and stop != lane.stop):
                raise DamagedRecordingError(
                    f"{self._where.text}: partition {number} holds {count:,} records of offsets {begin} to {stop - 1}, "
                    f"and {wanted:,} from {first} on were written: something else changed its files"
                )
            files = len(segments)
            parts.append(Part(partition=number, first_offset=begin, next_offset=stop, records=count, files=files))
        return parts
