"""A recorded topic, read."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.errors import ConfigurationError
from worker.recording import layout
from worker.recording.checks import check_ends, check_order, choose_partitions, choose_topic
from worker.recording.finding import find
from worker.recording.interleaving import interleave
from worker.recording.places import place
from worker.recording.plan import planned_ranges
from worker.recording.records import Records
from worker.recording.segment import Segment
from worker.recording.times import as_text


class Recording:
    """A recorded topic: what `headrace record` or the S3 sink of Kafka Connect wrote, or `kcat -J` printed.

    To iterate over it gives all of its records, in the one order that their timestamps, partitions and offsets decide.

    Attributes:
        location: where it is, passwords masked.
        topic: the recorded topic.
        shards: how many partitions the topic has; where the files do not say, the highest number and one.
        ranges: partition -> its first offset, and the offset after its last one. Both may be of no record.
        count: the records in the files that are read; more than are given, where `begin` or `end` cut some off.
        times: the earliest and the latest timestamp in these files; None where none is known.
        files: how many there are of these partitions.
        warnings: what may be missing and cannot be known, a line each.
    """

    def __init__(
        self,
        location: str | Path,
        topic: str | None = None,
        *,
        likely: str | None = None,
        begin: int | None = None,
        end: int | None = None,
        partitions: Iterable[int] | None = None,
        strict: bool = False,
        lean: bool = False,
    ) -> None:
        """Look at all files, and refuse what is wrong with them; no record is read yet.

        Args:
            location: a folder, a file, or an address (s3://…, gs://…, any that Arrow or fsspec knows); "-" reads what
                `kcat -J` prints from standard input.
            topic: which one, where there are several.
            likely: the one to take where there are several and `topic` names none.
            begin: of each partition, all from its first record on with such a timestamp, or a later one; milliseconds
                since 1970.
            end: of each partition, all before its first record with such a timestamp, or a later one.
            partitions: only these.
            strict: refuse what would be a warning.
            lean: keys and headers are not wanted: they may come as nulls, so that they need not be read.

        Raises:
            ConfigurationError: there is nothing at this location, or nothing of what is asked for.
            DamagedRecordingError: a file is cut short, is missing, is there twice, or holds something else.
        """
        where = place(location)
        self.location = where.text
        segments = find(where, topic, likely)
        if not segments:
            raise ConfigurationError(
                f"{self.location}: no recording is there: no file is named <topic>+<partition>+<offset> and one of "
                f"{', '.join(layout.EXTENSIONS)}"
            )
        self.topic = choose_topic({segment.topic for segment in segments}, topic, self.location, likely)
        segments = [segment for segment in segments if segment.topic == self.topic]
        self.shards = max(max(segment.partition + 1, segment.partitions) for segment in segments)
        planned = planned_ranges(where, self.topic, [segment.path for segment in segments])
        wanted = None if partitions is None else set(partitions)
        chosen = choose_partitions({segment.partition for segment in segments}, wanted, self.location)
        self._segments = {
            number: sorted((s for s in segments if s.partition == number), key=lambda s: (s.first, s.stop))
            for number in chosen
        }
        known = [times for found in self._segments.values() for one in found if (times := one.times()) is not None]
        self.times = (min(low for low, _ in known), max(high for _, high in known)) if known else None
        self.files = len({segment.path for found in self._segments.values() for segment in found})
        self.count = sum(segment.count for found in self._segments.values() for segment in found)
        for segment in segments:
            segment.lean = lean
        self.warnings: list[str] = []
        for found in self._segments.values():
            self.warnings += check_order(found, strict=strict)
        planned = {number: ends for number, ends in planned.items() if wanted is None or number in wanted}
        self.warnings += check_ends(self._segments, planned, self.location, strict=strict)
        self.ranges = {number: self._range(number, begin, end) for number in chosen}
        if all(first == stop for first, stop in self.ranges.values()):
            raise ConfigurationError(self._nothing(begin, end))

    def __iter__(self) -> Iterator[Records]:
        """Give all records in their exact order: by timestamp, then partition, then offset."""
        return self.interleaved()

    def interleaved(self, span_ms: int = 1) -> Iterator[Records]:
        """Give all records by timestamp, then partition, then offset; see `worker.recording.interleaving`.

        Args:
            span_ms: timestamps within such a span count as one: 1,000 makes longer runs of each partition.
        """
        if span_ms < 1:
            raise ConfigurationError(f"a span is at least 1 millisecond, not {span_ms}")
        return interleave(((number, self.partition(number)) for number in self.ranges), span_ms)

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        """Give the records of one partition in the order of their offsets, some ten thousand at a time.

        Args:
            number: the partition.
            start: from this offset on; None is the partition's first.
            stop: before this offset; None is to the last.

        Raises:
            ConfigurationError: there is no such partition, or it does not hold these offsets.
            DamagedRecordingError: a file cannot be read.
        """
        if number not in self.ranges:
            raise ConfigurationError(
                f"{self.location}: has no partition {number}; it has {', '.join(map(str, self.ranges))}"
            )
        first, last = self.ranges[number]
        start, stop = first if start is None else start, last if stop is None else stop
        if start < first or stop > last:
            raise ConfigurationError(
                f"{self.location}: partition {number} holds offsets {first} to {last - 1}, "
                f"and not {start} to {stop - 1}"
            )
        return self._read(number, start, stop)

    def _read(self, number: int, start: int, stop: int) -> Iterator[Records]:
        for segment in self._segments[number]:
            if segment.first < stop and segment.stop > start:
                yield from segment.records(start, stop)

    def _range(self, number: int, begin: int | None, end: int | None) -> tuple[int, int]:
        segments = self._segments[number]
        last = segments[-1].stop
        first = segments[0].first if begin is None else _first_at(segments, begin, last)
        stop = last if end is None else _first_at(segments, end, last)
        return first, max(first, stop)

    def _nothing(self, begin: int | None, end: int | None) -> str:
        if begin is None and end is None:
            return f"{self.location}: holds no records of {self.topic}: its range is empty"
        wanted = " ".join(
            [
                *(["from " + as_text(begin)] if begin is not None else []),
                *(["to " + as_text(end)] if end is not None else []),
            ]
        )
        if self.times is None:
            return f"{self.location}: its records have no timestamps to choose by ({wanted})"
        low, high = self.times
        return f"{self.location}: has no records {wanted}; it has some from {as_text(low)} to {as_text(high)}"


def _first_at(segments: list[Segment], timestamp: int, otherwise: int) -> int:
    for segment in segments:
        found = segment.first_at(timestamp)
        if found is not None:
            return found
    return otherwise
