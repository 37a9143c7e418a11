"""All pairs of the fields of an event at once: the products of their factors, in lanes.

Fields are taken in blocks of eight. A matrix over pairs is flat, block after block, each of 8 x 8 numbers: so the
distance between two rows of a block is a constant, not a variable that would have to be multiplied and kept. That over
fields and factors is flat by fields, each with a whole number of lanes. What is computed for fields that are not there
is computed for nothing.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.lanes import LANES, greatest, least, load, pick, put, spread, store

_BLOCK = LANES * LANES


@njit(cache=True, nogil=True, inline="always")
def place(s: int, t: int, blocks: int) -> int:
    """Give where the number of fields s and t stands in a matrix of so many blocks a side."""
    return ((s // LANES) * blocks + t // LANES) * _BLOCK + s % LANES * LANES + t % LANES


@njit(cache=True, nogil=True)
def pack_pairs(pair_means, pair_precisions, blocks, means, precisions) -> None:
    """Copy the matrices [F, F] into ones of blocks."""
    F = len(pair_means)
    for i in range(F):
        for j in range(i + 1, F):
            at = place(i, j, blocks)
            means[at], precisions[at] = pair_means[i, j], pair_precisions[i, j]


@njit(cache=True, nogil=True)
def unpack_pairs(pair_means, pair_precisions, blocks, means, precisions) -> None:
    """Copy them back."""
    F = len(pair_means)
    for i in range(F):
        for j in range(i + 1, F):
            at = place(i, j, blocks)
            pair_means[i, j], pair_precisions[i, j] = means[at], precisions[at]


@njit(cache=True, nogil=True)
def hide_pairs(F, blocks, places, means, precisions, wanted) -> tuple[NDArray, NDArray, NDArray]:  # type: ignore[type-arg]
    """Make pairs that are not at these places weigh nothing, with infinite precision; give where, and what they do."""
    shown = np.zeros(len(means), np.bool_)
    for at in places:
        shown[at] = True
    hidden = np.zeros(F * (F - 1) // 2 - len(places) if wanted else 0, np.int64)
    kept, kept_precisions = np.zeros(len(hidden), np.float32), np.full(len(hidden), np.inf, np.float32)
    if len(hidden):
        size = 0
        for i in range(F):
            for j in range(i + 1, F):
                at = place(i, j, blocks)
                if not shown[at]:
                    hidden[size] = at
                    size += 1
        swap_pairs(hidden, kept, kept_precisions, means, precisions)
    return hidden, kept, kept_precisions


@njit(cache=True, nogil=True)
def swap_pairs(hidden, kept, kept_precisions, means, precisions) -> None:
    """Show the pairs that are hidden, and hide those that are shown."""
    for q in range(len(hidden)):
        at = hidden[q]
        kept[q], means[at] = means[at], kept[q]
        kept_precisions[q], precisions[at] = precisions[at], kept_precisions[q]


@njit(cache=True, nogil=True)
def pack_sums(evidence, head, F, blocks, signs, sizes) -> None:
    """Copy the pairs' sums, two by two from `head` on, into matrices of blocks."""
    q = head
    for i in range(F):
        for j in range(i + 1, F):
            at = place(i, j, blocks)
            signs[at], sizes[at] = evidence[q], evidence[q + 1]
            q += 2


@njit(cache=True, nogil=True)
def unpack_sums(evidence, head, F, blocks, signs, sizes) -> None:
    """Copy them back."""
    q = head
    for i in range(F):
        for j in range(i + 1, F):
            at = place(i, j, blocks)
            evidence[q], evidence[q + 1] = signs[at], sizes[at]
            q += 2


@njit(cache=True, nogil=True)
def gather_pairs(active, present, blocks, columns, means, precisions, to) -> None:
    """Copy the numbers of the fields present into a matrix of their own, which begins at `to`."""
    some = (active + LANES - 1) // LANES
    for s in range(active):
        put(columns, s, place(np.int64(0), pick(present, s), blocks))
    for s in range(active):
        row, own = place(pick(present, s), np.int64(0), blocks), to + place(s, 0, some)
        for t in range(s + 1, active):
            at, new = row + pick(columns, t), own + place(0, t, some)
            put(means, new, pick(means, at))
            put(precisions, new, pick(precisions, at))


@njit(cache=True, nogil=True)
def scatter_pairs(active, present, blocks, columns, means, precisions, of) -> None:
    """Copy them back to where they came from."""
    some = (active + LANES - 1) // LANES
    for s in range(active):
        row, own = place(pick(present, s), np.int64(0), blocks), of + place(s, 0, some)
        for t in range(s + 1, active):
            at, new = row + pick(columns, t), own + place(0, t, some)
            put(means, at, pick(means, new))
            put(precisions, at, pick(precisions, new))


