"""By which version a row was last moved, as far as a follower knows: one 64-bit mark a row, see `Table.keep_marks`.

A follower that applied a version knows which rows it moved. Of a row that it read in a base it knows that no later
version did: it was moved at or before that base. Of versions of several shards that moved a shared row, that counts as
the last which knows the latest event.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHARD_BITS = (
    20  # more partitions than a topic can have; 43 bits of version are left: a commit a second for 278,000 years
)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The version that last moved a row."""

    shard: int  # whose version it was: of a row that is shared, any
    version: int
    exactly: bool  # otherwise at or before that version

    def __str__(self) -> str:
        return f"{self.version}" if self.exactly else f"<= {self.version}"


def mark_of(shard: int, version: int, *, exactly: bool) -> int:
    """Put it into a mark, which is never 0.

    >>> moved_of(mark_of(3, 17, exactly=False))
    Moved(shard=3, version=17, exactly=False)
    """
    mark = (version << _SHARD_BITS) | shard
    return mark if exactly else -mark


def newest(moved: Sequence[tuple[int, NDArray[np.uint64]]]) -> list[tuple[int, NDArray[np.uint64]]]:
    """Leave out, of versions in their order and the keys that each has moved, what a later one has moved again."""
    versions = np.repeat(np.array([version for version, _ in moved], np.int64), [len(keys) for _, keys in moved])
    every = np.concatenate([np.empty(0, np.uint64), *(keys for _, keys in moved)])
    keys, last = np.unique(every[::-1], return_index=True)
    versions = versions[::-1][last]
    order = np.argsort(versions, kind="stable")
    found, starts = np.unique(versions[order], return_index=True)
    return list(zip(found.tolist(), np.split(keys[order], starts[1:]), strict=True)) if len(found) else []


def shard_of(marks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the shards [n] of some marks, -1 where a row has none."""
    return np.where(marks == 0, -1, np.abs(marks) & ((1 << _SHARD_BITS) - 1))


def moved_of(mark: int) -> Moved | None:
    """Read a mark; None where a row has none."""
    if mark == 0:
        return None
    return Moved(shard=abs(mark) & ((1 << _SHARD_BITS) - 1), version=abs(mark) >> _SHARD_BITS, exactly=mark > 0)
