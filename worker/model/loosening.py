"""Loosening: rows keep what they say and are less sure of it, so that they give way to what is new.

Of the precision Delta that a row has beyond its prior's, p, a share is left, once:

    L / (L + Delta / p),

so that nothing stays much more precise than L times its prior, and what little is known of a rare row stays. Means stay
as they are. With the same share for all rows, and means drawn towards the prior, as forgetting has it, all predictions
were worse at once, and those of rare rows most: it took several times as long to make up for a change.

Shards that are merged loosen what each has added itself: it takes precision back from its ledger, and the mean of the
row times that, which leaves the mean as it is; the others learn it with its next contribution. Of what it has learned
since its last commit, and is not in its ledger, a share is left in the rows, so the contribution says that share.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import normal
from worker.model.batch import SHARED
from worker.model.forgetting import NEVER, fade_row, growth, left
from worker.model.ledger import UNIT
from worker.model.rows import WEIGHT, WEIGHT_PRECISION, Prior
from worker.model.shared import Shared, units_of
from worker.model.table import Table

Pairs = tuple[NDArray[np.float32], NDArray[np.float32]]  # weights [pairs] and their precisions [pairs]
_CHUNK_ROWS = 65_536  # whose entries of the ledgers are copied at once


def loosen_local(table: Table, prior: Prior, tick: int, limit: float) -> None:
    """Loosen all local rows, as of a tick; they count as touched, so the next delta is a full copy of them."""
    keys = table.keys[: len(table)]
    keys = keys[(keys & SHARED) == 0]
    _loosen_rows(
        table.touch(keys), keys, table.as_of, tick, limit, table.parameters,
        np.uint64(prior.seed), prior.init_deviation, prior.weight_precision, prior.factor_precision,
    )  # fmt: skip


def loosen_pairs(precisions: NDArray[np.float32], prior_precision: float, limit: float) -> NDArray[np.float32]:
    """Give the precisions of pairs' weights once they are loosened."""
    beyond = np.maximum(precisions.astype(np.float64) - prior_precision, 0.0)
    return (prior_precision + beyond * (limit / (limit + beyond / prior_precision))).astype(np.float32)


