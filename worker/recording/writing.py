"""Records into files: which file a record goes to depends on the records alone, and a file that has its name is whole.

A file, and each row group in it, ends after the record that fills it, by number or by bytes. So whoever begins at the
same offset makes the same files, whatever the polls that the records came in, and however often it was interrupted.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from worker.recording.layout import file_name, partition_folder
from worker.recording.places import Place, writing
from worker.recording.records import NO_TIMESTAMP, Records
from worker.recording.schema import SCHEMA, Cover, batch_of

GROUP_RECORDS: Final = 65_536  # of one row group: what a reader takes at once
GROUP_BYTES: Final = 8 * 1024 * 1024  # what is held in memory of each partition until it is written


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a file is full: as soon as one of them is reached. A crash costs what a file has not yet taken."""

    records: int = 1_048_576
    bytes: int = 256 * 1024 * 1024  # of keys, values and headers, before compression


class PartitionWriter:
    """Writes the records of one partition, in the order of their offsets, to file after file."""

    def __init__(
        self, where: Place, topic: str, partition: int, *, partitions: int, start: int, limits: Limits
    ) -> None:
        """Begin a file; nothing is written before there are records.

        Args:
            where: the folder of the recording.
            topic: the topic.
            partition: the partition.
            partitions: how many the topic has.
            start: the first offset that is covered: the range's, or the one after the last file.
            limits: when a file is full.
        """
        self.next_offset = start  # of the record after the last one taken
        self.files, self.records = 0, 0  # whole, and in those
        self._where, self._topic, self._partition, self._partitions = where, topic, partition, partitions
        self._limits = limits
        self._first = start
        self._held: list[Records] = []
        self._groups: list[tuple[int, int, int, int, int]] = []  # of this file; see Cover
        self._group_records = self._group_bytes = self._file_records = self._file_bytes = 0
        self._writer: Any = None
        self._sink: Any = None

    def add(self, records: Records) -> None:
        """Take records; writes what is full.

        Raises:
            ConfigurationError, StorageError: the file system refuses it.
        """
        ends = np.cumsum(sizes(records))
        at = 0
        while at < len(records):
            before = int(ends[at - 1]) if at else 0
            room_records = min(GROUP_RECORDS - self._group_records, self._limits.records - self._file_records)
            room_bytes = min(GROUP_BYTES - self._group_bytes, self._limits.bytes - self._file_bytes)
            # Up to and with the record that fills the room.
            end = min(at + room_records, int(np.searchsorted(ends, before + room_bytes)) + 1, len(records))
            self._hold(records.slice(at, end), int(ends[end - 1]) - before)
            at = end

    def finish(self, next_offset: int) -> None:
        """End the last file: it covers all before this offset, with records or without."""
        if next_offset > self._first:
            self._end_file(next_offset)

    def abort(self) -> None:
        """Leave what is not whole: nothing of it stays, and the next run writes it anew."""
        if self._sink is None:
            return
        if self._writer is not None:
            with suppress(OSError, pa.ArrowInvalid):
                self._writer.close()
            self._writer.is_open = False  # where a full disk refused its footer too, it need not try again
        with suppress(OSError, pa.ArrowInvalid):
            self._sink.close()
        with suppress(OSError):
            self._where.files.delete_file(self._part())
        self._writer = self._sink = None

    def _hold(self, records: Records, size: int) -> None:
        self._held.append(records)
        self._group_records += len(records)
        self._file_records += len(records)
        self._group_bytes += size
        self._file_bytes += size
        self.next_offset = int(records.offsets[-1]) + 1
        if self._file_records >= self._limits.records or self._file_bytes >= self._limits.bytes:
            self._end_file(self.next_offset)
        elif self._group_records >= GROUP_RECORDS or self._group_bytes >= GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._writer is None:
            self._begin_file()
        if self._held:
            # One chunk: where pages end must not depend on the polls either.
            self._groups.append(_bounds(self._held))
            table = pa.Table.from_batches([batch_of(records) for records in self._held], SCHEMA).combine_chunks()
            with writing(self._where):
                self._writer.write_table(table, row_group_size=len(table))
        self._held = []
        self._group_records = self._group_bytes = 0

    def _begin_file(self) -> None:
        with writing(self._where):
            self._where.files.create_dir(self._folder(), recursive=True)
            self._sink = self._where.files.open_output_stream(self._part())
            self._writer = pq.ParquetWriter(  # which writes its first bytes at once
                self._sink,
                SCHEMA,
                compression="zstd",
                use_dictionary=["topic"],
                write_statistics=["topic", "partition", "offset", "timestamp", "timestamp_type"],
                write_page_checksum=True,
            )

    def _end_file(self, next_offset: int) -> None:
        self._write_group()
        cover = Cover(
            topic=self._topic,
            partition=self._partition,
            partitions=self._partitions,
            first_offset=self._first,
            next_offset=next_offset,
            groups=tuple(self._groups),
        )
        final = f"{self._folder()}/{file_name(self._topic, self._partition, self._first)}"
        with writing(self._where):
            self._writer.add_key_value_metadata(cover.encode())
            self._writer.close()
            self._sink.close()
            settle(self._where.files, self._part(), final)
        self.files += 1
        self.records += self._file_records
        self._writer = self._sink = None
        self._groups = []
        self._file_records = self._file_bytes = 0
        self._first = self.next_offset = next_offset

    def _folder(self) -> str:
        return self._where.below(partition_folder(self._topic, self._partition))

    def _part(self) -> str:
        return f"{self._folder()}/.{file_name(self._topic, self._partition, self._first)}.part"


def sizes(records: Records) -> NDArray[np.int64]:
    """Tell how many bytes of key, value and headers each record has."""
    total = _lengths(records.keys) + _lengths(records.values)
    if records.headers.null_count < len(records):
        lists = records.headers
        flat = lists.flatten()
        inner = _lengths(flat.field("key")) + _lengths(flat.field("value"))
        counts = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.concatenate(([0], np.cumsum(inner)))[np.concatenate(([0], np.cumsum(counts)))]
        total = total + np.diff(ends)
    return total


def _bounds(held: list[Records]) -> tuple[int, int, int, int, int]:
    times = np.concatenate([records.timestamps for records in held])
    times = times[times != NO_TIMESTAMP]
    low, high = (int(times.min()), int(times.max())) if len(times) else (NO_TIMESTAMP, NO_TIMESTAMP)
    return sum(map(len, held)), int(held[0].offsets[0]), int(held[-1].offsets[-1]), low, high


def _lengths(column: Any) -> NDArray[np.int64]:  # noqa: ANN401 - Arrow has no types
    found: NDArray[np.int64] = pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def settle(files: Any, part: str, final: str) -> None:  # noqa: ANN401 - Arrow has no types
    """Give a whole file its name. On this machine, it is on the disk by then, and so is its name."""
    local = isinstance(files, fs.LocalFileSystem)
    if local:
        _sync(Path(part))
    files.move(part, final)
    if local:
        _sync(Path(final).parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
