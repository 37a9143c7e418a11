"""Ledgers: what shards have added to the rows that they share, in exact integers.

The amounts are natural parameters (precision, precision times mean) in units of 2^-32, as 64-bit integers: a sum of
integers is the same whoever adds it up and in whichever order, so every reader that knows the same versions of all
shards holds the same row to the bit, and whether it added version by version or from a base makes no difference.
Floating-point sums have none of this.

Where the past is forgotten, a contribution says as of which tick it counts. What it has faded since the last whole
half-life is put on top of its amounts (the forward decay of Cormode et al., 2009), so all that was added within the
same half-life adds up as it is, and a half-life later every amount of a ledger is halved: shifted by one bit. The
lowest 12 bits of a new contribution are zeros, so what comes from shards that lag behind by up to 12 half-lives adds up
to the same bits, early or late.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import mix
from worker.model.arrays import longer
from worker.model.forgetting import NEVER, TICKS
from worker.model.index import MISSING, enter, expect, fill, find, leave, likely, row_at, slots_for
from worker.model.prefetch import prefetch

UNIT = 2.0**-32  # of an amount
SPARE_BITS = 12  # of an amount that fades: so many half-lives a shard may lag behind the others
GONE = 63  # halvings that leave nothing
ONE_OF = 16  # rows of a bounded model goes when there is no room
# What was added to rows that go is held until the next commit, and copied for the contribution that takes it back; so
# the C library holds as much for the next time.
_COPIES = 4
_INDEX_BYTES = 6  # of a row's share of the index, while a ledger grows by quarters
_AHEAD = 8  # rows for which memory is asked for before they are added to
# Odd, so that a change of one amount always changes the sum; as many as a row may have at most.
_MULTIPLIERS = np.array([int(mix(np.uint64(number))) | 1 for number in range(1, 512)], np.uint64)


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What was added to some shared rows, in units of 2^-32 of their natural parameters.

    `amounts` [n, 3 + K]: weight times its precision, the weight's precision, the factors' precision, and each factor
    times that.
    """

    keys: NDArray[np.uint64]  # [n]
    seen: NDArray[np.int64]  # [n] event time of the last update, milliseconds since 1970
    amounts: NDArray[np.int64]  # [n, 3 + K]
    tick: int = 0  # as of which they count; 0 where nothing is forgotten

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.keys)

    def __neg__(self) -> "Contribution":
        """Give what takes it back."""
        return replace(self, amounts=-self.amounts)

    def __getitem__(self, which: slice | NDArray[np.bool_]) -> "Contribution":
        """Take some of them."""
        return replace(self, keys=self.keys[which], seen=self.seen[which], amounts=self.amounts[which])


