"""Kafka to files: a topic, or a range of it, recorded.

What is recorded is decided before the first record is read, and written down (`worker.recording.plan`). From there on
files depend on the records alone, so a run that is interrupted, however hard, is taken up where its last whole file
ends, and makes the files that it would have made.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.config import Config
from worker.errors import DamagedRecordingError
from worker.recording.layout import topic_folder
from worker.recording.places import exclusive, place
from worker.recording.plan import Asked, write_plan
from worker.recording.writing import Limits, PartitionWriter
from worker.stream.client import reader_settings
from worker.stream.planning import Prepared, look, prepare, recorded
from worker.stream.reader import RangeReader
from worker.stream.span import Span
from worker.stream.writer import Writer


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
        self._asked, self._limits = asked, limits
        self._where = place(to)
        self._found = look(self._where, topic)
        self._prepared = self._prepare()
        self.total = None if follow else self._prepared.left

    def _prepare(self) -> Prepared:
        with Span(self._config, self._topic) as span:
            return prepare(span, self._where, self._found, self._asked, follow=self._follow, limits=self._limits)

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
            ConfigurationError, BrokerUnreachableError, StorageError: Kafka, or the file system, refuses.
            IncompatibleDataError: retention was faster, or a record cannot be read.
        """
        begun = monotonic()
        progress = progress or (lambda _passed: None)
        with exclusive(self._where, self._where.below(topic_folder(self._topic))):
            self._look_again(progress)
            plan = self._prepared.plan
            write_plan(self._where, plan)
            writers = {number: self._writer(number) for number in plan.ranges}
            with Writer() as writer:
                open_ = self._copy(writers, writer, progress, stopped or threading.Event(), monotonic)
            return self._summary(writers, open_, monotonic() - begun)

    def _look_again(self, progress: Callable[[int], None]) -> None:
        """Decide anew where another run has recorded there since: only now is nobody else at it."""
        found = look(self._where, self._topic)
        if found == self._found:
            return
        before, self._found = self._prepared, found
        self._prepared = self._prepare()
        if not self._follow:
            progress(max(0, before.left - self._prepared.left))

    def _writer(self, number: int) -> PartitionWriter:
        plan = self._prepared.plan
        return PartitionWriter(
            self._where, self._topic, number,
            partitions=plan.partitions, start=self._prepared.at[number], limits=plan.limits,
        )  # fmt: skip

    def _copy(
        self,
        writers: dict[int, PartitionWriter],
        writer: Writer,
        progress: Callable[[int], None],
        stopped: threading.Event,
        monotonic: Callable[[], float],
    ) -> set[int]:
        """Give the partitions that have not come to their end."""
        ranges = {number: (self._prepared.at[number], stop) for number, (_, stop) in self._prepared.plan.ranges.items()}
        with RangeReader(
            reader_settings(self._config.kafka), self._topic, ranges, doing="recorded", monotonic=monotonic,
            gone="What is recorded is whole; what is left needs a folder of its own",
        ) as reader:  # fmt: skip
            while reader.open and not stopped.is_set():
                before = sum(reader.at.values())
                found, ended = reader.poll()
                for records in found:
                    writer.add(writers[records.partition], records)
                for number in ended:
                    writer.finish(writers[number], reader.at[number])
                progress(sum(reader.at.values()) - before)
            if self._follow:
                for number in reader.open:
                    writer.finish(writers[number], reader.at[number])
            return set(reader.open)

    def _summary(self, writers: dict[int, PartitionWriter], open_: set[int], seconds: float) -> Summary:
        """Hold what is on the disk now against what was written, and against the plan."""
        records = sum(writer.records for writer in writers.values())
        return Summary(
            topic=self._topic,
            location=self._where.text,
            complete=not open_ or self._follow,
            records=records,
            files=sum(writer.files for writer in writers.values()),
            seconds=seconds,
            records_per_second=records / seconds if seconds > 0 else 0.0,
            partitions=self._verified(writers, open_),
            warnings=self._prepared.warnings,
        )

    def _verified(self, writers: dict[int, PartitionWriter], open_: set[int]) -> list[Part]:
        found = recorded(self._where, self._topic)
        parts = []
        for number, writer in writers.items():
            segments, (first, end) = found.get(number, []), self._prepared.plan.ranges[number]
            count = sum(one.count for one in segments)
            wanted = self._prepared.count.get(number, 0) + writer.records
            begin, stop = (segments[0].first, segments[-1].stop) if segments else (first, first)
            if (count, begin) != (wanted, first) or (number not in open_ and stop != end):
                raise DamagedRecordingError(
                    f"{self._where.text}: partition {number} holds {count:,} records of offsets {begin} to {stop - 1}, "
                    f"and {wanted:,} from {first} on were written: something else changed its files"
                )
            files = len(segments)
            parts.append(Part(partition=number, first_offset=begin, next_offset=stop, records=count, files=files))
        return parts
