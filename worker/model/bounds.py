"""How large a shard may become, and which rows go when it has become as large.

A bound is met between two events: the rows of an event that do not all fit are let in only after room was made for
them. Then those rows go that say the least beyond what a row begins with, a sixteenth of the table at once, since
looking for them takes a pass over all. Which rows these are depends on what was learned by then and on nothing else:
not on the order of rows, nor on how events are cut into batches.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.admission import Admission, Sieve
from worker.model.batch import Batch, Entries
from worker.model.ledger import ONE_OF, Ledger
from worker.model.table import Table, Wanted

_PORTION_ENTRIES = 4_096  # of events that are resolved, then learned: their rows still lie in the cache by then
_INDEX_BYTES = 16 / 3  # of a row's share of the index
_TOUCHED_BYTES = 1  # of four that a row takes while it is touched and not committed: a quarter of all rows is
_REST_BYTES = 8 + 8 + 4 + 1  # key, event time, route, flags


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The largest a shard may become; 0 where nothing bounds it."""

    rows: int = 0
    bytes: int = 0

    def __bool__(self) -> bool:
        """Tell whether there is a bound."""
        return self.rows > 0 or self.bytes > 0

    def limit(self, width: int, *, fades: bool) -> int | None:
        """Give how many rows of so many parameters there may be at most; None where there is no bound."""
        each = 4 * width + _REST_BYTES + _TOUCHED_BYTES + _INDEX_BYTES + (8 if fades else 0)
        limits = [self.rows] if self.rows else []
        if self.bytes:
            limits.append(max(1, int(self.bytes / each)))
        return min(limits, default=None)


UNBOUNDED = Bounds()


