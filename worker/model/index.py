"""An open-addressing index of row numbers by 64-bit key: linear probing, three quarters full at most.

A slot holds a row's number plus one, 0 where there is none. The bits that row numbers leave free hold bits of the key's
hash, so that another key in the way is told from the one that is wanted without a look at its row: in a large table
each look is a wait for memory. The last element of the slots is no slot, but tells which bits are the number's.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.prefetch import prefetch

MISSING = np.int32(-1)  # no row
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / the golden ratio: keys that differ in a few bits go far apart
_S32 = np.uint64(32)


def slots_for(capacity: int) -> NDArray[np.uint32]:
    """Make the empty slots for so many rows: a third more than rows, however many these are."""
    size = max(4, -(-capacity * 4 // 3))
    slots = np.zeros(size + 1, np.uint32)
    slots[size] = (1 << size.bit_length()) - 1
    return slots


@njit(cache=True, nogil=True, inline="always")
def _home(key: np.uint64, slots: NDArray[np.uint32]) -> np.uint64:
    """Give the first slot to look at, as far into the slots as the hash is into all 32-bit numbers."""
    return np.uint64((((key * _GOLDEN) >> _S32) * np.uint64(len(slots) - 1)) >> _S32)


@njit(cache=True, nogil=True)
def find(key: np.uint64, keys: NDArray[np.uint64], slots: NDArray[np.uint32]) -> np.uint64:
    """Give the slot where the key is, or the free one where it would go."""
    size = np.uint64(len(slots) - 1)
    mask = slots[size]
    tag = np.uint32(key * _GOLDEN) & ~mask
    slot = np.uint64(_home(key, slots))
    while True:
        held = slots[slot]
        if held == 0:
            return slot
        if held & ~mask == tag and keys[np.int64(held & mask) - 1] == key:
            return slot
        slot += np.uint64(1)
        if slot == size:
            slot = np.uint64(0)


@njit(cache=True, nogil=True, inline="always")
def row_at(slot: np.uint64, slots: NDArray[np.uint32]) -> np.int32:
    """Give the row in a slot, or `MISSING`."""
    return np.int32(np.int64(slots[slot] & slots[len(slots) - 1]) - 1)


@njit(cache=True, nogil=True, inline="always")
def there(key: np.uint64, keys: NDArray[np.uint64], slots: NDArray[np.uint32]) -> bool:
    """Tell whether a key is in the index."""
    return bool(slots[find(key, keys, slots)] != 0)


@njit(cache=True, nogil=True, inline="always")
def enter(slot: np.uint64, key: np.uint64, row: int, slots: NDArray[np.uint32]) -> None:
    """Write a row into the slot that `find` gave for its key."""
    slots[slot] = (np.uint32(key * _GOLDEN) & ~slots[len(slots) - 1]) | np.uint32(row + 1)


@njit(cache=True, nogil=True)
def leave(key: np.uint64, keys: NDArray[np.uint64], slots: NDArray[np.uint32]) -> None:
    """Take a key that is there out of the index, and close the gap, so that no search ends there too early."""
    size = np.uint64(len(slots) - 1)
    gap = find(key, keys, slots)
    slot = gap
    while True:
        slot += np.uint64(1)
        if slot == size:
            slot = np.uint64(0)
        if slots[slot] == 0:
            break
        home = _home(keys[row_at(slot, slots)], slots)
        # It stays if its search begins after the gap: its home lies, going round, in (gap, slot].
        if (gap < home <= slot) if gap < slot else (home > gap or home <= slot):
            continue
        slots[gap] = slots[slot]
        gap = slot
    slots[gap] = np.uint32(0)


@njit(cache=True, nogil=True)
def fill(keys: NDArray[np.uint64], size: int, slots: NDArray[np.uint32]) -> None:
    """Enter the first so many rows into empty slots."""
    address = slots.ctypes.data
    for row in range(size):
        if row + 16 < size:
            expect(keys[row + 16], slots, address)
        enter(find(keys[row], keys, slots), keys[row], row, slots)


def members(keys: NDArray[np.uint64], among: NDArray[np.uint64], slots: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell of each key whether it is in the index."""
    found = np.empty(len(keys), np.bool_)
    _members(keys, found, among, slots)
    return found


@njit(cache=True, nogil=True)
def _members(keys, found, among, slots):
    for i in range(len(keys)):
        found[i] = there(keys[i], among, slots)


def distinct(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give each key once, in the order in which they first come."""
    kept = np.empty(len(keys), np.uint64)
    return kept[: _distinct(keys, kept, slots_for(len(keys)))]


@njit(cache=True, nogil=True)
def _distinct(keys, kept, slots):
    size = 0
    for key in keys:
        slot = find(key, kept, slots)
        if row_at(slot, slots) == MISSING:
            kept[size] = key
            enter(slot, key, size, slots)
            size += 1
    return size


@njit(cache=True, nogil=True, inline="always")
def expect(key: np.uint64, slots: NDArray[np.uint32], address: int) -> None:
    """Have the slot fetched where the search for a key will begin; `address` is where the slots are."""
    prefetch(address + np.int64(_home(key, slots)) * 4)


@njit(cache=True, nogil=True, inline="always")
def likely(key: np.uint64, slots: NDArray[np.uint32]) -> np.int32:
    """Give the row where the search for a key will begin to look, or `MISSING`; a guess, and no look at any row."""
    return np.int32(row_at(_home(key, slots), slots))
