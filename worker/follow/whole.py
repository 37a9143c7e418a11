"""The rows that all shards share, as a follower serves them: what every shard has added, summed up."""

import threading
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from worker.events.features import thresholds_of
from worker.follow.explanation import Behind
from worker.follow.moved import mark_of, shard_of
from worker.learning import Learning
from worker.model.batch import SHARED, Entries
from worker.model.learner import Learner, Scores
from worker.model.ledger import Contribution, Ledger
from worker.model.sampling import sample
from worker.snapshot.assembler import Version
from worker.snapshot.records import Kind, decode_contribution
from worker.snapshot.state import ShardState


class Whole:
    """One model out of all shards. Its lock guards it, and the shards whose versions it sums up."""

    def __init__(self, learning: Learning) -> None:
        self.lock = threading.Lock()
        self._thresholds = thresholds_of(learning) if learning.admits else None
        self._factors, self._logistic = learning.model.factors, learning.model.loss == "logistic"
        self._model = ShardState.fresh(-1, learning, reserve=False).model
        self._model.table.keep_marks()
        if self._model.shared is not None:
            self._model.shared.own = self._model.shared.merged  # it speaks for all shards

    def add(self, state: ShardState, version: Version) -> None:
        """Take in what a version of a shard adds. The caller holds the lock."""
        if state.model.shared is None:
            return
        added = [decode_contribution(record.value, self._factors) for record in version.of_kind(Kind.CONTRIBUTION)]
        self._note(added)
        mark = mark_of(state.shard, version.manifest.version, exactly=True)
        for contribution in added:
            last = self._was_last(state.shard, contribution)
            self._model.table.mark(contribution.keys[last], mark)

    def replace(
        self, old: ShardState | None, new: ShardState, since: Iterable[tuple[int, NDArray[np.uint64]]] = ()
    ) -> None:
        """Take in all that a shard has ever added, in place of what was known of it. The caller holds the lock.

        Args:
            old: what is replaced.
            new: what was read, from a base on.
            since: versions of it from that base on, each with the keys to which it added.
        """
        if new.model.shared is None:
            return
        own = new.model.shared.own.all()
        changes, moved = [own], np.ones(len(own), np.bool_)
        if old is not None and old.model.shared is not None:
            changes.append(-old.model.shared.own.all())
            moved = (old.model.shared.own.get(own.keys).amounts != own.amounts).any(axis=1)
        self._note(changes)
        keys = own.keys[moved & self._was_last(new.shard, own)]
        self._model.table.mark(keys, mark_of(new.shard, new.first, exactly=False))
        for version, added in since:
            self._model.table.mark(added[np.isin(added, keys)], mark_of(new.shard, version, exactly=True))
        # Of what the shard knew of its peers a follower makes no use.
        new.model.shared.merged = _Nothing(new.model.shared.own.amounts.shape[1], capacity=1)

    def predict(self, local: Learner, entries: Entries) -> Scores:
        """Score entries with a shard's own rows and with the shared ones of all. The caller holds the lock."""
        entries, _ = self._pooled(local, entries)
        return self._speaker(local).predict(entries, self._parameters(local, entries), local.pairs)

    def sample(self, local: Learner, entries: Entries, seed: int) -> NDArray[np.float32]:
        """Score entries with a draw from what is known. The caller holds the lock."""
        entries, _ = self._pooled(local, entries)
        parameters, logistic = self._parameters(local, entries), self._logistic
        return sample(self._speaker(local), entries, parameters, seed, logistic=logistic, pairs=local.pairs)

    def behind(self, local: Learner, entries: Entries, version: int) -> Behind:
        """Copy what the score of one event is made of. The caller holds the lock."""
        entries, rare = self._pooled(local, entries)
        speaker, parameters = self._speaker(local), self._parameters(local, entries)
        tables = (local.table, self._model.table)
        seen, marks = [table.get(entries.keys).seen for table in tables], [t.marks_of(entries.keys) for t in tables]
        shared = (entries.keys & SHARED) != 0
        return Behind(
            version=version,
            entries=entries,
            rare=rare,
            scores=speaker.predict(entries, parameters, local.pairs),
            parameters=parameters,
            seen=np.where(shared, seen[1], seen[0]),
            marks=np.where(shared, marks[1], marks[0]),
            pair_means=speaker.pair_means.copy(),
            pair_precisions=speaker.pair_precisions.copy(),
            pairs=local.pairs.matrix(),
        )

    def _pooled(self, local: Learner, entries: Entries) -> tuple[Entries, NDArray[np.bool_]]:
        """Put rare values in place of those that have no row, where they are held back; tells which."""
        if self._thresholds is None:
            return entries, np.zeros(len(entries.keys), np.bool_)
        of_shard = np.ones(len(entries.keys), np.bool_)
        if self._model.shared is not None:
            of_shard = (entries.keys & SHARED) == 0
        known = np.where(of_shard, local.table.has(entries.keys), self._model.table.has(entries.keys))
        return self._thresholds.pooled(entries, known)

    def _speaker(self, local: Learner) -> Learner:
        """Give whose weights of pairs count; which pairs take part is what the shard of the event says."""
        return local if self._model.shared is None else self._model

    def _parameters(self, local: Learner, entries: Entries) -> NDArray[np.float32]:
        if self._model.shared is None:
            return local.gather(entries.keys)
        parameters = self._model.gather(entries.keys)
        of_shard = (entries.keys & SHARED) == 0
        parameters[of_shard] = local.gather(entries.keys[of_shard])
        return parameters

    def _was_last(self, shard: int, contribution: Contribution) -> NDArray[np.bool_]:
        """Tell of which rows a shard was the last to learn, after it was taken in.

        In which order versions of several shards are read says nothing: the one that knows the latest event counts.
        """
        if self._model.shared is None:
            return np.zeros(len(contribution), np.bool_)
        latest = contribution.seen >= self._model.shared.merged.get(contribution.keys).seen
        return np.asarray(latest | (shard_of(self._model.table.marks_of(contribution.keys)) == shard))

    def _note(self, contributions: list[Contribution]) -> None:
        if self._model.shared is None or not contributions:
            return
        shared, table = self._model.shared, self._model.table
        for contribution in contributions:
            shared.merged.add(contribution)
        keys = np.unique(np.concatenate([part.keys for part in contributions]))
        if shared.bounded:  # rows that no shard knows anything of any more are as good as never seen
            there = shared.merged.has(keys) & ~shared.are_pairs(keys)
            table.remove(keys[~there])
            table.touch(keys[there])
        self._model.renew(keys)
        table.settle()


class _Nothing(Ledger):
    """A ledger that keeps nothing."""

    def add(self, contribution: Contribution) -> None:
        """Forget what was added."""
