"""Records in Parquet files: those that `headrace record` writes, and those of the S3 sink."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from worker.errors import DamagedRecordingError
from worker.recording.columns import binary, check_ours, is_plain, timestamps
from worker.recording.footer import Group, bounds, covered, groups
from worker.recording.layout import Name
from worker.recording.records import CREATE_TIME, HEADERS, NO_TIMESTAMP, NOT_AVAILABLE, Records, no_headers
from worker.recording.rows import json_values
from worker.recording.schema import SCHEMA, Cover
from worker.recording.segment import Segment

BATCH_RECORDS: Final = 65_536  # some 10 MB of small events: enough to be columnar, little beside a model
_LEFT_OUT: Final = ("key", "headers")  # where they are not asked for


class ParquetSegment(Segment):
    """A Parquet file. Its footer is read at once, its rows when they are asked for."""

    def __init__(self, files: Any, path: str, name: Name | None) -> None:  # noqa: ANN401 - Arrow has no types
        """Read the footer.

        Args:
            files: the file system.
            path: the file.
            name: what its name says; None where that is no name of a recording's file, and its footer has to.

        Raises:
            DamagedRecordingError: it is cut short, or its columns are not those of records.
        """
        self.path, self._files = path, files
        self._remote = not isinstance(files, fs.LocalFileSystem)
        with _reading(path), pq.ParquetFile(path, filesystem=files) as file:
            metadata, schema = file.metadata, file.schema_arrow
            physical = {file.schema.column(i).path: i for i in range(len(file.schema.names))}
        try:
            cover = Cover.decode(metadata.metadata)
        except ValueError as error:
            raise DamagedRecordingError(f"{path}: {error}") from None
        if cover is not None:
            check_ours(path, schema)
            if (cover.records, len(cover.groups)) != (metadata.num_rows, metadata.num_row_groups):
                raise DamagedRecordingError(
                    f"{path}: holds {metadata.num_rows} records, and {cover.records} were written"
                )
        self._plain = cover is not None or is_plain(path, schema)
        # What an event itself calls its offset is none of a record's.
        self._columns = frozenset(schema.names) if self._plain else frozenset()
        physical = {name: number for name, number in physical.items() if name in self._columns}
        unit = schema.field("timestamp").type if "timestamp" in self._columns else None
        self._groups = list(groups(metadata, physical, unit) if cover is None else covered(cover))
        self.count = metadata.num_rows
        self._place(name, cover)
        if cover is None:
            self._check_partition(metadata, physical)

    def records(self, start: int, stop: int) -> Iterator[Records]:
        """Give the records between two offsets."""
        chosen = [i for i, group in enumerate(self._groups) if self._overlaps(group, start, stop)]
        if start <= self.first and stop >= self.stop and len(chosen) != len(self._groups):
            raise DamagedRecordingError(f"{self.path}: its footer is damaged: not all of its rows would be read")
        if not chosen:
            return
        row = self._groups[chosen[0]].begin
        last = -1
        with _reading(self.path), self._open() as file:
            columns = [name for name in SCHEMA.names[2:] if self._reads(name)] if self._plain else None
            for batch in file.iter_batches(BATCH_RECORDS, row_groups=chosen, columns=columns, use_threads=self._remote):
                found = self._records(batch, row)
                row += batch.num_rows
                last = self._check_offsets(found.offsets, last)
                wanted = found.between(start, stop)
                if len(wanted):
                    yield wanted
        if row != self._groups[chosen[0]].begin + sum(self._groups[i].rows for i in chosen):
            raise DamagedRecordingError(f"{self.path}: damaged: a page has fewer rows than its row group should have")

    def first_at(self, timestamp: int) -> int | None:
        """Find the first record of a time, or later; of most row groups, the footer says that it is not there."""
        if "timestamp" not in self._columns:
            return None
        columns = [name for name in ("offset", "timestamp") if name in self._columns]
        for number, group in enumerate(self._groups):
            if group.times is not None and group.times[1] < timestamp:
                continue
            with _reading(self.path), self._open() as file:
                table = file.read_row_group(number, columns=columns).combine_chunks()
            at = np.flatnonzero(timestamps(table.column("timestamp")) >= timestamp)
            if len(at):
                return int(self._offsets(table, group.begin)[at[0]])
        return None

    def times(self) -> tuple[int, int] | None:
        """Tell the earliest and the latest timestamp, as the footer has them."""
        known = [group.times for group in self._groups if group.times is not None]
        return (min(low for low, _ in known), max(high for _, high in known)) if known else None

    def _open(self) -> Any:  # noqa: ANN401
        # A store far away is asked for many pieces at once. A disk of this machine is read by whoever wants records:
        # with Arrow's threads pages would go from core to core, and a replay keeps all cores busy by itself.
        return pq.ParquetFile(
            self.path, filesystem=self._files, page_checksum_verification=True, pre_buffer=self._remote
        )

    def _place(self, name: Name | None, cover: Cover | None) -> None:
        if cover is not None:
            if name is not None and (name.topic, name.partition, name.start) != (
                cover.topic, cover.partition, cover.first_offset,
            ):  # fmt: skip
                raise DamagedRecordingError(
                    f"{self.path}: it holds {cover.topic} [{cover.partition}] from offset {cover.first_offset} on, "
                    "which is not what its name says: give it its name back"
                )
            self.topic, self.partition, self.partitions = cover.topic, cover.partition, cover.partitions
            self.first, self.stop, self.known = cover.first_offset, cover.next_offset, True
        elif name is not None:
            self.topic, self.partition = name.topic, name.partition
            self.first, self.stop = name.start, name.start + self.count
        else:
            raise DamagedRecordingError(
                f"{self.path}: neither its name nor its footer says which records it holds; name it "
                "<topic>+<partition>+<first offset>.parquet, as the S3 sink of Kafka Connect does"
            )
        known = [group.offsets for group in self._groups if group.offsets is not None]
        if known:
            low, high = min(low for low, _ in known), max(high for _, high in known)
            if not self.known:
                self.stop = max(self.stop, high + 1)
            if low < self.first or high >= self.stop:
                raise DamagedRecordingError(
                    f"{self.path}: its offsets {low} to {high} are not those that it should hold, "
                    f"{self.first} to {self.stop - 1}: the file was mixed up with another"
                )

    def _check_partition(self, metadata: Any, physical: dict[str, int]) -> None:  # noqa: ANN401
        for number in range(metadata.num_row_groups):
            found = bounds(metadata.row_group(number), physical.get("partition"))
            if found is not None and set(found) != {self.partition}:
                raise DamagedRecordingError(
                    f"{self.path}: it holds records of other partitions than {self.partition}: one file, one partition"
                )

    def _overlaps(self, group: Group, start: int, stop: int) -> bool:
        if group.offsets is not None:
            low, high = group.offsets
        elif "offset" in self._columns:
            return True
        else:
            low, high = self.first + group.begin, self.first + group.begin + group.rows - 1
        return low < stop and high >= start

    def _records(self, batch: Any, row: int) -> Records:  # noqa: ANN401
        count = batch.num_rows
        has = self._reads
        times = timestamps(batch.column("timestamp")) if has("timestamp") else np.full(count, NO_TIMESTAMP, np.int64)
        if has("timestamp_type"):
            kinds = batch.column("timestamp_type").cast(pa.int8()).to_numpy(zero_copy_only=False)
        else:
            kinds = np.where(times == NO_TIMESTAMP, NOT_AVAILABLE, CREATE_TIME).astype(np.int8)
        return Records(
            topic=self.topic,
            partition=self.partition,
            offsets=self._offsets(batch, row),
            timestamps=times,
            timestamp_types=kinds,
            keys=binary(batch.column("key")) if has("key") else pa.nulls(count, pa.binary()),
            values=binary(batch.column("value")) if self._plain else json_values(batch),
            headers=batch.column("headers").cast(HEADERS) if has("headers") else no_headers(count),
        )

    def _reads(self, column: str) -> bool:
        return column in self._columns and not (self.lean and column in _LEFT_OUT)

    def _offsets(self, table: Any, row: int) -> NDArray[np.int64]:  # noqa: ANN401
        if "offset" in self._columns:
            found: NDArray[np.int64] = table.column("offset").cast(pa.int64()).to_numpy()
            return found
        return np.arange(self.first + row, self.first + row + table.num_rows, dtype=np.int64)

    def _check_offsets(self, offsets: NDArray[np.int64], last: int) -> int:
        if len(offsets) == 0:
            return last
        if offsets[0] <= last or (np.diff(offsets) <= 0).any():
            raise DamagedRecordingError(
                f"{self.path}: its offsets do not rise from row to row; sort the file by offset, each one once"
            )
        if offsets[0] < self.first or offsets[-1] >= self.stop:
            raise DamagedRecordingError(
                f"{self.path}: its offsets are not those that it should hold, {self.first} to {self.stop - 1}"
            )
        return int(offsets[-1])


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise DamagedRecordingError(f"{path}: cannot be read: {error}") from error
        reason = str(error).split(". ")[0].strip()
        raise DamagedRecordingError(
            f"{path}: cut short, damaged, or no Parquet file: {reason}. Copy it again from where it came; what "
            "`headrace record` wrote can be deleted from this file on, and is recorded again while the topic has it"
        ) from error