class Ledger:
    """Amounts by key: of one shard, or of all that are known; as of the latest tick of what was added.

    Args:
        width: how many amounts a row has.
        capacity: rows that there is room for at first.
        bounded: rows whose amounts have all become zero are dropped, and event times are not digested: when a row has
            none left depends on the order in which shards are added up, and what was its event time with it.
    """

    def __init__(self, width: int, capacity: int = 1024, *, bounded: bool = False) -> None:
        self.size = 0
        self.bounded = bounded
        self.halvings = 0  # how many half-lives have gone by
        self.tick: int | None = None  # before the first contribution
        self.keys = np.zeros(capacity, np.uint64)
        self.seen = np.zeros(capacity, np.int64)
        self.amounts = np.zeros((capacity, width), np.int64)
        self._slots = slots_for(capacity)
        self._digest = np.zeros(1, np.uint64)

    def __len__(self) -> int:
        """Count the rows."""
        return self.size

    @property
    def digest(self) -> int:
        """Digest of all amounts, whatever their order; a row of zeros counts as none."""
        return int(_dated(self._digest[0], self.tick or 0))

    @property
    def nbytes(self) -> int:
        """Bytes in use, the index included."""
        return self.size * (8 + 8 + 8 * self.amounts.shape[1]) + self._slots.nbytes

    @property
    def entry_bytes(self) -> int:
        """Bytes of a row, its share of the index included."""
        return 8 + 8 + 8 * self.amounts.shape[1] + _INDEX_BYTES

    @property
    def going_bytes(self) -> int:
        """Bytes that are set aside for each row, so that rows can go."""
        return self.entry_bytes * _COPIES // ONE_OF if self.bounded else 0

    @property
    def index(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """Give the keys and the slots by which kernels find a row; another pair once the ledger has grown."""
        return self.keys, self._slots

    def empty(self) -> "Ledger":
        """Give a ledger of the same kind without any row."""
        return Ledger(self.amounts.shape[1], bounded=self.bounded)

    def add(self, contribution: Contribution) -> None:
        """Add amounts to their rows, as of the later of both ticks."""
        if not len(contribution):
            return
        self._advance(contribution.tick)
        late = (self.tick or 0) // TICKS - contribution.tick // TICKS
        done = 0
        while done < len(contribution.keys):
            if self.size == len(self.keys):
                self._grow()
            done, self.size = _add(
                contribution.keys, contribution.seen, contribution.amounts, min(late, GONE), done,
                self.keys, self.seen, self.size, self.amounts, self._slots, self._digest, self.bounded,
            )  # fmt: skip

    def get(self, keys: NDArray[np.uint64]) -> Contribution:
        """Copy what was added to each key; zero where nothing was."""
        seen, amounts = np.empty(len(keys), np.int64), np.empty((len(keys), self.amounts.shape[1]), np.int64)
        _get(self.rows_of(keys), self.seen, self.amounts, seen, amounts)
        return Contribution(keys=keys, seen=seen, amounts=amounts, tick=self.tick or 0)

    def times(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """Give the event time of each row, by their numbers [n]; `NEVER` of `MISSING`."""
        times = np.empty(len(rows), np.int64)
        _times(rows, self.seen, times)
        return times

    def rows_of(self, keys: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Give the number of each key's row in `amounts` and `seen`, `MISSING` where there is none."""
        rows = np.empty(len(keys), np.int32)
        _rows(keys, rows, self.keys, self._slots)
        return rows

    def has(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell of each key whether there is a row."""
        return np.asarray(self.rows_of(keys) != MISSING)

    def all(self) -> Contribution:
        """Copy everything."""
        held = slice(0, self.size)
        return Contribution(
            keys=self.keys[held].copy(),
            seen=self.seen[held].copy(),
            amounts=self.amounts[held].copy(),
            tick=self.tick or 0,
        )

    def _advance(self, tick: int) -> None:
        """Halve all amounts for every whole half-life that has gone by."""
        if self.tick is not None and tick > self.tick:
            halvings = tick // TICKS - self.tick // TICKS
            if halvings:
                self.halvings += halvings
                self.size = _halve(
                    self.keys, self.seen, self.amounts, self.size, min(halvings, GONE), self._slots, self._digest,
                    self.bounded,
                )  # fmt: skip
        self.tick = tick if self.tick is None else max(self.tick, tick)

    def _grow(self) -> None:
        old = len(self.keys)
        capacity = 2 * old if old < 1_000_000 else old + old // 4  # as a table grows
        self.keys, self.seen = longer(self.keys, capacity), longer(self.seen, capacity)
        self.amounts = longer(self.amounts, capacity)
        self._slots = slots_for(capacity)
        fill(self.keys, self.size, self._slots)


@njit(cache=True, nogil=True)
def _sum(amounts, row, late):
    """Sum up the amounts of a row, halved so many times, each with a multiplier of its own: linear, as amounts are."""
    total = np.uint64(0)
    for k in range(amounts.shape[1]):
        total += np.uint64(amounts[row, k] >> late) * _MULTIPLIERS[k]
    return total


@njit(cache=True, nogil=True)
def _hash(key, seen, total):
    """Hash a row by the sum of its amounts; a sum of zero, as of a row without any, counts as none."""
    return mix((total ^ mix(np.uint64(seen))) + key) if total else np.uint64(0)


@njit(cache=True, nogil=True)
def _drop(row, keys, seen, amounts, size, slots):
    """Take a row out; the last one takes its place."""
    leave(keys[row], keys, slots)
    last = size - 1
    if row != last:
        key = keys[last]
        enter(find(key, keys, slots), key, row, slots)
        keys[row], seen[row] = key, seen[last]
        amounts[row] = amounts[last]
    return last


@njit(cache=True, nogil=True)
def _nothing(amounts, row):
    some = np.int64(0)
    for k in range(amounts.shape[1]):
        some |= amounts[row, k]
    return some == 0


@njit(cache=True, nogil=True, inline="always")
def expect_amounts(address: int, row: int, row_bytes: int) -> None:
    """Have the amounts of a row fetched, if there is one; `address` is where the amounts are."""
    if row != MISSING:
        for place in range(0, row_bytes, 64):
            prefetch(address + row * row_bytes + place)
        prefetch(address + (row + 1) * row_bytes - 8)


@njit(cache=True, nogil=True, inline="always")
def _look_ahead(number, wanted, slots, slots_at, keys_at, seen_at, amounts_at, row_bytes):
    """Ask for the slot of a later key, and for the row of one a bit before; what ends in `_at` is an address."""
    if number + 2 * _AHEAD < len(wanted):
        expect(wanted[number + 2 * _AHEAD], slots, slots_at)
    if number + _AHEAD < len(wanted):
        row = np.int64(likely(wanted[number + _AHEAD], slots))
        if row != MISSING:
            prefetch(keys_at + row * 8)
            prefetch(seen_at + row * 8)
        expect_amounts(amounts_at, row, row_bytes)


@njit(cache=True, nogil=True)
def _add(more, times, by, late, done, keys, seen, size, amounts, slots, digest, bounded):
    slots_at, keys_at, seen_at = slots.ctypes.data, keys.ctypes.data, seen.ctypes.data
    amounts_at, row_bytes = amounts.ctypes.data, 8 * amounts.shape[1]
    while done < len(more):
        _look_ahead(done, more, slots, slots_at, keys_at, seen_at, amounts_at, row_bytes)
        key = more[done]
        slot = find(key, keys, slots)
        row = row_at(slot, slots)
        if row == MISSING:
            if size == len(keys):
                break
            row = np.int32(size)
            size += 1
            enter(slot, key, row, slots)
            keys[row], seen[row] = key, NEVER
            for k in range(amounts.shape[1]):
                amounts[row, k] = 0
        before = after = np.uint64(0)
        if late == 0:  # nearly always; and without a shift by a variable, this is done four amounts at a time
            for k in range(amounts.shape[1]):
                amount, sum_ = amounts[row, k], amounts[row, k] + by[done, k]
                before += np.uint64(amount) * _MULTIPLIERS[k]
                after += np.uint64(sum_) * _MULTIPLIERS[k]
                amounts[row, k] = sum_
        else:
            before = _sum(amounts, row, 0)
            for k in range(amounts.shape[1]):
                amounts[row, k] += by[done, k] >> late
            after = before + _sum(by, done, late)
        digest[0] -= _hash(key, np.int64(0) if bounded else seen[row], before)
        seen[row] = max(seen[row], times[done])
        digest[0] += _hash(key, np.int64(0) if bounded else seen[row], after)
        if bounded and _nothing(amounts, row):
            size = _drop(row, keys, seen, amounts, size, slots)
        done += 1
    return done, size


@njit(cache=True, nogil=True)
def _halve(keys, seen, amounts, size, times, slots, digest, bounded):
    for row in range(size - 1, -1, -1):  # backwards: the row that takes the place of one that is dropped was halved
        counted = np.int64(0) if bounded else seen[row]
        digest[0] -= _hash(keys[row], counted, _sum(amounts, row, 0))
        for k in range(amounts.shape[1]):
            amounts[row, k] >>= times
        digest[0] += _hash(keys[row], counted, _sum(amounts, row, 0))
        if bounded and _nothing(amounts, row):
            size = _drop(row, keys, seen, amounts, size, slots)
    return size


@njit(cache=True, nogil=True)
def _get(rows, seen, amounts, found_seen, found):
    amounts_at, row_bytes = amounts.ctypes.data, 8 * amounts.shape[1]
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            expect_amounts(amounts_at, np.int64(rows[i + _AHEAD]), row_bytes)
        row = rows[i]
        found_seen[i] = seen[row] if row != MISSING else NEVER
        for k in range(found.shape[1]):
            found[i, k] = amounts[row, k] if row != MISSING else np.int64(0)


@njit(cache=True, nogil=True)
def _dated(digest, tick):
    return mix(digest ^ np.uint64(tick)) if tick else digest


@njit(cache=True, nogil=True)
def _rows(wanted, rows, keys, slots):
    slots_at, keys_at = slots.ctypes.data, keys.ctypes.data
    for i in range(len(wanted)):
        if i + 2 * _AHEAD < len(wanted):
            expect(wanted[i + 2 * _AHEAD], slots, slots_at)
        if i + _AHEAD < len(wanted):
            prefetch(keys_at + np.int64(likely(wanted[i + _AHEAD], slots)) * 8)
        rows[i] = row_at(find(wanted[i], keys, slots), slots)


@njit(cache=True, nogil=True)
def _times(rows, seen, times):
    seen_at = seen.ctypes.data
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            prefetch(seen_at + np.int64(rows[i + _AHEAD]) * 8)
        times[i] = seen[rows[i]] if rows[i] != MISSING else NEVER
