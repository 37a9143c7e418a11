"""The window of event ids: which events were sent twice.

A ring of the last ids, as 64-bit hashes, the oldest of which makes room for the next. It lies in a shard's cells, so it
travels in versions: a word for each id, and one that counts all ids so far. To find an id in it there is an index,
which is made from the ring and travels nowhere.

It is exact but for collisions: two different ids have the same hash once in 2^64 pairs. With a window of a million ids,
of 2^44 events (some 17 million million) about one is taken for a duplicate and is none.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.cells import Cells, arrays, write

REGION = "ids"  # of the cells
NO_ID = np.uint64(0)  # in place of the hash of an event without an id


def words_of(ids: int) -> int:
    """Give the number of cells that a window of so many ids takes."""
    return ids + 1


class Window:
    """The last distinct ids of a shard.

    Args:
        cells: with a region of `words_of(ids)` words. Whoever else writes there goes through `Cells.put`.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._size = cells.sizes[REGION] - 1
        self._index: NDArray[np.int32] | None = None  # made when first needed: followers never do
        self._puts = 0

    def admit(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Take ids [n] in, one after the other, and tell of each whether it is new: not among the last that were.

        `NO_ID` is new each time, and is not taken in.
        """
        start = self._cells.starts[REGION]
        if self._index is None or self._puts != self._cells.puts:  # what a version said was put into the ring
            self._index = np.full(_slots(self._size), -1, np.int32)
            _build(self._index, start, self._size, self._cells.memory.words)
            self._puts = self._cells.puts
        fresh = np.empty(len(ids), np.bool_)
        _admit(ids, fresh, self._index, start, self._size, *arrays(self._cells.memory))
        return fresh


def _slots(size: int) -> int:
    """Give the size of the index: a power of two, at most half full, so that probes are short."""
    return 1 << (2 * size - 1).bit_length()


@njit(cache=True, nogil=True)
def _find(identity, index, start, words):
    """Give the slot of an id, or the empty one where it would be."""
    mask = len(index) - 1
    slot = np.int64(identity & np.uint64(mask))
    while index[slot] >= 0 and words[start + index[slot]] != identity:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _remove(slot, index, start, words):
    """Empty a slot, and move those behind it up that would not be found any more (Knuth, 6.4, algorithm R)."""
    mask = len(index) - 1
    hole, at = slot, slot
    while True:
        at = (at + 1) & mask
        if index[at] < 0:
            break
        home = np.int64(words[start + index[at]] & np.uint64(mask))
        if ((at - home) & mask) >= ((at - hole) & mask):
            index[hole] = index[at]
            hole = at
    index[hole] = -1


@njit(cache=True, nogil=True)
def _build(index, start, size, words):
    for place in range(size):
        identity = words[start + place]
        if identity != NO_ID:
            index[_find(identity, index, start, words)] = place


@njit(cache=True, nogil=True)
def _admit(ids, fresh, index, start, size, words, written, places, counts, digest):
    for n in range(len(ids)):
        identity = ids[n]
        fresh[n] = True
        if identity == NO_ID:
            continue
        slot = _find(identity, index, start, words)
        if index[slot] >= 0:
            fresh[n] = False
            continue
        seen = words[start + size]
        place = np.int64(seen % np.uint64(size))
        oldest = words[start + place]
        if oldest != NO_ID:
            _remove(_find(oldest, index, start, words), index, start, words)
            slot = _find(identity, index, start, words)
        write(start + place, identity, words, written, places, counts, digest)
        write(start + size, seen + np.uint64(1), words, written, places, counts, digest)
        index[slot] = place