def loosen_shared(shared: Shared, table: Table, pairs: Pairs, tick: int, limit: float) -> Pairs:
    """Loosen what this shard has learned of shared rows and of pairs; gives the pairs as they are then.

    Args:
        shared: what has been added to them.
        table: where the rows are.
        pairs: as they are now.
        tick: as of which the pairs count.
        limit: L.
    """
    prior, as_of = shared.prior, shared.tick
    moved = table.touched_rows()  # since the last commit: these say more than the ledger
    moved = moved[(table.keys[moved] & SHARED) != 0]
    keys, told = table.keys[moved], shared.own.all().keys
    rows_before, pairs_before = shared.values(keys), _as_rows(shared.pairs())
    for some in np.array_split(told, len(told) // _CHUNK_ROWS + 1):
        _withdraw(shared, some, limit)
    made = np.setdiff1d(table.find(told), moved)
    made = made[made >= 0]
    table.parameters[made] = shared.values(table.keys[made])
    ticks = np.full(len(moved), NEVER)
    if len(table.as_of):
        table.as_of[made] = as_of
        ticks = table.as_of[moved]
    rows, weights = table.parameters[moved], _as_rows(pairs)
    _leave(rows, ticks, rows_before, shared.values(keys), as_of, limit, prior.weight_precision, prior.factor_precision)
    table.parameters[moved] = rows
    _leave(
        weights, np.full(len(weights), tick), pairs_before, _as_rows(shared.pairs()), as_of, limit,
        shared.pair_precision, 1.0,
    )  # fmt: skip
    return weights[:, WEIGHT], weights[:, WEIGHT_PRECISION]


def _withdraw(shared: Shared, keys: NDArray[np.uint64], limit: float) -> None:
    own, merged, prior = shared.own.get(keys), shared.merged.get(keys), shared.prior
    taken = np.zeros_like(own.amounts)
    _excess(
        keys, shared.are_pairs(keys), own.amounts, merged.amounts, UNIT / growth(shared.tick), shared.spare_bits,
        limit, np.uint64(prior.seed), prior.init_deviation, prior.weight_precision, prior.factor_precision,
        shared.pair_precision, taken,
    )  # fmt: skip
    shared.withdraw(own, taken)


def _as_rows(pairs: Pairs) -> NDArray[np.float32]:
    rows = np.zeros((len(pairs[0]), 3), np.float32)
    rows[:, WEIGHT], rows[:, WEIGHT_PRECISION] = pairs
    rows[:, WEIGHT_PRECISION + 1] = 1.0  # they have no factors: as if those had learned nothing
    return rows


@njit(cache=True, nogil=True)
def _share(precision, prior_precision, limit):
    """Give the share that is left of what is beyond the prior's precision."""
    return limit / (limit + max(precision - prior_precision, 0.0) / prior_precision)


@njit(cache=True, nogil=True)
def _loosen_rows(
    rows, keys, as_of, tick, limit, parameters, seed, deviation, weight_precision, factor_precision
):  # fmt: skip
    for i in range(len(rows)):
        row = parameters[rows[i]]
        if len(as_of) and as_of[rows[i]] != NEVER and as_of[rows[i]] < tick:
            share = left(tick - as_of[rows[i]])
            fade_row(row, keys[i], share, seed, deviation, weight_precision, factor_precision)
            as_of[rows[i]] = tick
        for column, start in ((1, weight_precision), (2, factor_precision)):
            precision = np.float64(row[column])
            row[column] = np.float32(start + _share(precision, start, limit) * (precision - start))


@njit(cache=True, nogil=True)
def _excess(
    keys, are_pairs, own, merged, unit, spare, limit, seed, deviation, weight_precision, factor_precision,
    pair_precision, taken,
):  # fmt: skip
    """Give what is taken back [n, 3 + K] of what a shard has added itself, with so many zero bits."""
    scale = 1.0 / np.float64(np.int64(1) << spare)
    for i in range(len(keys)):
        start = pair_precision if are_pairs[i] else weight_precision
        mean = start if are_pairs[i] else 0.0
        precision = start + merged[i, 1] * unit
        units = np.rint(max(own[i, 1], 0) * (1.0 - _share(precision, start, limit)) * scale)
        taken[i, 0] = units_of((mean + merged[i, 0] * unit) / precision * units, spare)
        taken[i, 1] = units_of(units, spare)
        if are_pairs[i]:
            continue
        precision = factor_precision + merged[i, 2] * unit
        units = np.rint(max(own[i, 2], 0) * (1.0 - _share(precision, factor_precision, limit)) * scale)
        taken[i, 2] = units_of(units, spare)
        for k in range(own.shape[1] - 3):
            mean = np.float64(np.float32(deviation * normal(keys[i], seed, k))) * factor_precision
            taken[i, 3 + k] = units_of((mean + merged[i, 3 + k] * unit) / precision * units, spare)


@njit(cache=True, nogil=True)
def _leave(rows, ticks, before, after, as_of, limit, weight_precision, factor_precision):
    """Make the precisions of rows [n, 3 + K] those `after`, and a share of what they are beyond those `before`.

    Means stay, but for what they differ by between `before` and `after`.

    `before` and `after` are made from the ledger, as of one tick; the rows are each as of its own.
    """
    for i in range(len(rows)):
        faded = left(ticks[i] - as_of) if ticks[i] != NEVER and as_of != NEVER else 1.0
        for column, start in ((1, weight_precision), (2, factor_precision)):
            now = np.float64(rows[i, column])
            old = start + faded * (np.float64(before[i, column]) - start)
            new = start + faded * (np.float64(after[i, column]) - start)
            rows[i, column] = np.float32(new + _share(now, start, limit) * (now - old))
        for column in range(rows.shape[1]):
            if not 1 <= column <= 2:
                # What is taken back is rounded, and means with it: what was not learned must not count as learned.
                rounding = np.float64(after[i, column]) - np.float64(before[i, column])
                rows[i, column] = np.float32(np.float64(rows[i, column]) + rounding)
