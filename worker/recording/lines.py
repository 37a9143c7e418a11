"""Values in lines, as the S3 sink writes them as JSON: a line a record, offsets counted up from the file's name."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from worker.errors import DamagedRecordingError
from worker.recording.layout import Name
from worker.recording.records import NO_TIMESTAMP, NOT_AVAILABLE, Records, no_headers
from worker.recording.segment import Segment

BATCH_RECORDS: Final = 65_536
_READ_BYTES: Final = 4 * 1024 * 1024


class LinesSegment(Segment):
    """A file of lines, with or without .gz: it is read once to count them, and again for its records.

    Lines say nothing but values: no keys, headers or timestamps.
    """

    def __init__(self, files: Any, path: str, name: Name) -> None:  # noqa: ANN401 - Arrow has no types
        """Count the lines.

        Raises:
            DamagedRecordingError: the file is cut short, or its first or last line is no JSON.
        """
        self.path, self._files = path, files
        self.topic, self.partition, self.first = name.topic, name.partition, name.start
        count, head, last = 0, b"", b""
        for lines in self._lines():
            head = head or lines[0]
            count += len(lines)
            last = lines[-1]
        for number, line in ((1, head), (count, last)):  # a copy that was cut short ends within a line
            self._check(number, line)
        self.count, self.stop = count, self.first + count

    def records(self, start: int, stop: int) -> Iterator[Records]:
        """Give the records between two offsets."""
        lines = (line for some in self._lines() for line in some)
        begin = max(start, self.first)
        wanted = islice(lines, begin - self.first, stop - self.first)
        while values := list(islice(wanted, BATCH_RECORDS)):
            count = len(values)
            yield Records(
                topic=self.topic,
                partition=self.partition,
                offsets=np.arange(begin, begin + count, dtype=np.int64),
                timestamps=np.full(count, NO_TIMESTAMP, np.int64),
                timestamp_types=np.full(count, NOT_AVAILABLE, np.int8),
                keys=pa.nulls(count, pa.binary()),
                values=pa.array(values, pa.binary()),
                headers=no_headers(count),
            )
            begin += count

    def first_at(self, timestamp: int) -> int | None:  # noqa: ARG002 - a line has no timestamp
        """Find nothing: lines have no timestamps."""
        return None

    def times(self) -> tuple[int, int] | None:
        """Tell nothing: lines have no timestamps."""
        return None

    def _lines(self) -> Iterator[list[bytes]]:
        """Give the lines that are not empty, some at a time."""
        with reading_lines(self.path), self._files.open_input_stream(self.path, compression="detect") as stream:
            yield from lines_of(stream)

    def _check(self, number: int, line: bytes) -> None:
        if line:
            try:
                orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DamagedRecordingError(
                    f"{self.path}, line {number}: not JSON: {error}; each line must be the value of one record. "
                    "If the file was cut short, copy it again from where it came"
                ) from None


def lines_of(stream: Any) -> Iterator[list[bytes]]:  # noqa: ANN401 - Arrow's, or Python's
    """Split a stream of bytes into its lines, without line ends and without those that are empty."""
    rest = b""
    while chunk := stream.read(_READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if found := [line.rstrip(b"\r") for line in lines if line.strip()]:
            yield found
    if rest.strip():
        yield [rest.rstrip(b"\r")]


@contextmanager
def reading_lines(path: str) -> Iterator[None]:
    """Put what a file system or a decompressor says into our words."""
    try:
        yield
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise DamagedRecordingError(
            f"{path}: cannot be read, or is cut short: {error}. Copy it again from where it came"
        ) from error
