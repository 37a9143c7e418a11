"""Kernels that put the entries of single features together to the entries of events."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.events.hashing import write_little_endian, xxh64
from worker.model.batch import NOWHERE

_FOLD = np.uint64(32)
_BLOCK = 128  # events: what is read of one field, and what is written of all, stay in the cache


@njit(cache=True, nogil=True)
def distinct(
    keys: NDArray[np.uint64], valid: NDArray[np.bool_], offsets: NDArray[np.int64], given: NDArray[np.bool_]
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
    """Give the distinct keys of n lists, in the order of their first appearance, with the value 1 / (how many).

    List i has the elements offsets[i]:offsets[i + 1] of keys[m] and valid[m]; elements that are not valid, and lists
    that are not given, are missing.
    """
    longest = 0
    for i in range(len(given)):
        longest = max(longest, offsets[i + 1] - offsets[i])
    slots = 4
    while slots < 2 * longest:
        slots *= 2
    seen_in = np.full(slots, -1, np.int64)  # an open-addressing set, emptied by counting on to the next list
    seen = np.empty(slots, np.uint64)
    out_keys = np.empty(len(keys), np.uint64)
    out_values = np.empty(len(keys), np.float32)
    starts = np.zeros(len(given) + 1, np.int64)
    size = 0
    for i in range(len(given)):
        begin = size
        for j in range(offsets[i], offsets[i + 1] if given[i] else offsets[i]):
            if not valid[j]:
                continue
            slot = np.int64((keys[j] ^ (keys[j] >> _FOLD)) & np.uint64(slots - 1))
            while seen_in[slot] == i and seen[slot] != keys[j]:
                slot = (slot + 1) & (slots - 1)
            if seen_in[slot] != i:
                seen_in[slot], seen[slot] = i, keys[j]
                out_keys[size] = keys[j]
                size += 1
        for j in range(begin, size):
            out_values[j] = np.float32(1.0 / (size - begin))
        starts[i + 1] = size
    return out_keys[:size], out_values[:size], starts


@njit(cache=True, nogil=True)
def cross(
    keys: NDArray[np.uint64], values: NDArray[np.float32], parts: NDArray[np.int64], seed: np.uint64
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
    """Combine every entry of each part with every entry of the others; the last part varies fastest.

    Event e has the entries parts[p, e]:parts[p, e + 1] of keys and values in part p. The key of a combination is the
    hash of the parts' keys, its value the product of theirs; an event without one of the parts has no combination.
    """
    count, n = len(parts), parts.shape[1] - 1
    starts = np.zeros(n + 1, np.int64)
    for e in range(n):
        combinations = 1
        for p in range(count):
            combinations *= parts[p, e + 1] - parts[p, e]
        starts[e + 1] = starts[e] + combinations
    out_keys = np.empty(starts[n], np.uint64)
    out_values = np.empty(starts[n], np.float32)
    at = np.empty(count, np.int64)
    text = np.empty(8 * count, np.uint8)
    for e in range(n):
        at[:] = parts[:, e]
        for out in range(starts[e], starts[e + 1]):
            value = np.float32(1.0)
            for p in range(count):
                write_little_endian(keys[at[p]], text, 8 * p)
                value *= values[at[p]]
            out_keys[out] = max(xxh64(text, 0, 8 * count, seed), np.uint64(1))
            out_values[out] = value
            for p in range(count - 1, -1, -1):
                at[p] += 1
                if at[p] < parts[p, e + 1]:
                    break
                at[p] = parts[p, e]
    return out_keys, out_values, starts


@njit(cache=True, nogil=True)
def starts_of(given: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count up the events that have an entry: where the entry of each begins, and where the last ends [n + 1]."""
    starts = np.zeros(len(given) + 1, np.int64)
    for i in range(len(given)):
        starts[i + 1] = starts[i] + given[i]
    return starts


@njit(cache=True, nogil=True)
def interleave(
    keys: NDArray[np.uint64], values: NDArray[np.float32], fields: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
    """Turn entries field by field into entries event by event.

    Event e has the entries fields[f, e]:fields[f, e + 1] of keys and values in field f.
    """
    count, n = len(fields), fields.shape[1] - 1
    total = 0
    for f in range(count):
        total += fields[f, n] - fields[f, 0]
    out_keys = np.empty(total, np.uint64)
    out_values = np.empty(total, np.float32)
    starts = np.zeros(n * count + 1, np.int64)
    for first in range(0, n, _BLOCK):
        last = min(first + _BLOCK, n)
        for e in range(first, last):
            for f in range(count):
                at = e * count + f
                starts[at + 1] = starts[at] + fields[f, e + 1] - fields[f, e]
        for f in range(count):
            j = fields[f, first]
            for e in range(first, last):
                at = starts[e * count + f]
                while j < fields[f, e + 1]:
                    out_keys[at] = keys[j]
                    out_values[at] = values[j]
                    at, j = at + 1, j + 1
    return out_keys, out_values, starts


@njit(cache=True, nogil=True)
def routes(starts: NDArray[np.int64], routed: NDArray[np.bool_], hashes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every entry of the routed fields the hash of its event, all others NOWHERE."""
    found = np.full(starts[-1], NOWHERE)
    for event in range(len(hashes)):
        for field in range(len(routed)):
            if routed[field]:
                at = event * len(routed) + field
                found[starts[at] : starts[at + 1]] = hashes[event]
    return found
