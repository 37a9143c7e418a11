"""What is done to the rows of a table, array by array: found, added, taken out, copied, digested.

The arrays are those of `Table`: what stands at number r in each of them is row r.
"""

import numpy as np
from numba import njit

from worker.model.admission import hold_back, note
from worker.model.arithmetic import mix, normal
from worker.model.batch import NOWHERE, SHARED
from worker.model.forgetting import NEVER, fade_row, left
from worker.model.index import MISSING, enter, expect, find, leave, likely, row_at, there
from worker.model.prefetch import prefetch
from worker.model.rows import FACTOR_PRECISION, WEIGHT_PRECISION
from worker.model.sketch import count, expect_counters, forget, halve, is_due

DIRTY, ROUTED, TOLD, GONE = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)  # of a row's flags
DONE, NO_ROOM, FULL = 0, 1, 2  # why resolving ended: all are resolved, arrays must grow, the limit is reached
_AHEAD = 16  # entries for which memory is asked for before they are resolved


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
def _expect_row(row, seen_at, parameters_at, row_bytes):
    """Ask for the event time and the parameters of a row; what ends in `_at` is the address of an array."""
    prefetch(seen_at + row * 8)
    prefetch(parameters_at + row * row_bytes)
    prefetch(parameters_at + (row + 1) * row_bytes - 4)


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
            _expect_row(row, seen_at, parameters_at, row_bytes)


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
def touch_rows(
    wanted, whither, starts, fields, done, last, rows, room_rows, room_bytes, local_bytes, shared_bytes, forced,
    keys, size, parameters, words, seen, as_of, routes, flags, slots, touched, touched_size, digest,
    seed, deviation, start, sieve,
) -> tuple[int, int, int, int, int, int]:  # fmt: skip
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
                    flags[row] = ROUTED
                _begin(parameters[row], key, seed, deviation, start)
                shared_row = 1 if key & SHARED else 0
                added_shared += shared_row
                room_bytes -= shared_bytes if shared_row else local_bytes
            elif not flags[row] & DIRTY:
                digest[0] -= _hash(key, seen[row], _tick(row, as_of), words[row])
            if not flags[row] & DIRTY:
                flags[row] |= DIRTY
                touched[touched_size] = row
                touched_size += 1
            rows[a] = row
        done += 1
    if sieve is not None:
        note(admitted, held_back, counters, cells, written, places, counts, cells_digest)
    return why, done, size, touched_size, added_shared, room_bytes


@njit(cache=True, nogil=True)
def drop_rows(
    gone, swept, keys, size, parameters, words, seen, as_of, routes, flags, marks, slots, touched, touched_size, digest
) -> tuple[int, int]:  # fmt: skip
    """Take rows out; the last ones that stay take their places. Gives how many rows there are, and touched ones."""
    for row in gone:
        if not flags[row] & DIRTY:
            digest[0] -= _hash(keys[row], seen[row], _tick(row, as_of), words[row])
        flags[row] |= GONE
        leave(keys[row], keys, slots)
    left_size = size - len(gone)
    # where the rows from left_size on go: the ones that stay, in order, to the rows that are gone, in order
    places = np.empty(len(gone), np.int32)
    hole = 0
    for row in range(left_size, size):
        places[row - left_size] = MISSING
        if not flags[row] & GONE:
            places[row - left_size] = gone[hole]
            hole += 1
    kept = 0
    for i in range(touched_size):
        row = touched[i]
        if not flags[row] & GONE:
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
        if place < swept <= row and not key & SHARED and not flags[place] & DIRTY:
            digest[0] -= _hash(key, seen[place], _tick(place, as_of), words[place])
            flags[place] |= DIRTY
            touched[kept] = place
            kept += 1
    if len(marks):
        marks[left_size:size] = 0
    return left_size, kept


@njit(cache=True, nogil=True)
def gather_rows(wanted, tick, found, keys, as_of, parameters, slots, seed, deviation, start) -> None:
    """Copy the parameters of keys, faded up to a tick; those of the prior where there is no row."""
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
def places_of(wanted, places, keys, slots) -> None:
    """Find the row of each key, `MISSING` where there is none."""
    slots_at, keys_at = slots.ctypes.data, keys.ctypes.data
    for i in range(len(wanted)):
        if i + 2 * _AHEAD < len(wanted):
            expect(wanted[i + 2 * _AHEAD], slots, slots_at)
        if i + _AHEAD < len(wanted):
            prefetch(keys_at + np.int64(likely(wanted[i + _AHEAD], slots)) * 8)
        places[i] = row_at(find(wanted[i], keys, slots), slots)


@njit(cache=True, nogil=True)
def copy_rows(rows, keys, seen, parameters, as_of, to_keys, to_seen, to_parameters, to_as_of) -> None:
    """Copy rows by their numbers [n], each to the place of its number in there."""
    keys_at, seen_at, parameters_at = keys.ctypes.data, seen.ctypes.data, parameters.ctypes.data
    row_bytes = 4 * parameters.shape[1]
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            ahead = np.int64(rows[i + _AHEAD])
            prefetch(keys_at + ahead * 8)
            _expect_row(ahead, seen_at, parameters_at, row_bytes)
        row = rows[i]
        to_keys[i], to_seen[i] = keys[row], seen[row]
        for k in range(parameters.shape[1]):
            to_parameters[i, k] = parameters[row, k]
        if len(to_as_of):
            to_as_of[i] = as_of[row]


@njit(cache=True, nogil=True)
def set_rows(rows, seen, parameters, to_seen, to_parameters) -> None:
    """Copy values [n] into the rows of these numbers [n]."""
    seen_at, parameters_at, row_bytes = to_seen.ctypes.data, to_parameters.ctypes.data, 4 * parameters.shape[1]
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            ahead = np.int64(rows[i + _AHEAD])
            _expect_row(ahead, seen_at, parameters_at, row_bytes)
        row = rows[i]
        to_seen[row] = seen[i]
        for k in range(parameters.shape[1]):
            to_parameters[row, k] = parameters[i, k]


@njit(cache=True, nogil=True)
def settle_rows(keys, words, seen, as_of, flags, touched, touched_size, digest) -> None:
    """Let the touched rows return to the digest, and count as told."""
    keys_at, seen_at, words_at, flags_at = keys.ctypes.data, seen.ctypes.data, words.ctypes.data, flags.ctypes.data
    row_bytes = 4 * words.shape[1]
    for i in range(touched_size):
        if i + _AHEAD < touched_size:
            ahead = np.int64(touched[i + _AHEAD])
            prefetch(keys_at + ahead * 8)
            _expect_row(ahead, seen_at, words_at, row_bytes)
            prefetch(flags_at + ahead)
        row = touched[i]
        digest[0] += _hash(keys[row], seen[row], _tick(row, as_of), words[row])
        flags[row] = (flags[row] & ~DIRTY) | TOLD
