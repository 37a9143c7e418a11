"""Keys of rows that nobody hashed: as evenly spread as hashes are."""

import numpy as np
from numpy.typing import NDArray

from worker.model.batch import SHARED


def local(start: int, count: int) -> NDArray[np.uint64]:
    """Give the keys number `start` to `start + count`, of rows that belong to one shard."""
    return _spread(start, count) & ~SHARED


def shared(start: int, count: int) -> NDArray[np.uint64]:
    """Give as many keys of rows that all shards add to."""
    return _spread(start, count) | SHARED


def local_of(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give the keys of rows [n] by their numbers, of rows that belong to one shard."""
    return _mixed(numbers + np.uint64(1)) & ~SHARED


def _spread(start: int, count: int) -> NDArray[np.uint64]:
    return _mixed(np.arange(start + 1, start + count + 1, dtype=np.uint64))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of numbers, after the finalizer of SplitMix64: no two of them become the same."""
    mixed: NDArray[np.uint64] = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
