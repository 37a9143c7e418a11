"""Records as `kcat -J` prints them: a JSON object a line, of any number of partitions, in memory.

`kcat -C -b localhost:9092 -t clicks -e -J > clicks.jsonl`. Its keys and values are texts in which a byte that is no
UTF-8 stands as it is, so no byte is lost.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from worker.errors import DamagedRecordingError
from worker.recording.lines import lines_of, reading_lines
from worker.recording.records import CREATE_TIME, HEADERS, LOG_APPEND_TIME, NO_TIMESTAMP, NOT_AVAILABLE, Records
from worker.recording.segment import Segment

STDIN: Final = "-"
BATCH_RECORDS: Final = 65_536
_TYPES: Final = {"create": CREATE_TIME, "logappend": LOG_APPEND_TIME}
_NEEDED: Final = ("topic", "partition", "offset")
_HINT: Final = "`kcat -C -t TOPIC -e -J` prints such lines; `headrace load` sends lines that are events"


class HeldSegment(Segment):
    """Records of one partition that are held in memory."""

    def __init__(self, path: str, records: Records) -> None:
        """Hold records, of which there is at least one."""
        self.path, self.topic, self.partition = path, records.topic, records.partition
        self.first, self.stop = int(records.offsets[0]), int(records.offsets[-1]) + 1
        self.count, self._records = len(records), records

    def records(self, start: int, stop: int) -> Iterator[Records]:
        """Give the records between two offsets."""
        wanted = self._records.between(start, stop)
        for begin in range(0, len(wanted), BATCH_RECORDS):
            yield wanted.slice(begin, begin + BATCH_RECORDS)

    def first_at(self, timestamp: int) -> int | None:
        """Find the first record of a time, or later."""
        at: NDArray[np.int64] = np.flatnonzero(self._records.timestamps >= timestamp)
        return int(self._records.offsets[at[0]]) if len(at) else None

    def times(self) -> tuple[int, int] | None:
        """Tell the earliest and the latest timestamp."""
        known = self._records.timestamps[self._records.timestamps != NO_TIMESTAMP]
        return (int(known.min()), int(known.max())) if len(known) else None


@dataclass
class _Rows:
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[list[dict[str, Any]] | None] = field(default_factory=list)


def read_kcat(files: Any, path: str) -> list[Segment]:  # noqa: ANN401 - Arrow has no types
    """Read a file of such lines, with or without .gz, or standard input where `path` is "-".

    Raises:
        DamagedRecordingError: a line is something else, or a record is there twice.
    """
    if path == STDIN:
        return _held("standard input", lines_of(sys.stdin.buffer))
    with reading_lines(path), files.open_input_stream(path, compression="detect") as stream:
        return _held(path, lines_of(stream))


def _held(path: str, batches: Iterator[list[bytes]]) -> list[Segment]:
    found: dict[tuple[str, int], _Rows] = defaultdict(_Rows)
    number = 0
    for lines in batches:
        for line in lines:
            number += 1
            try:
                _take(found, _object(line))
            except (ValueError, TypeError) as error:
                raise DamagedRecordingError(f"{path}, line {number}: not as `kcat -J` prints it: {error}") from None
    if not found:
        raise DamagedRecordingError(f"{path}: there are no lines; {_HINT}")
    return [HeldSegment(path, _records(path, topic, partition, rows)) for (topic, partition), rows in found.items()]


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:  # bytes that are no UTF-8
            found = json.loads(line.decode("utf-8", "surrogateescape"))
        except ValueError:
            raise ValueError(f"no JSON: {error}; if the file was cut short, take it anew") from None
    if not isinstance(found, dict):
        raise TypeError(f"no JSON object; {_HINT}")
    return found


def _take(found: dict[tuple[str, int], _Rows], said: dict[str, Any]) -> None:
    missing = [name for name in _NEEDED if name not in said]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}; {_HINT}")
    topic, partition, offset = (said[name] for name in _NEEDED)
    if not isinstance(topic, str) or not _is_count(partition) or not _is_count(offset):
        raise ValueError("topic must be a text, partition and offset must be integers of at least 0")
    for name in ("key_error", "payload_error"):
        if name in said:
            raise ValueError(f"kcat could not decode it ({name}: {said[name]}): print it without -s")
    timestamp = said.get("ts", NO_TIMESTAMP)
    if not isinstance(timestamp, int):
        raise TypeError("ts must be an integer")
    kind = _TYPES.get(said.get("tstype", ""), NOT_AVAILABLE)
    rows = found[topic, partition]
    rows.headers.append(_headers(said.get("headers")))
    rows.keys.append(_bytes(said.get("key")))
    rows.values.append(_bytes(said.get("payload")))
    rows.offsets.append(offset)
    rows.timestamps.append(NO_TIMESTAMP if kind == NOT_AVAILABLE else timestamp)
    rows.types.append(kind)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _bytes(value: object) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return orjson.dumps(value)  # kcat decoded it (-s avro): its JSON


def _headers(said: object) -> list[dict[str, Any]] | None:
    """Read headers: a list in which names and values take turns, or an object of lists."""
    if said is None:
        return None
    if isinstance(said, dict):
        pairs = [(name, value) for name, values in said.items() for value in values]
    elif isinstance(said, list) and len(said) % 2 == 0:
        pairs = list(zip(said[::2], said[1::2], strict=True))
    else:
        raise ValueError("headers must be a list of names and values in turn")
    if not all(isinstance(name, str) for name, _ in pairs):
        raise TypeError("the name of a header must be a text")
    return [{"key": name, "value": _bytes(value)} for name, value in pairs]


def _records(path: str, topic: str, partition: int, rows: _Rows) -> Records:
    offsets = np.array(rows.offsets, np.int64)
    order = np.argsort(offsets, kind="stable")
    offsets = offsets[order]
    twice = offsets[1:][np.diff(offsets) == 0]
    if len(twice):
        raise DamagedRecordingError(
            f"{path}: {topic} [{partition}] has offset {twice[0]} twice: lines of two runs, or of two lives of the "
            "topic: keep one of them"
        )
    place = pa.array(order)
    return Records(
        topic=topic,
        partition=partition,
        offsets=offsets,
        timestamps=np.array(rows.timestamps, np.int64)[order],
        timestamp_types=np.array(rows.types, np.int8)[order],
        keys=pa.array(rows.keys, pa.large_binary()).take(place),
        values=pa.array(rows.values, pa.large_binary()).take(place),
        headers=pa.array(rows.headers, HEADERS).take(place),
    )
