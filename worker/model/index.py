"""An open-addressing index of row numbers by 64-bit key: linear probing, at most three quarters full."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

MISSING = np.int32(-1)  # in a slot: no row


def slots_for(capacity: int) -> NDArray[np.int32]:
    """Make the empty slots for so many rows."""
    return np.full(1 << (capacity * 4 // 3).bit_length(), MISSING)


@njit(cache=True, nogil=True)
def find(key: np.uint64, keys: NDArray[np.uint64], slots: NDArray[np.int32]) -> np.uint64:
    """Give the slot where the key is, or the free one where it would go."""
    mask = np.uint64(len(slots) - 1)
    slot = key & mask
    while slots[slot] != MISSING and keys[slots[slot]] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def fill(keys: NDArray[np.uint64], size: int, slots: NDArray[np.int32]) -> None:
    """Enter the first so many rows into empty slots."""
    for row in range(size):
        slots[find(keys[row], keys, slots)] = np.int32(row)
