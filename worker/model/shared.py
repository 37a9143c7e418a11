"""What a shard learns of rows that all shards share, as contributions; and those rows, made from all contributions.

Gaussian posteriors multiply: precisions add, and so do precision-weighted means (Broderick et al., *Streaming
Variational Bayes*, 2013). A shared row is its prior plus what every shard has added, in these natural parameters.

Shards that learn side by side do not see one another's steps. Where each of them goes most of the way to the same
optimum (a row that all of them see, and of which little is known yet), the sum of their steps goes past it, up to as
many times as there are shards, and many of them diverge. So a shard learns on from the sum of all means, but holds it
no more precise than twice what it would know alone: it takes larger steps, as if its peers had seen what it sees, and
adds them with the smaller precision that it took them with. Then all shards together overshoot twice at most, which
converges, and as precisions add as before, no evidence is lost. In consensus Monte Carlo (Scott et al., 2016) every
shard starts from its share of the prior for the same reason: once what it would know alone, in these terms, where
nothing overshoots and the steps between two merges are larger still.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import mix, normal
from worker.model.batch import SHARED
from worker.model.forgetting import NEVER, TICKS, growth, left
from worker.model.index import MISSING, fill, members, slots_for
from worker.model.ledger import GONE, SPARE_BITS, UNIT, Contribution, Ledger, expect_amounts
from worker.model.prefetch import prefetch
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION, Prior, Rows

# A row that is known as precisely as this learns on, and gets no more precise: so the sums of 500 shards that come this
# far at once are 64-bit integers still. A weight has a standard deviation of 0.0005 by then.
_LARGEST_PRECISION = 2.0**22
_LARGEST_AMOUNT = 2.0**60
_RETRACTED_ROWS = 65_536  # that are copied at once
_AHEAD = 8  # rows for which memory is asked for before they are made
_TRUST = 2.0  # how precise a shard holds a row at most, in what it would know alone; above 2 steps would not converge


class Shared:
    """The shared rows of one shard: what all shards added as far as it knows, and what it added itself.

    The weights of the pairs of fields are shared too: they stand in the ledgers as rows without factors. What serves
    the rows of all shards, and learns nothing, holds one ledger as both: then everything is its own.

    Args:
        prior: of the rows of the table.
        pairs: how many pairs of fields there are.
        pair_precision: of their weights, whose prior mean is 1.
        fades: whether the past is forgotten.
        bounded: whether rows are evicted. Then the table holds those to which this shard has added something, any other
            row is made from the ledgers when it is met, and rows to which nobody holds anything any more are dropped.
    """

    def __init__(
        self, prior: Prior, pairs: int, pair_precision: float, *, fades: bool = False, bounded: bool = False
    ) -> None:
        self.prior = prior
        self.bounded = bounded
        self.spare_bits = SPARE_BITS if fades else 0
        self.pair_precision = pair_precision
        self.pair_keys = np.array([_pair_key(number) for number in range(pairs)], np.uint64)
        self._pair_slots = slots_for(pairs)
        fill(self.pair_keys, pairs, self._pair_slots)
        self.merged = Ledger(FACTORS + prior.factors, bounded=bounded)
        self.own = Ledger(FACTORS + prior.factors, bounded=bounded)
        self._retracted: list[Contribution] = []  # since the last contribution: what was taken back of both

    @property
    def nbytes(self) -> int:
        """Bytes held, and set aside for what was added to rows that go."""
        return self.merged.nbytes + self.own.nbytes + len(self.own) * self.own.going_bytes

    @property
    def tick(self) -> int:
        """As of which tick the values count that are made from the ledger; `NEVER` before anything was added."""
        return int(NEVER) if self.merged.tick is None else self.merged.tick

    def contribute(
        self,
        rows: Rows,
        pair_means: NDArray[np.float32],
        pair_precisions: NDArray[np.float32],
        now: int = 0,
        counts: int = 0,
    ) -> Contribution:
        """Tell what learning has added since the values were last made from the ledger, and note it there.

        Args:
            rows: the shared rows that were touched, as they are now.
            pair_means: [pairs] as they are now.
            pair_precisions: [pairs] as they are now.
            now: the tick of the pairs' values, and the latest of the rows'.
            counts: as of which tick what was learned counts.
        """
        # Not against the sums, but against what they were rounded to: what all shards see of them would otherwise be
        # taken for learned, by each of them.
        tick, prior, scale, spare = max(now, self.tick), self.prior, growth(counts) / UNIT, self.spare_bits
        amounts = _added(
            rows.keys, rows.parameters, _ticks(rows.as_of, len(rows)), self.values(rows.keys), self.tick, tick,
            np.uint64(prior.seed), prior.init_deviation, 0.0, prior.weight_precision, prior.factor_precision,
            scale, spare,
        )  # fmt: skip
        pairs = _added(
            self.pair_keys, _as_rows(pair_means, pair_precisions, amounts), _ticks(None, len(self.pair_keys)),
            _as_rows(*self.pairs(), amounts), self.tick, tick,
            np.uint64(0), 0.0, 1.0, self.pair_precision, 0.0,
            scale, spare,
        )  # fmt: skip
        moved = np.flatnonzero(pairs.any(axis=1))
        back = self._take_back(counts)
        contribution = Contribution(
            keys=np.concatenate([rows.keys, self.pair_keys[moved]]),
            seen=np.concatenate([rows.seen, np.full(len(moved), NEVER)]),
            amounts=np.concatenate([amounts, pairs[moved]]),
            tick=counts,
        )
        if back is not None:
            contribution = _joined(contribution, back)
        self.merged.add(contribution)
        self.own.add(contribution)
        return contribution

    def retract(self, keys: NDArray[np.uint64]) -> None:
        """Take back what this shard has added to rows [n], at once here, and with the next contribution everywhere.

        What is taken back ends in as many zero bits as a contribution, so that it adds up in any order too. Where the
        past is forgotten, less than that may remain, and fades away.
        """
        for part in np.array_split(keys, len(keys) // _RETRACTED_ROWS + 1):
            own = self.own.get(part)
            self.withdraw(own, own.amounts >> self.spare_bits << self.spare_bits)

    def withdraw(self, own: Contribution, amounts: NDArray[np.int64]) -> None:
        """Take back amounts [n, 3 + K] of what this shard has added to rows, as `retract` does.

        Args:
            own: what it has added to them, as its ledger has it.
            amounts: with as many zero bits as a contribution.
        """
        some = np.flatnonzero(amounts.any(axis=1))
        taken = replace(own, keys=own.keys[some], seen=own.seen[some], amounts=-amounts[some])
        if len(taken):
            self._retracted.append(taken)
            self.own.add(taken)
            self.merged.add(taken)

    def frozen(self) -> tuple[Contribution, Contribution]:
        """Copy both ledgers, own and merged, row by row the same keys, as they were before anything was retracted."""
        for taken in self._retracted:
            self.own.add(-taken)
            self.merged.add(-taken)
        merged = self.merged.all()
        own = self.own.get(merged.keys)
        for taken in self._retracted:
            self.own.add(taken)
            self.merged.add(taken)
        return own, merged

    def holds(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell to which rows [n] this shard has added something that it could take back; pairs are none."""
        return (self.own.get(keys).amounts >> self.spare_bits).any(axis=1) & ~self.are_pairs(keys)

    def are_pairs(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Tell of keys [n] whether they are those of pairs of fields."""
        return members(keys, self.pair_keys, self._pair_slots)

    def evidence(self, keys: NDArray[np.uint64], now: int) -> NDArray[np.float32]:
        """Tell how much precision this shard has added to rows [n], in units of their prior's, as of a tick."""
        unit, prior = UNIT / growth(self.tick), self.prior
        share = left(now - self.tick) if NEVER not in (now, self.tick) else 1.0
        own = self._own(keys)[:, WEIGHT_PRECISION : FACTOR_PRECISION + 1] * unit
        evidence = share * (own[:, 0] / prior.weight_precision + own[:, 1] / prior.factor_precision)
        return np.maximum(evidence, 0.0).astype(np.float32)

    def _take_back(self, counts: int) -> Contribution | None:
        """Give all that was retracted as of a tick, for the next contribution; the ledgers get it with that.

        So they add up the same numbers, at the same time, as whoever reads the contribution.
        """
        keys, amounts = [], []
        for taken in self._retracted:
            self.own.add(-taken)
            self.merged.add(-taken)
            late = counts // TICKS - taken.tick // TICKS
            keys.append(taken.keys)
            amounts.append(taken.amounts >> min(late, GONE) if late >= 0 else taken.amounts << -late)
        self._retracted.clear()
        if not keys:
            return None
        all_ = np.concatenate(keys)
        return Contribution(keys=all_, seen=np.full(len(all_), NEVER), amounts=np.concatenate(amounts), tick=counts)

    def rows(self, keys: NDArray[np.uint64]) -> Rows:
        """Make rows from the ledger: their prior, and all that was added. Keys of pairs are left out."""
        keys = keys[~self.are_pairs(keys)]
        of_all, of_own = self.merged.rows_of(keys), self.own.rows_of(keys)
        as_of = np.full(len(keys), self.tick) if self.spare_bits else None
        # When anybody last added to a row depends, where rows are dropped, on the order in which shards are added up.
        seen = self.own.times(of_own) if self.bounded else self.merged.times(of_all)
        return Rows(keys=keys, seen=seen, parameters=self._made(keys, of_all, of_own), as_of=as_of)

    def pairs(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Make the pairs' weights [pairs] and their precisions [pairs] from the ledgers."""
        unit = UNIT / growth(self.tick)
        amounts = self.merged.get(self.pair_keys).amounts * unit
        precisions = self.pair_precision + amounts[:, 1]
        means = (self.pair_precision + amounts[:, 0]) / precisions
        trusted = np.minimum(precisions, _TRUST * (self.pair_precision + self._own(self.pair_keys)[:, 1] * unit))
        return means.astype(np.float32), trusted.astype(np.float32)

    def values(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Make parameters [n, 3 + K] from the ledgers."""
        return self._made(keys, self.merged.rows_of(keys), self.own.rows_of(keys))

    def _made(
        self, keys: NDArray[np.uint64], of_all: NDArray[np.int32], of_own: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        merged, own, prior = self.merged, self.own, self.prior
        parameters = np.empty((len(keys), merged.amounts.shape[1]), np.float32)
        _fill(
            keys, of_all, merged.amounts, of_own, own.amounts, self._late,
            UNIT / growth(self.tick), parameters,
            np.uint64(prior.seed), prior.init_deviation, prior.weight_precision, prior.factor_precision,
        )  # fmt: skip
        return parameters

    @property
    def _late(self) -> int:
        """Count the half-lives by which what the shard itself has added is behind the sums."""
        return min(self.tick // TICKS - self.own.tick // TICKS, GONE) if self.own.tick is not None else 0

    def _own(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Give what the shard itself has added, as of the tick of the sums."""
        return self.own.get(keys).amounts >> self._late


def carried(shards: Sequence[Shared], width: int, *, fades: bool) -> Contribution:
    """Give all that some shards have ever added, as one contribution of another shard.

    Where the past is forgotten it is rounded to as many zero bits as every contribution has.
    """
    ledger = Ledger(width)
    for shared in shards:
        ledger.add(shared.own.all())
    all_ = ledger.all()
    half = np.int64(1 << (SPARE_BITS - 1))
    return replace(all_, amounts=(all_.amounts + half) >> SPARE_BITS << SPARE_BITS) if fades else all_


def _joined(one: Contribution, other: Contribution) -> Contribution:
    """Add up contributions as of the same tick, each key once."""
    keys, first, places = np.unique(np.concatenate([one.keys, other.keys]), return_index=True, return_inverse=True)
    amounts = np.zeros((len(keys), one.amounts.shape[1]), np.int64)
    np.add.at(amounts, places, np.concatenate([one.amounts, other.amounts]))
    return replace(one, keys=keys, seen=np.concatenate([one.seen, other.seen])[first], amounts=amounts)


def _pair_key(number: int) -> np.uint64:
    return np.uint64(mix(np.uint64(number + 1)) | SHARED)


def _as_rows(
    means: NDArray[np.float32], precisions: NDArray[np.float32], like: NDArray[np.int64]
) -> NDArray[np.float32]:
    rows = np.zeros((len(means), like.shape[1]), np.float32)
    rows[:, WEIGHT], rows[:, WEIGHT_PRECISION] = means, precisions
    return rows


def _ticks(as_of: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    return np.full(n, NEVER) if as_of is None else as_of


@njit(cache=True, nogil=True)
def _added(
    keys, parameters, as_of, before, tick_before, tick, seed, deviation, weight, weight_precision, factor_precision,
    scale, spare,
):  # fmt: skip
    """Give the natural parameters less those before, both faded up to a tick, scaled, with so many zero bits."""
    amounts = np.empty(parameters.shape, np.int64)
    scale = scale / np.float64(np.int64(1) << spare)
    share_before = left(tick - tick_before) if tick_before != NEVER else 1.0
    for i in range(len(keys)):
        share = left(tick - as_of[i]) if as_of[i] != NEVER else 1.0
        of_prior = share - share_before
        new, old = _known(parameters[i, 1]) * share, _known(before[i, 1]) * share_before
        mean = np.float64(parameters[i, 0]) * new - np.float64(before[i, 0]) * old
        amounts[i, 0] = units_of((mean - weight * weight_precision * of_prior) * scale, spare)
        amounts[i, 1] = units_of((new - old - weight_precision * of_prior) * scale, spare)
        new, old = _known(parameters[i, 2]) * share, _known(before[i, 2]) * share_before
        amounts[i, 2] = units_of((new - old - factor_precision * of_prior) * scale, spare)
        for k in range(parameters.shape[1] - 3):
            mean = np.float64(parameters[i, 3 + k]) * new - np.float64(before[i, 3 + k]) * old
            if of_prior != 0.0:
                start = np.float64(np.float32(deviation * normal(keys[i], seed, k)))
                mean -= start * factor_precision * of_prior
            amounts[i, 3 + k] = units_of(mean * scale, spare)
    return amounts


@njit(cache=True, nogil=True)
def _known(precision):
    return min(np.float64(precision), _LARGEST_PRECISION)


@njit(cache=True, nogil=True)
def units_of(value: float, spare: int) -> np.int64:
    """Give an amount in whole units, which `value` is in units of 2^spare of: so many zero bits, and no overflow."""
    largest = _LARGEST_AMOUNT / np.float64(np.int64(1) << spare)
    return np.int64(min(max(np.rint(value), -largest), largest)) << spare


@njit(cache=True, nogil=True)
def _fill(
    keys, of_all, amounts, of_own, own_amounts, late, unit, parameters,
    seed, deviation, weight_precision, factor_precision,
):  # fmt: skip
    zero, row_bytes = np.int64(0), 8 * amounts.shape[1]
    amounts_at, own_at = amounts.ctypes.data, own_amounts.ctypes.data
    for i in range(len(keys)):
        if i + _AHEAD < len(keys):
            expect_amounts(amounts_at, np.int64(of_all[i + _AHEAD]), row_bytes)
            if of_own[i + _AHEAD] != MISSING:
                prefetch(own_at + np.int64(of_own[i + _AHEAD]) * row_bytes)
        row, own = of_all[i], of_own[i]
        there = row != MISSING
        weight_own = own_amounts[own, 1] >> late if own != MISSING else zero
        factor_own = own_amounts[own, 2] >> late if own != MISSING else zero
        weight_now = weight_precision + (amounts[row, 1] if there else zero) * unit
        factor_now = factor_precision + (amounts[row, 2] if there else zero) * unit
        parameters[i, 0] = np.float32((amounts[row, 0] if there else zero) * unit / weight_now)
        parameters[i, 1] = np.float32(min(weight_now, _TRUST * (weight_precision + weight_own * unit)))
        parameters[i, 2] = np.float32(min(factor_now, _TRUST * (factor_precision + factor_own * unit)))
        for k in range(parameters.shape[1] - 3):
            before = np.float64(np.float32(deviation * normal(keys[i], seed, k))) * factor_precision
            parameters[i, 3 + k] = np.float32((before + (amounts[row, 3 + k] if there else zero) * unit) / factor_now)