@njit(cache=True, nogil=True)
def score_pairs(
    active, blocks, padded, e, d, turned, means, precisions, first, dots, scratch, f, variance
) -> tuple[np.float32, np.float32]:
    """Add r_st <e_s, e_t> of all pairs s < t to f, and what they add to its variance; give both.

    Fills dots with the inner products, and d with df/de. Overwrites what is below the diagonal of the means, which
    begin, like the precisions, at `first`.
    """
    zero = spread(np.float32(0))
    for b in range(blocks):
        for k in range(padded):
            of, to = b * LANES * padded + k, (b * padded + k) * LANES
            for s in range(LANES):
                turned[to + s] = pick(e, of + s * padded)
    after = blocks * LANES
    for s in range(active):
        row = s // LANES * blocks * _BLOCK + s % LANES * LANES
        for b in range(s // LANES, blocks):
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
            for k in range(0, padded, LANES):
                own, of = s * padded + k, (b * padded + k) * LANES
                s0 = s0 + spread(pick(e, own)) * load(turned, of)
                s1 = s1 + spread(pick(e, own + 1)) * load(turned, of + 8)
                s2 = s2 + spread(pick(e, own + 2)) * load(turned, of + 16)
                s3 = s3 + spread(pick(e, own + 3)) * load(turned, of + 24)
                s4 = s4 + spread(pick(e, own + 4)) * load(turned, of + 32)
                s5 = s5 + spread(pick(e, own + 5)) * load(turned, of + 40)
                s6 = s6 + spread(pick(e, own + 6)) * load(turned, of + 48)
                s7 = s7 + spread(pick(e, own + 7)) * load(turned, of + 56)
            dot = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
            at = row + b * _BLOCK
            store(dots, at, dot)
            store(scratch, b * LANES, load(means, first + at) * dot)
            store(scratch, after + b * LANES, dot * dot / load(precisions, first + at))
        for t in range(s + 1, active):
            f += pick(scratch, t)
            variance += pick(scratch, after + t)
    for b in range(blocks):
        own = first + (b * blocks + b) * _BLOCK
        for s in range(LANES):
            means[own + s * LANES + s] = np.float32(0)
            for t in range(s + 1, LANES):
                means[own + t * LANES + s] = means[own + s * LANES + t]
        for k in range(0, padded, LANES):
            d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = zero
            for j in range(min(b * LANES + LANES, active)):
                of, at = load(e, j * padded + k), first + (j // LANES * blocks + b) * _BLOCK + j % LANES * LANES
                d0 = d0 + spread(pick(means, at)) * of
                d1 = d1 + spread(pick(means, at + 1)) * of
                d2 = d2 + spread(pick(means, at + 2)) * of
                d3 = d3 + spread(pick(means, at + 3)) * of
                d4 = d4 + spread(pick(means, at + 4)) * of
                d5 = d5 + spread(pick(means, at + 5)) * of
                d6 = d6 + spread(pick(means, at + 6)) * of
                d7 = d7 + spread(pick(means, at + 7)) * of
            for j in range(b * LANES + LANES, active):
                of, at = load(e, j * padded + k), first + (b * blocks + j // LANES) * _BLOCK + j % LANES
                d0 = d0 + spread(pick(means, at)) * of
                d1 = d1 + spread(pick(means, at + 8)) * of
                d2 = d2 + spread(pick(means, at + 16)) * of
                d3 = d3 + spread(pick(means, at + 24)) * of
                d4 = d4 + spread(pick(means, at + 32)) * of
                d5 = d5 + spread(pick(means, at + 40)) * of
                d6 = d6 + spread(pick(means, at + 48)) * of
                d7 = d7 + spread(pick(means, at + 56)) * of
            at = b * LANES * padded + k
            store(d, at, d0)
            store(d, at + padded, d1)
            store(d, at + 2 * padded, d2)
            store(d, at + 3 * padded, d3)
            store(d, at + 4 * padded, d4)
            store(d, at + 5 * padded, d5)
            store(d, at + 6 * padded, d6)
            store(d, at + 7 * padded, d7)
    return f, variance


@njit(cache=True, nogil=True)
def move_pairs(active, blocks, means, precisions, first, dots, step, h, largest) -> None:
    """Learn the weights of all pairs s < t from the inner products of their factors."""
    steps, hs, most = spread(step), spread(h), spread(largest)
    for s in range(active):
        for b in range(s // LANES, blocks):
            at = (s // LANES * blocks + b) * _BLOCK + s % LANES * LANES
            dot, precision = load(dots, at), load(precisions, first + at)
            store(means, first + at, load(means, first + at) - steps * dot / precision)
            # one that is infinite stays so, see `hide_pairs`
            store(precisions, first + at, least(precision + hs * dot * dot, greatest(most, precision)))


@njit(cache=True, nogil=True)
def witness(active, some, present, columns, blocks, means, first, dots, g, h, signs, sizes) -> np.float32:
    """Sum up -g c and h c^2 / 2 of every pair, with its share c of the logit; gives the share of those with field 0."""
    half, of_bias = np.float32(0.5) * h, np.float32(0)
    gs, halves = spread(g), spread(half)
    for s in range(active):
        row = s // LANES * some * _BLOCK + s % LANES * LANES
        if first:  # some fields are missing
            to = place(pick(present, s), np.int64(0), blocks)
            for t in range(s + 1, active):
                at, sums = row + place(0, t, some), to + pick(columns, t)
                share = pick(means, first + at) * pick(dots, at)
                put(signs, sums, pick(signs, sums) - g * share)
                put(sizes, sums, pick(sizes, sums) + half * share * share)
        else:
            for b in range(s // LANES, some):
                at = row + b * _BLOCK
                share = load(means, at) * load(dots, at)
                store(signs, at, load(signs, at) - gs * share)
                store(sizes, at, load(sizes, at) + halves * share * share)
        if present[s] == 0:
            for t in range(s + 1, active):
                at = row + place(0, t, some)
                of_bias += pick(means, first + at) * pick(dots, at)
    return of_bias
