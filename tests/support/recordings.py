"""Recordings for tests: records of every shape, and the files of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from worker.recording.places import place
from worker.recording.records import CREATE_TIME, HEADERS, Records
from worker.recording.writing import Limits, PartitionWriter

START = 1_735_689_600_000  # 2025-01-01


def make_records(
    partition: int = 0,
    offsets: Sequence[int] = (0, 1, 2),
    *,
    topic: str = "clicks",
    times: Sequence[int] | None = None,
    values: Sequence[bytes | None] | None = None,
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[list[tuple[str, bytes | None]] | None] | None = None,
) -> Records:
    count = len(offsets)
    listed = [None] * count if headers is None else list(headers)
    return Records(
        topic=topic,
        partition=partition,
        offsets=np.array(offsets, np.int64),
        timestamps=np.array([START + offset for offset in offsets] if times is None else times, np.int64),
        timestamp_types=np.full(count, CREATE_TIME, np.int8),
        keys=pa.array([b"k%d" % offset for offset in offsets] if keys is None else keys, pa.binary()),
        values=pa.array([b'{"n":%d}' % offset for offset in offsets] if values is None else values, pa.binary()),
        headers=pa.array(
            [None if one is None else [{"key": key, "value": value} for key, value in one] for one in listed],
            HEADERS,
        ),
    )


def write(
    folder: Path | str,
    *batches: Records,
    start: int = 0,
    stop: int | None = None,
    partitions: int = 1,
    limits: Limits | None = None,
) -> None:
    """Write the records of one partition; the last file ends after the last of them, or at `stop`."""
    first = batches[0]
    writer = PartitionWriter(
        place(folder), first.topic, first.partition, partitions=partitions, start=start, limits=limits or Limits()
    )
    for records in batches:
        writer.add(records)
    writer.finish(writer.next_offset if stop is None else stop)


def rows(*batches: Records) -> list[tuple[object, ...]]:
    """Give records one by one, as values that compare."""
    return [
        (records.topic, records.partition, *row)
        for records in batches
        for row in zip(
            records.offsets.tolist(),
            records.timestamps.tolist(),
            records.timestamp_types.tolist(),
            records.keys.to_pylist(),
            records.values.to_pylist(),
            records.headers.to_pylist(),
            strict=True,
        )
    ]


def files(folder: Path) -> list[str]:
    """Name all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
