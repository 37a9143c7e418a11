"""Records of one partition, as columns."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

NO_TIMESTAMP: Final = -1  # as Kafka says that there is none
# confluent_kafka's numbers.
NOT_AVAILABLE, CREATE_TIME, LOG_APPEND_TIME = 0, 1, 2

HEADERS: Final = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """Some records of one partition, in the order of their offsets: n of them, a column for each part of a record."""

    topic: str
    partition: int
    offsets: NDArray[np.int64]  # [n] strictly rising; with gaps, where transactions or compaction left some
    timestamps: NDArray[np.int64]  # [n] milliseconds since 1970; -1 where there is none
    timestamp_types: NDArray[np.int8]  # [n] 0 not available, 1 create time, 2 log append time
    keys: pa.BinaryArray  # [n] null is no key, which an empty one is not; binary or large_binary
    values: pa.BinaryArray  # [n] null is a tombstone; binary or large_binary
    headers: pa.ListArray  # [n] lists of struct<key: string, value: binary>; null or empty where there are none

    def __len__(self) -> int:
        return len(self.offsets)

    def slice(self, begin: int, end: int) -> Self:
        """Give the records at these positions, the first included and the last not; nothing is copied."""
        count = max(0, min(end, len(self)) - begin)
        return type(self)(
            topic=self.topic,
            partition=self.partition,
            offsets=self.offsets[begin:end],
            timestamps=self.timestamps[begin:end],
            timestamp_types=self.timestamp_types[begin:end],
            keys=self.keys.slice(begin, count),
            values=self.values.slice(begin, count),
            headers=self.headers.slice(begin, count),
        )

    def between(self, start: int, stop: int) -> Self:
        """Give the records whose offset is at least `start` and below `stop`; nothing is copied."""
        begin, end = np.searchsorted(self.offsets, (start, stop)).tolist()
        return self if (begin, end) == (0, len(self)) else self.slice(begin, end)


def no_headers(count: int) -> Any:  # noqa: ANN401 - Arrow has no types
    """Give the headers of so many records that have none."""
    return pa.nulls(count, HEADERS)
