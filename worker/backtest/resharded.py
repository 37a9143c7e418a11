"""A recording as if its topic had another number of partitions: records go to the shard of their key.

They are parted once for all runs, into a file: some hundred thousand records at a time, those of a shard side by side.
A run maps the file into memory, and each of its shards reads there what is its own. So the recording is read as often
for a thousand shards as for one, and no more of it is held than the machine has room for.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pyarrow as pa

from worker.errors import IncompatibleDataError
from worker.events.partition import Partitioner, partition_of
from worker.files import told
from worker.recording.reading import Recording
from worker.recording.records import Records, no_headers

_SPAN_MS = 1_000  # records of a second are taken partition by partition
_TOGETHER = 8_192  # records of a shard
_BATCH_RECORDS = 262_144  # that are sorted at once: of 64 shards each has half of `_TOGETHER` in it
_BATCH_BYTES = 67_108_864  # the same where records are large
_SCHEMA: Final = pa.schema(
    [
        ("shard", pa.int32()),  # rising within a batch
        ("offset", pa.int64()),
        ("timestamp", pa.int64()),
        ("timestamp_type", pa.int8()),
        ("value", pa.large_binary()),
    ]
)


class Resharded:
    """A source of so many shards, whose records come in the order of time; offsets count all records in that order.

    It gives no keys and no headers: nothing that is learned depends on them. May be read from several threads.

    Args:
        path: the file that `part` wrote.

    Raises:
        IncompatibleDataError: it is not there any more.
    """

    def __init__(self, path: Path) -> None:
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
        except (OSError, pa.ArrowInvalid) as error:
            raise IncompatibleDataError(
                f"{path}, the records by shard, was removed: start the backtest again"
            ) from error
        said = {name.decode(): text.decode() for name, text in reader.schema.metadata.items()}
        self.topic, self.shards = said["topic"], int(said["shards"])
        self.ranges: Mapping[int, tuple[int, int]] = dict.fromkeys(range(self.shards), (0, int(said["records"])))
        self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        """Give the records of a shard."""
        first, after = self.ranges[number]
        for records in _several(self._of(number)):
            some = records.between(first if start is None else start, after if stop is None else stop)
            if len(some):
                yield some

    def _of(self, number: int) -> Iterator[Records]:
        for batch in self._batches:
            begin, end = np.searchsorted(batch.column("shard").to_numpy(), (number, number + 1)).tolist()
            if begin < end:
                yield self._records(number, batch.slice(begin, end - begin))

    def _records(self, number: int, batch: pa.RecordBatch) -> Records:
        return Records(
            topic=self.topic, partition=number, offsets=batch.column("offset").to_numpy(),
            timestamps=batch.column("timestamp").to_numpy(), timestamp_types=batch.column("timestamp_type").to_numpy(),
            keys=pa.nulls(len(batch), pa.binary()), values=batch.column("value"), headers=no_headers(len(batch)),
        )  # fmt: skip


@contextmanager
def room_in(folder: Path) -> Iterator[Path]:
    """Give a folder inside another one, which is gone with all that is in it at the end.

    Raises:
        ConfigurationError, StorageError: none can be made there.
    """
    with told(f"{folder}, below --out: cannot be written to"):
        folder.mkdir(parents=True, exist_ok=True)
        made = TemporaryDirectory(prefix=".by-shard-", dir=folder)
    with made as path:
        yield Path(path)


def part(
    recording: Recording,
    shards: int,
    partitioner: Partitioner,
    path: Path,
    progress: Callable[[int], None] = lambda _records: None,
) -> None:
    """Read a recording once, and write its records by shard.

    Args:
        recording: with its keys.
        shards: how many.
        partitioner: of the keys.
        path: a new file, about as large as the recording is unpacked.
        progress: called with the number of records that were written since the last call.

    Raises:
        ConfigurationError, StorageError: the file cannot be written.
    """
    count = sum(after - first for first, after in recording.ranges.values())  # or fewer, where offsets have gaps
    schema = _SCHEMA.with_metadata({"topic": recording.topic, "shards": str(shards), "records": str(count)})
    before = 0
    with (
        told(f"{path}, below --out: cannot be written", "It takes as much room as the recording does unpacked"),
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for some in _batches(recording.interleaved(_SPAN_MS)):
            batch = _sorted(some, before, shards, partitioner)
            writer.write_batch(batch)
            before += len(batch)
            progress(len(batch))


def _batches(found: Iterator[Records]) -> Iterator[list[Records]]:
    some, records, size = list[Records](), 0, 0
    for one in found:
        some.append(one)
        records, size = records + len(one), size + one.values.nbytes
        if records >= _BATCH_RECORDS or size >= _BATCH_BYTES:
            yield some
            some, records, size = [], 0, 0
    if some:
        yield some


def _sorted(some: list[Records], before: int, shards: int, partitioner: Partitioner) -> pa.RecordBatch:
    """Put records of a shard side by side, in their order."""
    numbers = np.concatenate([partition_of(_keys(one), shards, partitioner) for one in some])
    order = np.argsort(numbers, kind="stable")
    times = np.concatenate([one.timestamps for one in some])
    kinds = np.concatenate([one.timestamp_types for one in some])
    values = pa.concat_arrays([one.values.cast(pa.large_binary()) for one in some]).take(pa.array(order))
    columns = [numbers[order], before + order, times[order], kinds[order], values]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=_SCHEMA)


def _keys(records: Records) -> pa.Array:
    """View keys as the texts that hashing asks for; whether they are UTF-8 makes no difference to it."""
    return records.keys.view(pa.large_string() if pa.types.is_large_binary(records.keys.type) else pa.string())


def _several(found: Iterator[Records]) -> Iterator[Records]:
    """Put small ones together."""
    while some := list(_up_to(found, _TOGETHER)):
        yield some[0] if len(some) == 1 else _joined(some)


def _up_to(found: Iterator[Records], most: int) -> Iterator[Records]:
    count = 0
    for records in islice(found, most):
        yield records
        count += len(records)
        if count >= most:
            return


def _joined(some: list[Records]) -> Records:
    count = sum(map(len, some))
    return Records(
        topic=some[0].topic, partition=some[0].partition,
        offsets=np.concatenate([one.offsets for one in some]),
        timestamps=np.concatenate([one.timestamps for one in some]),
        timestamp_types=np.concatenate([one.timestamp_types for one in some]),
        keys=pa.nulls(count, pa.binary()), values=pa.concat_arrays([one.values for one in some]),
        headers=no_headers(count),
    )  # fmt: skip
