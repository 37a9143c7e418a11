"""The collisionless table: one row of parameters per feature value seen, found by a 64-bit key.

Rows stand densely, in the order in which they were first seen until some are dropped: then the last rows take their
places. An index of row numbers finds them (`index.py`). The table also keeps a digest of its content, the sum modulo
2^64 of a hash of each row: it does not depend on the order of the rows, so that two tables that learned the same agree,
however they came by it. A row leaves the sum when it is first touched after a commit and returns at the next one.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.admission import Sieve, hold_back, note
from worker.model.arithmetic import mix, normal
from worker.model.arrays import longer
from worker.model.batch import NOWHERE, SHARED
from worker.model.forgetting import NEVER, fade_row, left
from worker.model.index import MISSING, enter, expect, fill, find, leave, likely, row_at, slots_for, there
from worker.model.prefetch import prefetch
from worker.model.sketch import count, expect_counters, forget, halve, is_due

WEIGHT, WEIGHT_PRECISION, FACTOR_PRECISION, FACTORS = 0, 1, 2, 3  # of the Gaussian's rows; from FACTORS on, K means
COLUMNS = ("weight", "weight_precision", "factor_precision")  # by these names
_ANYWHERE = np.empty(0, np.int64)
_DIRTY, _ROUTED, _TOLD, _GONE = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)  # of a row's flags
_ENDLESS = 2**62
_AHEAD = 16  # entries for which memory is asked for before they are resolved
_FEW = 4_096  # touched rows for which room is kept
DONE, NO_ROOM, FULL = 0, 1, 2  # why resolving ended: all are resolved, arrays must grow, the limit is reached


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
    """Rows by key, growing as keys come; which rows were touched since the last commit; a digest of all.

    Args:
        prior: what rows begin with.
        capacity: rows that there is room for at first.
        fades: whether rows have a tick as of which they count.
        limit: rows that are never exceeded for long; then there is room for as many from the start, which takes no
            memory before it is used.
    """

    def __init__(self, prior: Layout, capacity: int = 1024, *, fades: bool = False, limit: int | None = None) -> None:
        self.prior = prior
        self._start = np.array(prior.start, np.float32)
        self.size = 0
        self.shared_rows = 0
        self.swept = 0  # rows below this number stand in the parts of a base that is on its way
        capacity = limit or capacity
        self.keys = np.zeros(capacity, np.uint64)
        self.seen = np.zeros(capacity, np.int64)
        self.as_of = np.zeros(capacity if fades else 0, np.int64)  # none where nothing fades
        self._routes = np.empty(0, np.uint32)  # none before one is given
        self._flags = np.zeros(capacity, np.uint8)
        self.parameters = np.zeros((capacity, len(self._start) + prior.factors), np.float32)
        self.marks = np.zeros(0, np.int64)  # [capacity] where they are kept: see `keep_marks`
        self._slots = slots_for(capacity)
        self._touched = np.empty(min(capacity, _FEW), np.int32)
        self._touched_size = 0
        self._dropped: list[NDArray[np.uint64]] = []  # keys of rows that were there when the table was last settled
        self._digest = np.zeros(1, np.uint64)

    def __len__(self) -> int:
        """Count the rows."""
        return self.size

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, without its share of the index."""
        bytes_ = 4 * self.parameters.shape[1] + 8 + 8 + 1  # parameters, key, event time, flags
        return bytes_ + 8 * (bool(len(self.as_of)) + bool(len(self.marks))) + (4 if len(self._routes) else 0)

    @property
    def index_bytes(self) -> int:
        """Bytes of the index."""
        return self._slots.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes in use, the index included. What was reserved for rows to come takes no memory yet."""
        return self.size * self.row_bytes + self._slots.nbytes + self._touched.nbytes

    @property
    def routes(self) -> NDArray[np.int64]:
        """Copy which partition key each row belongs to: its hash, or `NOWHERE`. [len(self)]."""
        return self._routes_of(slice(0, self.size))

    def touch(self, keys: NDArray[np.uint64], routes: NDArray[np.int64] | None = None) -> NDArray[np.int32]:
        """Find the row of each key, adding those not seen before, and note that all of them are about to change.

        Args:
            keys: [n] wanted
            routes: [n] of the rows to be added
        """
        rows = np.empty(len(keys), np.int32)
        self.resolve(keys, np.arange(len(keys) + 1), 1, rows, Wanted(0, len(keys)), routes)
        return rows

    def resolve(
        self,
        keys: NDArray[np.uint64],
        starts: NDArray[np.int64],
        fields: int,
        rows: NDArray[np.int32],
        wanted: "Wanted",
        routes: NDArray[np.int64] | None = None,
        sieve: Sieve | None = None,
    ) -> int:
        """Touch the rows of events, one event after the other, as far as the limit lets them in; gives how far.

        Args:
            keys: [entries] of all events of a batch.
            starts: [events * fields + 1] where the entries of a field begin.
            fields: of an event.
            rows: [entries] where the rows are noted.
            wanted: which events, and how much room there is.
            routes: [entries] of the rows to be added.
            sieve: holds rare values back, in whose place it puts another key into `keys`; None where none are.
        """
        if routes is not None and not len(self._routes):
            self._routes = np.zeros(len(self.keys), np.uint32)
        done = wanted.first
        room_rows, room_bytes, forced = wanted.rows - self.size, wanted.bytes, wanted.forced
        while True:
            before = self.size
            why, done, self.size, self._touched_size, shared, room_bytes = _touch(
                keys, _ANYWHERE if routes is None else routes, starts, fields, done, wanted.last, rows,
                room_rows, room_bytes, wanted.local_bytes, wanted.shared_bytes, forced,
                self.keys, self.size, self.parameters, self.parameters.view(np.uint32), self.seen, self.as_of,
                self._routes, self._flags, self._slots, self._touched, self._touched_size, self._digest,
                np.uint64(self.prior.seed), self.prior.init_deviation, self._start, sieve,
            )  # fmt: skip
            self.shared_rows += shared
            room_rows -= self.size - before
            if why != NO_ROOM:
                return int(done)
            # The event that found no room needs so many rows at most.
            needed = int(starts[(done + 1) * fields] - starts[done * fields])
            if self._touched_size + needed > len(self._touched):
                self._touched = longer(self._touched, 2 * len(self._touched) + needed)
            elif self.size + needed > len(self.keys):
                self._grow(self.size + needed)

    def has(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell of each key whether it has a row."""
        return self.find(keys) >= 0

    def drop(self, rows: NDArray[np.int32]) -> None:
        """Take rows out, by their numbers [n], rising and each once. Other rows take their places.

        A row that thereby comes to stand among those that a base on its way holds already counts as touched, so that
        it travels in the next delta.
        """
        if not len(rows):
            return
        keys, flags = self.keys[rows], self._flags[rows]
        of_all = (keys & SHARED) != 0
        self._dropped.append(keys[((flags & _TOLD) != 0) & ~of_all])
        self.shared_rows -= int(of_all.sum())
        if self._touched_size + len(rows) > len(self._touched):
            self._touched = longer(self._touched, self._touched_size + len(rows))
        self.size, self._touched_size = _drop(
            rows, self.swept, self.keys, self.size, self.parameters, self.parameters.view(np.uint32), self.seen,
            self.as_of, self._routes, self._flags, self.marks, self._slots, self._touched, self._touched_size,
            self._digest,
        )  # fmt: skip

    def remove(self, keys: NDArray[np.uint64]) -> None:
        """Take the rows of these keys out, as far as they are there."""
        rows = np.unique(self.find(keys))
        self.drop(rows[rows >= 0])

    def dropped(self) -> NDArray[np.uint64]:
        """Give the keys of local rows that were there when the table was last settled, and are not any more; rising."""
        keys = np.unique(np.concatenate([np.empty(0, np.uint64), *self._dropped]))
        return keys[~self.has(keys)]

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

    def weights(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Copy each key's weight and its precision, [2, len(keys)]; without a row those of the prior."""
        rows = self.find(keys)
        there, rows = rows != MISSING, np.maximum(rows, 0)
        wanted = (WEIGHT, WEIGHT_PRECISION)
        return np.stack([np.where(there, self.parameters[rows, column], self._start[column]) for column in wanted])

    def get(self, keys: NDArray[np.uint64]) -> Rows:
        """Copy the rows of these keys as they are; one never seen is its prior, never moved."""
        places = self.find(keys)
        there = places >= 0
        places = np.maximum(places, 0)
        nothing = np.full(len(keys), NEVER)
        if not self.size:
            return Rows(
                keys=keys, seen=nothing, parameters=self.gather(keys), as_of=nothing,
                routes=np.full(len(keys), NOWHERE), columns=self.prior.columns,
            )  # fmt: skip
        return Rows(
            keys=keys, seen=np.where(there, self.seen[places], NEVER), parameters=self.gather(keys),
            as_of=np.where(there, self.as_of[places], NEVER) if len(self.as_of) else nothing,
            routes=np.where(there, self._routes_of(places), NOWHERE), columns=self.prior.columns,
        )  # fmt: skip

    def touched(self) -> Rows:
        """Copy the rows touched since the last `settle`, in the order of their first touch."""
        return self._copy(self._touched[: self._touched_size])

    def touched_rows(self) -> NDArray[np.int32]:
        """Give the numbers of the rows touched since the last `settle`, in the order of their first touch."""
        return self._touched[: self._touched_size].copy()

    def part(self, start: int, stop: int) -> Rows:
        """Copy the rows number start to stop."""
        return self._copy(slice(start, min(stop, self.size)))

    def settle(self) -> int:
        """Close the interval since the last call: no row counts as touched any more. Gives the digest of the table."""
        _settle(
            self.keys, self.parameters.view(np.uint32), self.seen, self.as_of,
            self._flags, self._touched, self._touched_size, self._digest,
        )  # fmt: skip
        if len(self._touched) > _FEW and len(self._touched) > self.size // 32:
            self._touched = np.empty(_FEW, np.int32)  # a restore touches all rows, and never so many again
        self._touched_size = 0
        self._dropped.clear()
        return int(self._digest[0])

    def put(self, rows: Rows) -> None:
        """Set rows to the given values, adding those not there. They count as touched."""
        routes = rows.routes
        if routes is not None and not len(self._routes) and (routes == NOWHERE).all():
            routes = None
        places = self.touch(rows.keys, routes)
        self.parameters[places] = rows.parameters
        self.seen[places] = rows.seen
        if rows.as_of is not None and not len(self.as_of) and (rows.as_of != NEVER).any():
            self.as_of = np.full(len(self.keys), NEVER)
        if len(self.as_of):
            self.as_of[places] = NEVER if rows.as_of is None else rows.as_of
        if routes is not None:
            given = routes != NOWHERE
            self._routes[places] = routes.astype(np.uint32)
            self._flags[places] = np.where(given, self._flags[places] | _ROUTED, self._flags[places] & ~_ROUTED)

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Give the number of each key's row, `MISSING` where there is none."""
        places = np.empty(len(keys), np.int32)
        _places(keys, places, self.keys, self._slots)
        return places

    def _routes_of(self, rows: NDArray[np.int32] | slice) -> NDArray[np.int64]:
        flags = self._flags[: self.size][rows]
        if not len(self._routes):
            return np.full(len(flags), NOWHERE)
        return np.where(flags & _ROUTED, self._routes[: self.size][rows].astype(np.int64), NOWHERE)

    def keep_marks(self) -> None:
        """Keep a mark with each row from now on, 0 at first: 8 bytes a row, which readers spend and workers do not."""
        self.marks = np.zeros(len(self.keys), np.int64)

    def mark(self, keys: NDArray[np.uint64], mark: int, *, over: bool = True) -> None:
        """Mark the rows of these keys, as far as there are any; unless `over`, only those without a mark yet."""
        places = self.find(keys)
        places = places[places >= 0]
        self.marks[places if over else places[self.marks[places] == 0]] = mark

    def marks_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Copy the marks [len(keys)] of these rows; 0 for a key never seen."""
        places = self.find(keys)
        return np.where(places >= 0, self.marks[places], 0)

    def _copy(self, rows: NDArray[np.int32] | slice) -> Rows:
        held = slice(0, self.size)
        return Rows(
            keys=self.keys[held][rows].copy(),
            seen=self.seen[held][rows].copy(),
            parameters=self.parameters[held][rows].copy(),
            as_of=self.as_of[held][rows].copy() if len(self.as_of) else None,
            routes=self._routes_of(rows),
            columns=self.prior.columns,
        )

    def _grow(self, needed: int) -> None:
        # Doubling keeps the cost per row constant; a quarter is enough once a doubling would be felt in memory.
        old = len(self.keys)
        capacity = max(needed, old * 2 if old < 1_000_000 else old + old // 4)
        self.keys = longer(self.keys, capacity)
        self.seen = longer(self.seen, capacity)
        if len(self.as_of):
            self.as_of = longer(self.as_of, capacity)
        if len(self._routes):
            self._routes = longer(self._routes, capacity)
        self._flags = longer(self._flags, capacity)
        self.parameters = longer(self.parameters, capacity)
        if len(self.marks):
            self.marks = longer(self.marks, capacity)
        self._slots = slots_for(capacity)
        fill(self.keys, self.size, self._slots)


class Wanted(NamedTuple):
    """Which events of a batch are to have rows, and how much room there is for new ones."""

    first: int
    last: int  # the event after them
    rows: int = _ENDLESS  # that the table may have
    bytes: int = _ENDLESS  # that new rows may take
    local_bytes: int = 0  # of a new local row
    shared_bytes: int = 0  # of a new shared one
    forced: int = -1  # the event that is let in however little room there is


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


@njit(cache=True, nogil=True, inline="always")
def _tick(row, as_of):
    return as_of[row] if len(as_of) else NEVER


@njit(cache=True, nogil=True, inline="always")
def _look_ahead(number, end, wanted, slots, slots_at, keys_at, flags_at, seen_at, parameters_at, row_bytes):
    """Ask for what resolving a later entry will read, and learning after it: the slot, a bit later the row.

    What ends in `_at` is the address of an array.
    """
    if number + 2 * _AHEAD < end:
        expect(wanted[number + 2 * _AHEAD], slots, slots_at)
    if number + _AHEAD < end:
        row = np.int64(likely(wanted[number + _AHEAD], slots))
        if row != MISSING:
            prefetch(keys_at + row * 8)
            prefetch(flags_at + row)
            prefetch(seen_at + row * 8)
            prefetch(parameters_at + row * row_bytes)
            prefetch(parameters_at + (row + 1) * row_bytes - 4)


@njit(cache=True, nogil=True)
def _missing(wanted, lo, hi, keys, slots):
    """Count the keys without a row: local ones, shared ones. The entries of an event have keys that differ."""
    local = shared = 0
    for a in range(lo, hi):
        if not there(wanted[a], keys, slots):
            if wanted[a] & SHARED:
                shared += 1
            else:
                local += 1
    return local, shared


@njit(cache=True, nogil=True)
def _touch(
    wanted, whither, starts, fields, done, last, rows, room_rows, room_bytes, local_bytes, shared_bytes, forced,
    keys, size, parameters, words, seen, as_of, routes, flags, slots, touched, touched_size, digest,
    seed, deviation, start, sieve,
):  # fmt: skip
    """Resolve the entries of events from number `done` on, until all are, or one finds no room.

    Without a sieve, numba compiles all that belongs to it away.
    """
    why, added_shared, room_rows, end = DONE, 0, room_rows + size, starts[last * fields]
    slots_at, keys_at, flags_at, seen_at = slots.ctypes.data, keys.ctypes.data, flags.ctypes.data, seen.ctypes.data
    parameters_at, row_bytes = parameters.ctypes.data, 4 * parameters.shape[1]
    if sieve is not None:
        (
            values, sifted, after, rare, told_keys, told_slots, anew,
            counters, width, cells, written, places, counts, cells_digest,
        ) = sieve  # fmt: skip
        cells_at, admitted, held_back = cells.ctypes.data, 0, 0
    while done < last:
        lo, hi = starts[done * fields], starts[(done + 1) * fields]
        if sieve is not None and done >= sifted[0]:  # once, however often it finds no room
            sifted[0] = done + 1
            for field in range(fields):
                if after[field] <= 1:
                    continue
                first = -1
                for a in range(starts[done * fields + field], starts[done * fields + field + 1]):
                    key = wanted[a]
                    if there(key, keys, slots) or there(key, told_keys, told_slots):
                        continue
                    times_seen = count(key, counters, width, cells, written, places, counts, cells_digest)
                    if is_due(counters, width, cells):
                        halve(counters, width, cells, written, places, counts, cells_digest)
                    if times_seen >= after[field]:
                        admitted += 1
                        if anew:
                            forget(key, counters, width, cells, written, places, counts, cells_digest)
                        continue
                    held_back += 1
                    if len(whither):
                        whither[a] = NOWHERE  # the row is of many partition keys
                    first = hold_back(a, first, rare[field], wanted, values)
        if touched_size + hi - lo > len(touched):
            why = NO_ROOM
            break
        if size + hi - lo > min(len(keys), room_rows) or room_bytes < (hi - lo) * shared_bytes:
            local, shared = _missing(wanted, lo, hi, keys, slots)
            too_many = size + local + shared > room_rows or local * local_bytes + shared * shared_bytes > room_bytes
            if local + shared > 0 and too_many and done != forced:
                why = FULL
                break
            if size + local + shared > len(keys):
                why = NO_ROOM
                break
        for a in range(lo, hi):
            _look_ahead(a, end, wanted, slots, slots_at, keys_at, flags_at, seen_at, parameters_at, row_bytes)
            if sieve is not None and a + _AHEAD < end and likely(wanted[a + _AHEAD], slots) == MISSING:
                expect_counters(wanted[a + _AHEAD], counters, width, cells_at)
            key = wanted[a]
            slot = find(key, keys, slots)
            row = row_at(slot, slots)
            if row == MISSING:
                row = np.int32(size)
                size += 1
                enter(slot, key, row, slots)
                keys[row] = key
                seen[row] = NEVER
                flags[row] = 0
                if len(as_of):
                    as_of[row] = NEVER
                if len(whither) and whither[a] != NOWHERE:
                    routes[row] = np.uint32(whither[a])
                    flags[row] = _ROUTED
                _begin(parameters[row], key, seed, deviation, start)
                shared_row = 1 if key & SHARED else 0
                added_shared += shared_row
                room_bytes -= shared_bytes if shared_row else local_bytes
            elif not flags[row] & _DIRTY:
                digest[0] -= _hash(key, seen[row], _tick(row, as_of), words[row])
            if not flags[row] & _DIRTY:
                flags[row] |= _DIRTY
                touched[touched_size] = row
                touched_size += 1
            rows[a] = row
        done += 1
    if sieve is not None:
        note(admitted, held_back, counters, cells, written, places, counts, cells_digest)
    return why, done, size, touched_size, added_shared, room_bytes


@njit(cache=True, nogil=True)
def _drop(
    gone, swept, keys, size, parameters, words, seen, as_of, routes, flags, marks, slots, touched, touched_size, digest
):  # fmt: skip
    """Take rows out; the last ones that stay take their places. Gives how many rows there are, and touched ones."""
    for row in gone:
        if not flags[row] & _DIRTY:
            digest[0] -= _hash(keys[row], seen[row], _tick(row, as_of), words[row])
        flags[row] |= _GONE
        leave(keys[row], keys, slots)
    left_size = size - len(gone)
    # where the rows from left_size on go: the ones that stay, in order, to the rows that are gone, in order
    places = np.empty(len(gone), np.int32)
    hole = 0
    for row in range(left_size, size):
        places[row - left_size] = MISSING
        if not flags[row] & _GONE:
            places[row - left_size] = gone[hole]
            hole += 1
    kept = 0
    for i in range(touched_size):
        row = touched[i]
        if not flags[row] & _GONE:
            touched[kept] = row if row < left_size else places[row - left_size]
            kept += 1
    for row in range(left_size, size):
        place = places[row - left_size]
        if place == MISSING:
            continue
        key = keys[row]
        enter(find(key, keys, slots), key, place, slots)
        keys[place], seen[place], flags[place] = key, seen[row], flags[row]
        if len(as_of):
            as_of[place] = as_of[row]
        if len(routes):
            routes[place] = routes[row]
        if len(marks):
            marks[place] = marks[row]
        parameters[place] = parameters[row]
        if place < swept <= row and not key & SHARED and not flags[place] & _DIRTY:
            digest[0] -= _hash(key, seen[place], _tick(place, as_of), words[place])
            flags[place] |= _DIRTY
            touched[kept] = place
            kept += 1
    if len(marks):
        marks[left_size:size] = 0
    return left_size, kept


@njit(cache=True, nogil=True)
def _gather(wanted, tick, found, keys, as_of, parameters, slots, seed, deviation, start):
    for i in range(len(wanted)):
        row = row_at(find(wanted[i], keys, slots), slots)
        if row == MISSING:
            _begin(found[i], wanted[i], seed, deviation, start)
        else:
            found[i] = parameters[row]
            if len(as_of) and as_of[row] != NEVER and as_of[row] < tick:
                share = left(tick - as_of[row])
                # only the Gaussian's rows have a tick
                fade_row(found[i], wanted[i], share, seed, deviation, start[WEIGHT_PRECISION], start[FACTOR_PRECISION])


@njit(cache=True, nogil=True)
def _places(wanted, places, keys, slots):
    for i in range(len(wanted)):
        places[i] = row_at(find(wanted[i], keys, slots), slots)


@njit(cache=True, nogil=True)
def _settle(keys, words, seen, as_of, flags, touched, touched_size, digest):
    for i in range(touched_size):
        row = touched[i]
        digest[0] += _hash(keys[row], seen[row], _tick(row, as_of), words[row])
        flags[row] = (flags[row] & ~_DIRTY) | _TOLD
