"""The collisionless table: one row of parameters per feature value seen, found by a 64-bit key.

Rows stand densely, in the order in which they were first seen until some are dropped: then the last rows take their
places. An index of row numbers finds them (`index.py`). The table also keeps a digest of its content, the sum modulo
2^64 of a hash of each row: it does not depend on the order of the rows, so that two tables that learned the same agree,
however they came by it. A row leaves the sum when it is first touched after a commit and returns at the next one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.model.admission import Sieve
from worker.model.arrays import longer
from worker.model.batch import NOWHERE, SHARED
from worker.model.forgetting import NEVER
from worker.model.index import MISSING, fill, slots_for
from worker.model.placing import (
    NO_ROOM,
    ROUTED,
    TOLD,
    copy_rows,
    drop_rows,
    gather_rows,
    places_of,
    set_rows,
    settle_rows,
    touch_rows,
)
from worker.model.rows import WEIGHT, WEIGHT_PRECISION, Layout, Rows

_ANYWHERE = np.empty(0, np.int64)
_ENDLESS = 2**62
_FEW = 4_096  # touched rows for which room is kept


class Wanted(NamedTuple):
    """Which events of a batch are to have rows, and how much room there is for new ones."""

    first: int
    last: int  # the event after them
    rows: int = _ENDLESS  # that the table may have
    bytes: int = _ENDLESS  # that new rows may take
    local_bytes: int = 0  # of a new local row
    shared_bytes: int = 0  # of a new shared one
    forced: int = -1  # the event that is let in however little room there is


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
        wanted: Wanted,
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
            why, done, self.size, self._touched_size, shared, room_bytes = touch_rows(
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
        self._dropped.append(keys[((flags & TOLD) != 0) & ~of_all])
        self.shared_rows -= int(of_all.sum())
        if self._touched_size + len(rows) > len(self._touched):
            self._touched = longer(self._touched, self._touched_size + len(rows))
        self.size, self._touched_size = drop_rows(
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
        gather_rows(
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

    def moved(self, *, apart: bool) -> tuple[Rows, Rows]:
        """Copy what `touched` gives in two parts: rows of this shard, and those that all share where they differ."""
        rows = self._touched[: self._touched_size]
        of_all = (self.keys[rows] & SHARED) != 0 if apart else np.zeros(len(rows), np.bool_)
        return self._copy(rows[~of_all]), self._copy(rows[of_all])

    def touched_rows(self) -> NDArray[np.int32]:
        """Give the numbers of the rows touched since the last `settle`, in the order of their first touch."""
        return self._touched[: self._touched_size].copy()

    def part(self, start: int, stop: int) -> Rows:
        """Copy the rows number start to stop."""
        return self._copy(np.arange(start, max(start, min(stop, self.size)), dtype=np.int32))

    def settle(self) -> int:
        """Close the interval since the last call: no row counts as touched any more. Gives the digest of the table."""
        settle_rows(
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
        set_rows(places, rows.seen, rows.parameters, self.seen, self.parameters)
        if rows.as_of is not None and not len(self.as_of) and (rows.as_of != NEVER).any():
            self.as_of = np.full(len(self.keys), NEVER)
        if len(self.as_of):
            self.as_of[places] = NEVER if rows.as_of is None else rows.as_of
        if routes is not None:
            given = routes != NOWHERE
            self._routes[places] = routes.astype(np.uint32)
            self._flags[places] = np.where(given, self._flags[places] | ROUTED, self._flags[places] & ~ROUTED)

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Give the number of each key's row, `MISSING` where there is none."""
        places = np.empty(len(keys), np.int32)
        places_of(keys, places, self.keys, self._slots)
        return places

    def _routes_of(self, rows: NDArray[np.int32] | slice) -> NDArray[np.int64]:
        flags = self._flags[: self.size][rows]
        if not len(self._routes):
            return np.full(len(flags), NOWHERE)
        return np.where(flags & ROUTED, self._routes[: self.size][rows].astype(np.int64), NOWHERE)

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

    def _copy(self, rows: NDArray[np.int32]) -> Rows:
        keys, seen = np.empty(len(rows), np.uint64), np.empty(len(rows), np.int64)
        parameters = np.empty((len(rows), self.parameters.shape[1]), np.float32)
        as_of = np.empty(len(rows) if len(self.as_of) else 0, np.int64)
        copy_rows(rows, self.keys, self.seen, self.parameters, self.as_of, keys, seen, parameters, as_of)
        return Rows(
            keys=keys, seen=seen, parameters=parameters, as_of=as_of if len(self.as_of) else None,
            routes=self._routes_of(rows), columns=self.prior.columns,
        )  # fmt: skip

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
