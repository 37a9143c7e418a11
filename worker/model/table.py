"""The collisionless table: one row of parameters per feature value seen, found by a 64-bit key.

Rows stand densely in the order in which they were first seen; an index of row numbers finds them (`index.py`). The
table also keeps a digest of its content, the sum modulo 2^64 of a hash of each row: it does not depend on the order of
the rows, so that two tables that learned the same agree, however they came by it. A row leaves the sum when it is first
touched after a commit and returns at the next one.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import mix, normal
from worker.model.batch import NOWHERE, SHARED
from worker.model.forgetting import NEVER, fade_row, left
from worker.model.index import MISSING, fill, find, slots_for

WEIGHT, WEIGHT_PRECISION, FACTOR_PRECISION, FACTORS = 0, 1, 2, 3  # of the Gaussian's rows; from FACTORS on, K means
COLUMNS = ("weight", "weight_precision", "factor_precision")  # by these names
_ANYWHERE = np.empty(0, np.int64)


class Layout(Protocol):
    """What the rows of a table hold, and begin with: some numbers, then K factors drawn from the row's key."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the numbers."""
        ...

    @property
    def start(self) -> tuple[float, ...]:
        """Give the numbers that a row begins with."""
        ...

    @property
    def factors(self) -> int:
        """K."""
        ...

    @property
    def seed(self) -> int:
        """Of the factors."""
        ...

    @property
    def init_deviation(self) -> float:
        """Standard deviation of the factors."""
        ...


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What a row of the Gaussian is before any event; its factor means come from its key and the seed."""

    factors: int  # K
    seed: int
    init_deviation: float
    weight_precision: float
    factor_precision: float
    columns: tuple[str, ...] = COLUMNS

    @property
    def start(self) -> tuple[float, ...]:
        """Give the numbers that a row begins with."""
        return 0.0, self.weight_precision, self.factor_precision


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a table, by value."""

    keys: NDArray[np.uint64]  # [n]
    seen: NDArray[np.int64]  # [n] event time of the last update, milliseconds since 1970
    parameters: NDArray[np.float32]  # [n, columns + K] numbers as the columns name them, then factors
    as_of: NDArray[np.int64] | None = None  # [n] the tick of these values; None where nothing is forgotten
    routes: NDArray[np.int64] | None = None  # [n] hash of the partition key that a row belongs to, NOWHERE without one
    columns: tuple[str, ...] = COLUMNS

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.keys)

    def __getitem__(self, which: NDArray[np.bool_] | slice) -> "Rows":
        """Take some of them."""
        return replace(
            self,
            keys=self.keys[which],
            seen=self.seen[which],
            parameters=self.parameters[which],
            as_of=None if self.as_of is None else self.as_of[which],
            routes=None if self.routes is None else self.routes[which],
        )