class Room:
    """Lets events into a table, and makes room for them.

    Args:
        table: where the rows are.
        bounds: how large it may become, and what belongs to it.
        information: gives what each row says beyond what it began with, [rows]: not negative, the least goes first.
        leave: called with the numbers of rows that are about to go.
        ledgers: gives what this shard has added to shared rows, and what all have; None where shards are not merged.
    """

    def __init__(
        self,
        table: Table,
        bounds: Bounds,
        information: Callable[[], NDArray[np.float32]],
        leave: Callable[[NDArray[np.int32]], None] | None = None,
        ledgers: Callable[[], tuple[Ledger, Ledger]] | None = None,
    ) -> None:
        self.evicted = 0  # rows that have gone
        self.admission: Admission | None = None  # holds rare values back
        self._table, self._bounds = table, bounds
        width, fades = table.parameters.shape[1], len(table.as_of) > 0
        self._limit = bounds.limit(width, fades=fades)
        self._local_bytes = 4 * width + _REST_BYTES + _TOUCHED_BYTES + (8 if fades else 0)
        self._ledgers = ledgers
        self._foreign = 0  # rows of the merged ledger that the table had no row for
        self._information, self._leave = information, leave

    @property
    def counter_bytes(self) -> int:
        """Bytes of the counters of rare values."""
        return 0 if self.admission is None else self.admission.nbytes

    def opened(self, batch: Batch) -> Batch:
        """Give a batch that `portions` may change: it puts rare values in place of those that are held back."""
        return batch if self.admission is None else self.admission.opened(batch)

    def pooled(self, entries: Entries) -> Entries:
        """Put rare values in place of those that have no row, as far as their fields hold values back."""
        if self.admission is None:
            return entries
        known = self._table.has(entries.keys)
        if self._bounds and self._ledgers is not None:
            known |= self._ledgers()[1].has(entries.keys)
        return self.admission.thresholds.pooled(entries, known)[0]

    def portions(self, batch: Batch, rows: NDArray[np.int32]) -> Iterator[tuple[slice, int]]:
        """Resolve the entries of a batch portion by portion; each is to be learned before the next is asked for.

        Args:
            batch: the events, opened.
            rows: [entries] where the rows are noted.

        Yields:
            The events of a portion, and the number of the first row that was added for them.
        """
        entries, first, forced = batch.entries, 0, -1
        portion = max(1, _PORTION_ENTRIES * len(batch) // max(1, len(entries.keys)))
        sieve = None if self.admission is None else self.admission.sieve(batch)
        while first < len(batch):
            last, before = min(first + portion, len(batch)), len(self._table)
            wanted = self._wanted(first, last, forced)
            done = self._table.resolve(
                entries.keys, entries.starts, entries.fields, rows, wanted, batch.routes, self._told(sieve)
            )
            if done > first:
                yield slice(first, done), before
            if done < last:
                event = slice(entries.starts[done * entries.fields], entries.starts[(done + 1) * entries.fields])
                if not self._make(entries.keys[event]):
                    forced = done  # it has more rows than the bound allows: they are let in, and go with the next event
            first = done

    def _told(self, sieve: Sieve | None) -> Sieve | None:
        """Let a sieve know of the rows that a bounded table makes from the ledger when they are met."""
        if sieve is None or not self._bounds or self._ledgers is None:
            return sieve
        keys, slots = self._ledgers()[1].index
        return sieve._replace(told_keys=keys, told_slots=slots)

    def _wanted(self, first: int, last: int, forced: int) -> Wanted:
        if self._limit is None:
            return Wanted(first, last)
        wanted = Wanted(first, last, rows=self._limit, forced=forced)
        if not self._bounds.bytes:
            return wanted
        table, local = self._table, self._local_bytes
        used, of_shared = len(table) * local + table.index_bytes, 0
        if self._ledgers is not None:
            own, merged = self._ledgers()
            # A shared row that was met since the last commit will stand in both ledgers after the next one.
            of_shared = own.entry_bytes + merged.entry_bytes + own.going_bytes
            used += table.shared_rows * of_shared + self._foreign * merged.entry_bytes
        return wanted._replace(
            bytes=max(0, self._bounds.bytes - used), local_bytes=local, shared_bytes=local + of_shared
        )

    def note(self) -> None:
        """Count what the ledgers hold beside the rows of the table: it changes at commits, and when rows go."""
        if self._ledgers is not None:
            self._foreign = max(0, len(self._ledgers()[1]) - self._table.shared_rows)

    def _make(self, keys: NDArray[np.uint64]) -> bool:
        """Let the least informative rows go, none of these keys; tells whether there were any."""
        table = self._table
        information = np.nan_to_num(self._information(), copy=False)  # a precision may leave single precision
        here = table.find(keys)
        information[here[here >= 0]] = np.inf
        n = min(max(1, len(table) // ONE_OF), _finite(information))
        if n == 0:
            return False
        rows = least(information, table.keys, n)
        if self._leave is not None:
            self._leave(rows)
        table.drop(rows)
        self.evicted += n
        self.note()
        return True


def least(information: NDArray[np.float32], keys: NDArray[np.uint64], n: int) -> NDArray[np.int32]:
    """Give the numbers of the n rows with the least information, of equal ones those with the smallest keys; rising.

    Args:
        information: [rows], none negative.
        keys: [rows or more] of them.
        n: no more than there are rows.
    """
    bits = information.view(np.uint32)  # of numbers that are not negative they have the same order
    threshold, below = _nth(bits, n)
    smaller, equal = _up_to(bits, threshold, below)
    chosen = equal[np.argsort(keys[equal], kind="stable")[: n - below]]
    return np.sort(np.concatenate([smaller, chosen]))


@njit(cache=True, nogil=True)
def _nth(bits, n):
    """Give the n-th smallest number, and how many are smaller."""
    high = np.zeros(1 << 16, np.int64)
    for one in bits:
        high[one >> np.uint32(16)] += 1
    below = bin_ = 0
    while below + high[bin_] < n:
        below += high[bin_]
        bin_ += 1
    low = np.zeros(1 << 16, np.int64)
    for one in bits:
        if np.int64(one >> np.uint32(16)) == bin_:
            low[one & np.uint32(0xFFFF)] += 1
    rest = 0
    while below + low[rest] < n:
        below += low[rest]
        rest += 1
    return np.uint32(bin_ << 16 | rest), below


@njit(cache=True, nogil=True)
def _up_to(bits, threshold, below):
    """Give the places of so many numbers below a threshold, and of those that equal it."""
    equals = 0
    for one in bits:
        equals += one == threshold
    smaller, equal = np.empty(below, np.int32), np.empty(equals, np.int32)
    i = j = 0
    for place in range(len(bits)):
        if bits[place] < threshold:
            smaller[i] = place
            i += 1
        elif bits[place] == threshold:
            equal[j] = place
            j += 1
    return smaller, equal


@njit(cache=True, nogil=True)
def _finite(information):
    count = 0
    for one in information:
        count += np.isfinite(one)
    return count
