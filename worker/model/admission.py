"""Admission: a value that was seen a few times only has no row of its own.

Where a field has a threshold, each value without a row is counted (`sketch.py`), and until it was seen as often as the
threshold says it stands for the field's *rare* value: one row, learned like any other, by all values that are held
back. The event by which a value reaches the threshold gives it its row. Several values of one event that are held back
in one field are one entry of their common row, with the sum of their multipliers: the first has it, the others have 0.

Who learns counts events one after the other, so how they are cut into batches changes nothing. Who only predicts needs
no sketch: a value without a row is rare. The one difference: who learns predicts the event that lets a value in with
the row as it begins. A value that is evicted has no row any more, and is counted from the beginning.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.batch import Batch, Entries
from worker.model.cells import CELL_BYTES, Cells, arrays
from worker.model.index import slots_for
from worker.model.sketch import FIRST_OF_USER, add, width_in, width_of, words_for

REGION = "admission"  # of the cells
_ADMITTED, _HELD_BACK = FIRST_OF_USER, FIRST_OF_USER + 1  # words: how many so far
_NO_KEYS, _NO_SLOTS = np.zeros(0, np.uint64), slots_for(0)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Which fields hold rare values back."""

    after: NDArray[np.int64]  # [F] how often a value was seen when it gets its row; 0 and 1 are at once
    rare: NDArray[np.uint64]  # [F] the key of the row that stands for all that are held back

    def pooled(self, entries: Entries, known: NDArray[np.bool_]) -> tuple[Entries, NDArray[np.bool_]]:
        """Put the rare value in place of each value that is held back.

        Args:
            entries: the events.
            known: [entries] whether there is a row.

        Returns:
            The events, and [entries] which values are rare.
        """
        keys, values, rare = entries.keys.copy(), entries.values.copy(), np.zeros(len(entries.keys), np.bool_)
        _pool(keys, values, entries.starts, known, self.after, self.rare, rare)
        return replace(entries, keys=keys, values=values), rare


class Sieve(NamedTuple):
    """What resolving the events of a batch needs to hold values back, beside their keys; the first two arrays change.

    Kernels take it apart once, and look at events without calling for help: both counts references, each time.
    """

    values: NDArray[np.float32]  # [entries]
    done: NDArray[np.int64]  # [1] the first event that was not looked at yet
    after: NDArray[np.int64]  # [F]
    rare: NDArray[np.uint64]  # [F]
    told_keys: NDArray[np.uint64]  # rows that are there, though the table does not hold them
    told_slots: NDArray[np.uint32]  # their index
    anew: bool  # whether values that get a row are counted from the beginning, should they lose it
    start: int  # of the region
    width: int
    words: NDArray[np.uint64]
    written: NDArray[np.bool_]
    places: NDArray[np.int32]
    counts: NDArray[np.int64]
    digest: NDArray[np.uint64]


class Admission:
    """Counts the values of a shard, and says which are held back.

    Args:
        thresholds: of the fields.
        cells: where the counters are, in the region "admission".
        evicts: whether rows may be evicted.
    """

    def __init__(self, thresholds: Thresholds, cells: Cells, *, evicts: bool) -> None:
        self.thresholds = thresholds
        self._cells, self._evicts = cells, evicts
        self._start = cells.starts[REGION]
        self._width = width_in(cells.sizes[REGION])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return words_for(self._width) * CELL_BYTES

    @property
    def admitted(self) -> int:
        """Count the rows that were let in over a threshold, since the beginning."""
        return int(self._cells.memory.words[self._start + _ADMITTED])

    @property
    def held_back(self) -> int:
        """Count how often a value stood for a rare one, since the beginning."""
        return int(self._cells.memory.words[self._start + _HELD_BACK])

    def opened(self, batch: Batch) -> Batch:
        """Copy what holding values back changes in a batch."""
        entries = replace(batch.entries, keys=batch.entries.keys.copy(), values=batch.entries.values.copy())
        return replace(batch, entries=entries, routes=None if batch.routes is None else batch.routes.copy())

    def sieve(self, batch: Batch) -> Sieve:
        """Make what resolves the events of an opened batch."""
        return Sieve(
            batch.entries.values, np.zeros(1, np.int64), self.thresholds.after, self.thresholds.rare,
            _NO_KEYS, _NO_SLOTS, self._evicts, self._start, self._width, *arrays(self._cells.memory),
        )  # fmt: skip


def words_of(counters: int) -> int:
    """Give how many words of cells so many counters take."""
    return words_for(width_of(counters))


def bytes_of(counters: int) -> int:
    """Give the bytes that so many counters take."""
    return words_for(width_of(counters)) * CELL_BYTES


@njit(cache=True, nogil=True)
def note(admitted, held_back, start, words, written, places, counts, digest) -> None:
    """Count rows that were let in, and values that were held back."""
    if admitted:
        add(start + _ADMITTED, admitted, words, written, places, counts, digest)
    if held_back:
        add(start + _HELD_BACK, held_back, words, written, places, counts, digest)


@njit(cache=True, nogil=True)
def hold_back(a, first, rare, keys, values) -> int:
    """Put the rare value in place of entry `a`; the first entry of its field that this is done to is given, and gives.

    -1 stands for none.
    """
    keys[a] = rare
    if first < 0:
        return int(a)
    values[first] += values[a]
    values[a] = np.float32(0)
    return int(first)


@njit(cache=True, nogil=True)
def _pool(keys, values, starts, known, after, rare, pooled):
    fields = len(after)
    for event in range((len(starts) - 1) // fields):
        for field in range(fields):
            first = -1
            if after[field] > 1:
                for a in range(starts[event * fields + field], starts[event * fields + field + 1]):
                    if not known[a]:
                        pooled[a] = True
                        first = hold_back(a, first, rare[field], keys, values)
