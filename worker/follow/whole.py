"""The rows that all shards share, as a follower serves them: what every shard has added, summed up."""

import threading

import numpy as np

from worker.config import Learning
from worker.model.batch import SHARED, Entries
from worker.model.learner import Learner, Scores
from worker.model.ledger import Contribution, Ledger
from worker.snapshot.assembler import Version
from worker.snapshot.records import Kind, decode_contribution
from worker.snapshot.state import ShardState


class Whole:
    """One model out of all shards. Its lock guards it, and the shards whose versions it sums up."""

    def __init__(self, learning: Learning) -> None:
        self.lock = threading.Lock()
        self._factors = learning.model.factors
        self._model = ShardState.fresh(-1, learning).model
        if self._model.shared is not None:
            self._model.shared.own = self._model.shared.merged  # it speaks for all shards

    def add(self, state: ShardState, version: Version) -> None:
        """Take in what a version of a shard adds. The caller holds the lock."""
        if state.model.shared is not None:
            self._note(
                [decode_contribution(record.value, self._factors) for record in version.of_kind(Kind.CONTRIBUTION)]
            )

    def replace(self, old: ShardState | None, new: ShardState) -> None:
        """Take in all that a shard has ever added, in place of what was known of it. The caller holds the lock."""
        if new.model.shared is None:
            return
        changes = [new.model.shared.own.all()]
        if old is not None and old.model.shared is not None:
            changes.append(-old.model.shared.own.all())
        self._note(changes)
        # Of what the shard knew of its peers a follower makes no use.
        new.model.shared.merged = _Nothing(new.model.shared.own.amounts.shape[1], capacity=1)

    def predict(self, local: Learner, entries: Entries) -> Scores:
        """Score entries with a shard's own rows and with the shared ones of all. The caller holds the lock."""
        if self._model.shared is None:
            return local.predict(entries)
        parameters = self._model.gather(entries.keys)
        of_shard = (entries.keys & SHARED) == 0
        parameters[of_shard] = local.gather(entries.keys[of_shard])
        return self._model.predict(entries, parameters)

    def _note(self, contributions: list[Contribution]) -> None:
        if self._model.shared is None or not contributions:
            return
        for contribution in contributions:
            self._model.shared.merged.add(contribution)
        self._model.renew(np.unique(np.concatenate([part.keys for part in contributions])))
        self._model.table.settle()


class _Nothing(Ledger):
    """A ledger that keeps nothing."""

    def add(self, contribution: Contribution) -> None:
        """Forget what was added."""