class Table:
    """Rows by key, growing as keys come; which rows were touched since the last commit; a digest of all."""

    def __init__(self, prior: Layout, capacity: int = 1024) -> None:
        self.prior = prior
        self._start = np.array(prior.start, np.float32)
        self.size = 0
        self.keys = np.zeros(capacity, np.uint64)
        self.seen = np.full(capacity, NEVER)
        self.as_of = np.full(capacity, NEVER)
        self.routes = np.full(capacity, NOWHERE)
        self.parameters = np.zeros((capacity, len(self._start) + prior.factors), np.float32)
        self.marks = np.zeros(0, np.int64)  # [capacity] where they are kept: see `keep_marks`
        self._dirty = np.zeros(capacity, np.bool_)
        self._slots = slots_for(capacity)
        self._touched = np.zeros(capacity, np.int32)
        self._touched_size = 0
        self._digest = np.zeros(1, np.uint64)

    def __len__(self) -> int:
        """Count the rows."""
        return self.size

    @property
    def nbytes(self) -> int:
        """Bytes that the table holds, its index included."""
        arrays = (
            self.keys, self.seen, self.as_of, self.routes, self.parameters, self.marks,
            self._dirty, self._slots, self._touched,
        )  # fmt: skip
        return sum(array.nbytes for array in arrays)

    def touch(self, keys: NDArray[np.uint64], routes: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """Find the row of each key, adding those not seen before, and note that all of them are about to change.

        Args:
            keys: [n] wanted
            routes: [n] of the rows to be added
        """
        rows = np.empty(len(keys), np.int32)
        done = 0
        while done < len(keys):
            if self.size == len(self.keys):
                self._grow()
            done, self.size, self._touched_size = _touch(
                keys, _ANYWHERE if routes is None else routes, done, rows,
                self.keys, self.size, self.parameters, self.parameters.view(np.uint32), self.seen, self.as_of,
                self.routes, self._slots, self._dirty, self._touched, self._touched_size, self._digest,
                np.uint64(self.prior.seed), self.prior.init_deviation, self._start,
            )  # fmt: skip
        return rows

    def gather(self, keys: NDArray[np.uint64], tick: int = int(NEVER)) -> NDArray[np.float32]:
        """Copy the parameters of each key, [len(keys), columns + K], faded up to a tick. Changes nothing.

        A key never seen gets its prior.
        """
        found = np.empty((len(keys), self.parameters.shape[1]), np.float32)
        _gather(
            keys, np.int64(tick), found, self.keys, self.as_of, self.parameters, self._slots,
            np.uint64(self.prior.seed), self.prior.init_deviation, self._start,
        )  # fmt: skip
        return found

    def get(self, keys: NDArray[np.uint64]) -> Rows:
        """Copy the rows of these keys as they are; one never seen is its prior, never moved."""
        places = self._find(keys)
        there = places >= 0

        def values(held: NDArray[np.int64], none: np.int64) -> NDArray[np.int64]:
            return np.where(there, held[places], none)

        return Rows(
            keys=keys, seen=values(self.seen, NEVER), parameters=self.gather(keys),
            as_of=values(self.as_of, NEVER), routes=values(self.routes, NOWHERE), columns=self.prior.columns,
        )  # fmt: skip

    def touched(self) -> Rows:
        """Copy the rows touched since the last `settle`, in the order of their first touch."""
        return self._copy(self._touched[: self._touched_size])

    def part(self, start: int, stop: int) -> Rows:
        """Copy the rows number start to stop."""
        return self._copy(slice(start, min(stop, self.size)))

    def settle(self) -> int:
        """Close the interval since the last call: no row counts as touched any more. Gives the digest of the table."""
        _settle(
            self.keys, self.parameters.view(np.uint32), self.seen, self.as_of,
            self._dirty, self._touched, self._touched_size, self._digest,
        )  # fmt: skip
        self._touched_size = 0
        return int(self._digest[0])

    def put(self, rows: Rows) -> None:
        """Set rows to the given values, adding those not there. They count as touched."""
        places = self.touch(rows.keys)
        self.parameters[places] = rows.parameters
        self.seen[places] = rows.seen
        self.as_of[places] = NEVER if rows.as_of is None else rows.as_of
        if rows.routes is not None:
            self.routes[places] = rows.routes

    def keep_marks(self) -> None:
        """Keep a mark with each row from now on, 0 at first: 8 bytes a row, which readers spend and workers do not."""
        self.marks = np.zeros(len(self.keys), np.int64)

    def mark(self, keys: NDArray[np.uint64], mark: int, *, over: bool = True) -> None:
        """Mark the rows of these keys, as far as there are any; unless `over`, only those without a mark yet."""
        places = self._find(keys)
        places = places[places >= 0]
        self.marks[places if over else places[self.marks[places] == 0]] = mark

    def marks_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Copy the marks [len(keys)] of these rows; 0 for a key never seen."""
        places = self._find(keys)
        return np.where(places >= 0, self.marks[places], 0)

    def _find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        places = np.empty(len(keys), np.int32)
        _places(keys, places, self.keys, self._slots)
        return places

    def _copy(self, rows: NDArray[np.int32] | slice) -> Rows:
        held = slice(0, self.size)
        return Rows(
            keys=self.keys[held][rows].copy(),
            seen=self.seen[held][rows].copy(),
            parameters=self.parameters[held][rows].copy(),
            as_of=self.as_of[held][rows].copy(),
            routes=self.routes[held][rows].copy(),
            columns=self.prior.columns,
        )

    def _grow(self) -> None:
        # Doubling keeps the cost per row constant; a quarter is enough once a doubling would be felt in memory.
        old = len(self.keys)
        capacity = old * 2 if old < 1_000_000 else old + old // 4
        self.keys = _longer(self.keys, capacity, 0)
        self.seen = _longer(self.seen, capacity, NEVER)
        self.as_of = _longer(self.as_of, capacity, NEVER)
        self.routes = _longer(self.routes, capacity, NOWHERE)
        self.parameters = _longer(self.parameters, capacity, 0)
        if len(self.marks):
            self.marks = _longer(self.marks, capacity, 0)
        self._dirty = _longer(self._dirty, capacity, False)
        self._touched = _longer(self._touched, capacity, 0)
        slots = slots_for(capacity)
        if len(slots) != len(self._slots):
            self._slots = slots
            fill(self.keys, self.size, self._slots)


def _longer(array: NDArray, capacity: int, fill: object) -> NDArray:  # type: ignore[type-arg]  # any dtype, kept
    longer = np.empty((capacity, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    longer[len(array) :] = fill
    return longer


@njit(cache=True, nogil=True)
def _begin(row, key, seed, deviation, start):
    for i in range(len(start)):  # twice as fast as a slice
        row[i] = start[i]
    for k in range(len(row) - len(start)):
        row[len(start) + k] = np.float32(deviation * normal(key, seed, k))


@njit(cache=True, nogil=True)
def _hash(key, seen, as_of, words):
    if key & SHARED:
        return np.uint64(0)  # what a shard knows of a shared row depends on its peers: the ledger is digested instead
    state = mix(key ^ mix(np.uint64(seen)))
    if as_of != NEVER:
        state = mix(state ^ np.uint64(as_of))
    for i in range(0, len(words) - 1, 2):
        state = mix(state ^ (np.uint64(words[i]) | (np.uint64(words[i + 1]) << np.uint64(32))))
    if len(words) % 2:
        state = mix(state ^ np.uint64(words[len(words) - 1]))
    return state


@njit(cache=True, nogil=True)
def _touch(
    wanted, whither, done, rows, keys, size, parameters, words, seen, as_of, routes, slots, dirty, touched,
    touched_size, digest, seed, deviation, start,
):  # fmt: skip
    """Resolve keys from number `done` on, until all are or the table is full."""
    while done < len(wanted):
        key = wanted[done]
        slot = find(key, keys, slots)
        row = slots[slot]
        if row == MISSING:
            if size == len(keys):
                break
            row = np.int32(size)
            size += 1
            slots[slot] = row
            keys[row] = key
            if len(whither):
                routes[row] = whither[done]
            _begin(parameters[row], key, seed, deviation, start)
        elif not dirty[row]:
            digest[0] -= _hash(key, seen[row], as_of[row], words[row])
        if not dirty[row]:
            dirty[row] = True
            touched[touched_size] = row
            touched_size += 1
        rows[done] = row
        done += 1
    return done, size, touched_size


@njit(cache=True, nogil=True)
def _gather(wanted, tick, found, keys, as_of, parameters, slots, seed, deviation, start):
    for i in range(len(wanted)):
        row = slots[find(wanted[i], keys, slots)]
        if row == MISSING:
            _begin(found[i], wanted[i], seed, deviation, start)
        else:
            found[i] = parameters[row]
            if as_of[row] != NEVER and as_of[row] < tick:
                share = left(tick - as_of[row])
                # only the Gaussian's rows have a tick
                fade_row(found[i], wanted[i], share, seed, deviation, start[WEIGHT_PRECISION], start[FACTOR_PRECISION])


@njit(cache=True, nogil=True)
def _places(wanted, places, keys, slots):
    for i in range(len(wanted)):
        places[i] = slots[find(wanted[i], keys, slots)]


@njit(cache=True, nogil=True)
def _settle(keys, words, seen, as_of, dirty, touched, touched_size, digest):
    for i in range(touched_size):
        row = touched[i]
        digest[0] += _hash(keys[row], seen[row], as_of[row], words[row])
        dirty[row] = False
