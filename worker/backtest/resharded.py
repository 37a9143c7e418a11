"""A recording as if its topic had another number of partitions: records go to the shard of their key."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow as pa

from worker.events.partition import Partitioner, partition_of
from worker.recording.reading import Recording
from worker.recording.records import Records

_SPAN_MS = 1_000  # records of a second are taken partition by partition
_TOGETHER = 8_192  # records


class Resharded:
    """A source of so many shards, whose records come in the order of time; offsets count all records in that order.

    Args:
        recording: the records.
        shards: how many.
        partitioner: of the keys.
    """

    def __init__(self, recording: Recording, shards: int, partitioner: Partitioner) -> None:
        self._recording, self._partitioner = recording, partitioner
        self.topic, self.shards = recording.topic, shards
        most = sum(after - first for first, after in recording.ranges.values())
        self.ranges: Mapping[int, tuple[int, int]] = dict.fromkeys(range(shards), (0, most))

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        """Give the records of a shard; all are read for each of them."""
        first, after = self.ranges[number]
        for records in _several(self._of(number)):
            some = records.between(first if start is None else start, after if stop is None else stop)
            if len(some):
                yield some

    def _of(self, number: int) -> Iterator[Records]:
        before = 0
        for records in self._recording.interleaved(_SPAN_MS):
            offsets = np.arange(before, before + len(records), dtype=np.int64)
            before += len(records)
            mine = np.flatnonzero(partition_of(_keys(records), self.shards, self._partitioner) == number)
            if len(mine):
                yield replace(
                    records, partition=number, offsets=offsets[mine], timestamps=records.timestamps[mine],
                    timestamp_types=records.timestamp_types[mine], keys=records.keys.take(pa.array(mine)),
                    values=records.values.take(pa.array(mine)), headers=records.headers.take(pa.array(mine)),
                )  # fmt: skip


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
    return replace(
        some[0],
        offsets=np.concatenate([one.offsets for one in some]),
        timestamps=np.concatenate([one.timestamps for one in some]),
        timestamp_types=np.concatenate([one.timestamp_types for one in some]),
        keys=pa.concat_arrays([one.keys for one in some]),
        values=pa.concat_arrays([one.values for one in some]),
        headers=pa.concat_arrays([one.headers for one in some]),
    )
