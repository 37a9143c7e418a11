"""The Gaussian field-weighted factorization machine.

Over the fields of an event, the bias among them, with the entries (row a, multiplier x) of field i summed to
e_i = sum_a x_a v_a, the model scores

    f = sum_a x_a w_a + sum_{i<j} r_ij <e_i, e_j>.

Every parameter has a Gaussian posterior: a mean and a precision (one precision for all the factors of a row). An event
with label y, probability p = sigmoid(f), g = p - y, h = p (1 - p) and d = df/dparameter moves each by assumed-density
filtering with a diagonal Gaussian:

    variance = sum d^2 / precision,  step = g / (1 + h variance),
    mean -= step d / precision,  precision += h d^2 (its mean over k for the factors),

where |step| variance, by which f moves to first order, is |f| + 16 at most.

After Graepel et al., *Web-Scale Bayesian Click-Through Rate Prediction* (adPredictor, 2010), and Pan et al.,
*Field-weighted Factorization Machines* (2018). Squared loss is the same with p = f, g = f - y, h = 1 / noise variance;
a sample weight multiplies g and h. Where labels may be flipped, or events of one label were left out, both are those of
`worker.model.labels`. Without factors (K = 0) it is Bayesian online linear or logistic regression.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import mix
from worker.model.batch import SHARED, Batch, Entries
from worker.model.bounds import UNBOUNDED, Bounds, Room
from worker.model.filtering import FEW_OF, LEAST_FIELDS, filter_events
from worker.model.forgetting import NEVER, Clock, left
from worker.model.labels import AS_DRAWN, Labelling
from worker.model.learner import Scores
from worker.model.ledger import Contribution, Ledger
from worker.model.loosening import loosen_local, loosen_pairs, loosen_shared
from worker.model.pairs import NO_EVENTS, NO_EVIDENCE, Pairs
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT_PRECISION, Prior, Rows
from worker.model.shared import Shared
from worker.model.table import Table


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the learner is, beyond the prior of its rows."""

    prior: Prior
    pair_precision: float = 1.0
    logistic: bool = True
    noise_variance: float = 1.0  # of the squared loss
    labelling: Labelling = AS_DRAWN  # of the logistic loss: what happened to labels before they are learned
    merge: bool = False  # with the other shards: what is learned of shared rows is kept as contributions too
    half_life_ms: int = 0  # of what is learned, in event time; 0 where nothing is forgotten
    bounds: Bounds = UNBOUNDED  # how large the model may become


class Gaussian:
    """A Gaussian field-weighted factorization machine over a growing table of rows.

    Args:
        settings: what it is.
        fields: of an event, the bias among them.
        pairs: of fields that take part; all unless given.
        reserve: make room for as many rows as there may be at once; who learns nothing has fewer for long.
    """

    def __init__(self, settings: Settings, fields: int, pairs: Pairs | None = None, *, reserve: bool = True) -> None:
        self.settings = settings
        self.pairs = Pairs(fields) if pairs is None else pairs
        fades = settings.half_life_ms > 0
        limit = settings.bounds.limit(FACTORS + settings.prior.factors, fades=fades) if reserve else None
        self.table = Table(settings.prior, fades=fades, limit=limit)
        self.pair_means = np.ones((fields, fields), np.float32)  # the upper triangle is used
        self.pair_precisions = np.full((fields, fields), settings.pair_precision, np.float32)
        self.clock = Clock(settings.half_life_ms)
        self.shared: Shared | None = None
        if settings.merge:
            self.shared = Shared(
                settings.prior, len(self.pairs.left), settings.pair_precision,
                fades=self.clock.runs, bounded=bool(settings.bounds),
            )  # fmt: skip
        self.unstable = 0  # events scored but not learned, because a step would have left single precision
        self.room = Room(
            self.table, settings.bounds, self._information, self._leave,
            self._ledgers if self.shared is not None else None,
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes of the table, of what merging keeps of shared rows beside it, and of the counters of rare values."""
        return self.table.nbytes + (self.shared.nbytes if self.shared is not None else 0) + self.room.counter_bytes

    def predict(
        self, entries: Entries, parameters: NDArray[np.float32] | None = None, pairs: Pairs | None = None
    ) -> Scores:
        """Score events, changing nothing; a value never seen counts with its prior.

        Args:
            entries: the events.
            parameters: [entries, 3 + K] of each entry's row, where it is not the table's that count.
            pairs: of fields that take part, where it is not its own that count.
        """
        if parameters is None:
            entries = self.room.pooled(entries)
            parameters = self.gather(entries.keys)
        n = len(entries)
        rows = np.arange(len(entries.keys), dtype=np.int32)
        return self._run(entries, rows, parameters, _NO_TIMES, n, learn=False, pairs=pairs)

    def learn(self, batch: Batch) -> Scores:
        """Predict each event, then learn from it, one after the other. Gives the predictions made before learning."""
        batch = self.room.opened(batch)
        keys = batch.entries.keys
        rows = np.empty(len(keys), np.int32)
        parts = [Scores(predictions=_NO_NUMBERS, variances=_NO_NUMBERS)]
        with self.pairs.learning():
            for events, first_new in self.room.portions(batch, rows):
                if self.shared is not None:
                    self._recall(self.shared, first_new)
                    if self.clock.runs:
                        starts, fields = batch.entries.starts, batch.entries.fields
                        of_part = slice(starts[events.start * fields], starts[events.stop * fields])
                        self._freshen(self.shared, keys[of_part], rows[of_part])
                parameters, seen = self.table.parameters, self.table.seen
                for piece in self.pairs.pieces(events):
                    some = batch[piece]
                    parts.append(self._run(some.entries, rows, parameters, seen, len(some), learn=True, of=some))
        return Scores(
            predictions=np.concatenate([part.predictions for part in parts]),
            variances=np.concatenate([part.variances for part in parts]),
        )

    def gather(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Copy the parameters of each key as they count now, [len(keys), 3 + K]."""
        parameters = self.table.gather(keys, self.clock.tick)
        if self.shared is not None:
            of_all = (keys & SHARED) != 0
            if not self.clock.runs:
                if not self.shared.bounded:
                    return parameters  # every row of the ledger is in the table
                of_all &= ~self.table.has(keys)
            parameters[of_all] = self.shared.values(keys[of_all])
        return parameters

    def _recall(self, shared: Shared, first: int) -> None:
        """Make the shared rows from the ledger that were added to a bounded table, from number `first` on."""
        if not shared.bounded or first == len(self.table):
            return
        rows = np.flatnonzero(self.table.keys[first : len(self.table)] & SHARED) + first
        made = shared.rows(self.table.keys[rows])
        self.table.parameters[rows], self.table.seen[rows] = made.parameters, made.seen
        if made.as_of is not None:
            self.table.as_of[rows] = made.as_of

    def _freshen(self, shared: Shared, keys: NDArray[np.uint64], rows: NDArray[np.int32]) -> None:
        """Make shared rows anew that were made from the ledger as of an earlier tick, before they are learned."""
        stale = np.flatnonzero(((keys & SHARED) != 0) & (self.table.as_of[rows] < shared.tick))
        self.table.parameters[rows[stale]] = shared.values(keys[stale])
        self.table.as_of[rows[stale]] = shared.tick

    def boundary(self, moved: tuple[Rows, Rows] | None = None) -> tuple[Rows, Contribution | None]:
        """Tell what was learned since the table was last settled: local rows, and what was added to shared ones."""
        local, of_all = self.table.moved(apart=self.shared is not None) if moved is None else moved
        if self.shared is None:
            return local, None
        upper, halvings = self._upper(), self.shared.own.halvings
        contribution = self.shared.contribute(
            of_all, self.pair_means[upper], self.pair_precisions[upper],
            now=self.clock.tick, counts=self.clock.learned_tick,
        )  # fmt: skip
        if self.shared.bounded:
            # What a bounded table holds of shared rows has to follow from the ledger: a restore knows nothing else.
            keys = self.table.keys[: len(self.table)]
            # Among those of the contribution are rows that were loosened and not touched.
            keys = contribution.keys if self.shared.own.halvings == halvings else keys[(keys & SHARED) != 0]
            self.table.remove(keys[~self.shared.holds(keys)])
            local, _ = self.table.moved(apart=True)  # rows may have moved, see `Table.drop`
        return local, contribution

    def take_over(self, contribution: Contribution) -> tuple[Rows, Contribution]:
        """Begin with rows that were put into the table, and with what others have added to shared ones."""
        if self.shared is None:
            raise ValueError("only shards that are merged take over contributions")
        self.shared.own.add(contribution)
        self.shared.merged.add(contribution)
        local = self.table.touched()
        if self.shared.bounded:
            self.recall()
        return local, contribution

    def renew(self, keys: NDArray[np.uint64]) -> None:
        """Make these shared rows, and all pairs, anew from what the shards have added to them.

        Where the model is bounded, only rows that are in the table: others are made when they are met.
        """
        if self.shared is not None:
            if self.shared.bounded:
                keys = keys[self.table.has(keys)]
            self.table.put(self.shared.rows(keys))
            upper = self._upper()
            self.pair_means[upper], self.pair_precisions[upper] = self.shared.pairs()

    def recall(self) -> None:
        """Make all shared rows that the table is to hold, and all pairs, from what the shards have added."""
        if self.shared is None:
            return
        keys = self.shared.merged.all().keys
        if self.shared.bounded:
            keys = self.shared.own.all().keys
            keys = keys[self.shared.holds(keys)]
            self.table.touch(keys)
        self.renew(keys)
        self.room.note()

    def loosen(self, limit: float) -> None:
        """Make all that this shard has learned less sure; see `worker.model.loosening`."""
        loosen_local(self.table, self.settings.prior, self.clock.tick, limit)
        upper = self._upper()
        means, precisions = self.pair_means[upper], self.pair_precisions[upper]
        if self.shared is None:
            self.pair_precisions[upper] = loosen_pairs(precisions, self.settings.pair_precision, limit)
            return
        self.pair_means[upper], self.pair_precisions[upper] = loosen_shared(
            self.shared, self.table, (means, precisions), self._pairs_as_of(), limit
        )

    def digest(self) -> int:
        """Settle the table, and digest all that this shard has learned; what its peers added is not in it."""
        self.room.note()
        state = np.uint64(self.table.settle())
        if self.clock.runs:
            state = np.uint64(_fold_words(state, self.clock.words.view(np.uint64), np.uint64(0)))
        if self.shared is not None:
            return int(_fold_words(state, np.array([self.shared.own.digest], np.uint64), np.uint64(self.unstable)))
        upper = self._upper()
        words = np.stack([self.pair_means[upper], self.pair_precisions[upper]], 1).view(np.uint32)
        return int(_fold_words(state, words.ravel(), np.uint64(self.unstable)))

    def _ledgers(self) -> tuple[Ledger, Ledger]:
        if self.shared is None:
            raise ValueError("without merging there are no ledgers")
        return self.shared.own, self.shared.merged

    def _information(self) -> NDArray[np.float32]:
        """Tell how much more precise each row is than its prior, in units of that, as far as this shard made it so."""
        prior, n = self.settings.prior, len(self.table)
        information: NDArray[np.float32] = _beyond(
            n, self.table.parameters, self.table.as_of, self.clock.tick, prior.weight_precision, prior.factor_precision
        )
        if self.shared is not None:
            of_all = np.flatnonzero(self.table.keys[:n] & SHARED)
            for some in np.array_split(of_all, len(of_all) // _CHUNK_ROWS + 1):
                information[some] = self.shared.evidence(self.table.keys[some], self.clock.tick)
            touched = self.table.touched_rows()
            touched = touched[(self.table.keys[touched] & SHARED) != 0]
            for some in np.array_split(touched, len(touched) // _CHUNK_ROWS + 1):
                before = self.shared.values(self.table.keys[some])
                information[some] += _gained(self.table.parameters[some], before, prior)
        return information

    def _leave(self, rows: NDArray[np.int32]) -> None:
        """Take back what this shard has added to rows that are about to go."""
        if self.shared is not None:
            keys = self.table.keys[rows]
            self.shared.retract(keys[(keys & SHARED) != 0])

    def _pairs_as_of(self) -> int:
        return self.clock.tick if self.shared is None else max(self.clock.tick, self.shared.tick)

    def _upper(self) -> tuple[NDArray[np.intp], ...]:
        return np.triu_indices(len(self.pair_means), 1)

    def _run(
        self,
        entries: Entries,
        rows: NDArray[np.int32],
        parameters: NDArray[np.float32],
        seen: NDArray[np.int64],
        n: int,
        *,
        learn: bool,
        of: Batch | None = None,
        pairs: Pairs | None = None,
    ) -> Scores:
        prior = self.settings.prior
        predictions, variances = np.empty(n, np.float32), np.empty(n, np.float32)
        labels, weights, times = (of.labels, of.weights, of.times) if of else (_NO_NUMBERS, _NO_NUMBERS, _NO_TIMES)
        pairs = self.pairs if pairs is None else pairs
        sampled, evidence = (pairs.sampled(n), pairs.evidence()) if learn else (NO_EVENTS, NO_EVIDENCE)
        self.unstable += filter_events(
            entries.fields, rows, entries.values, entries.starts, labels, weights, times, learn,
            parameters, seen, self.pair_means, self.pair_precisions,
            *pairs.lists(), LEAST_FIELDS, FEW_OF, sampled, evidence,
            self.table.keys, self.table.as_of, self.clock.words, self.clock.tick_ms, self._pairs_as_of(),
            np.uint64(prior.seed), prior.init_deviation, prior.weight_precision, prior.factor_precision,
            self.settings.pair_precision, self.settings.logistic,
            np.float32(1.0 / self.settings.noise_variance), self.settings.labelling.flips,
            self.settings.labelling.kept, predictions, variances,
        )  # fmt: skip
        if learn:
            pairs.note(n)
        return Scores(predictions=predictions, variances=variances)


def _gained(after: NDArray[np.float32], before: NDArray[np.float32], prior: Prior) -> NDArray[np.float32]:
    """Tell how much precision rows [n, 3 + K] have gained, in units of their prior's."""
    gained = (after[:, : FACTOR_PRECISION + 1] - before[:, : FACTOR_PRECISION + 1]).astype(np.float64)
    weights, factors = gained[:, WEIGHT_PRECISION], gained[:, FACTOR_PRECISION]
    both = weights / prior.weight_precision + factors / prior.factor_precision
    return np.asarray(np.maximum(both, 0.0).astype(np.float32))


_CHUNK_ROWS = 65_536  # whose entries of the ledgers are copied at once
_NO_TIMES = np.empty(0, np.int64)
_NO_NUMBERS = np.empty(0, np.float32)


@njit(cache=True, nogil=True)
def _fold_words(state, words, last):
    for word in words:
        state = mix(state ^ np.uint64(word))
    return mix(state ^ last)


@njit(cache=True, nogil=True)
def _beyond(n, parameters, as_of, tick, weight_precision, factor_precision):
    """Give what is left by a tick of the precisions of n rows beyond their prior, in units of the prior's."""
    beyond = np.empty(n, np.float32)
    for row in range(n):
        share = left(tick - as_of[row]) if len(as_of) and as_of[row] != NEVER else 1.0
        weight = np.float64(parameters[row, WEIGHT_PRECISION]) / weight_precision - 1.0
        factor = np.float64(parameters[row, FACTOR_PRECISION]) / factor_precision - 1.0
        beyond[row] = np.float32(max(0.0, share * (weight + factor)))
    return beyond
