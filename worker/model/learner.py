"""What every kind of learner does: the contract by which shards, snapshots and followers use it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.model.batch import Batch, Entries
from worker.model.bounds import Room
from worker.model.forgetting import Clock
from worker.model.ledger import Contribution
from worker.model.pairs import Pairs
from worker.model.rows import Rows
from worker.model.shared import Shared
from worker.model.table import Table


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Predictions for n events."""

    predictions: NDArray[np.float32]  # [n] probability (logistic loss) or value (squared loss)
    variances: NDArray[np.float32]  # [n] posterior variance of f; NaN of a kind that does not know it


class Learner(Protocol):
    """A model of one shard: a table of rows, and whatever its kind keeps beside them.

    It predicts an event before it learns it, learns one event after the other, and how events are cut into batches
    changes no bit. An event of weight 0 is predicted and not learned; one whose step would leave single precision is
    predicted, counted as `unstable`, and not learned: no parameter ever becomes infinite or not a number.
    """

    table: Table
    clock: Clock  # which does not run where the kind does not forget
    shared: Shared | None  # what is kept of rows that all shards add to; None where shards are not merged
    pair_means: NDArray[np.float32]  # [F, F] weights of pairs of fields; [0, 0] of a kind that has none
    pair_precisions: NDArray[np.float32]  # the same size
    pairs: Pairs  # of fields that take part; of one field, so none, where the kind knows no pairs
    unstable: int  # events scored and not learned
    room: Room  # which lets events into the table

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...

    def predict(
        self, entries: Entries, parameters: NDArray[np.float32] | None = None, pairs: Pairs | None = None
    ) -> Scores:
        """Score events, changing nothing; a value never seen counts with what its row would begin with.

        Args:
            entries: the events.
            parameters: [entries, columns] of each entry's row, where it is not the table's that count.
            pairs: of fields that take part, where it is not its own that count.
        """
        ...

    def learn(self, batch: Batch) -> Scores:
        """Predict each event, then learn from it. Gives the predictions made before learning."""
        ...

    def gather(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Copy the parameters of each key as they count now, [len(keys), columns]."""
        ...

    def boundary(self, moved: tuple[Rows, Rows] | None = None) -> tuple[Rows, Contribution | None]:
        """Tell what was learned since the table was last settled: local rows, and what was added to shared ones.

        None where shards are not merged: then every row is local.

        Args:
            moved: what `table.moved()` gives, where it is known already.
        """
        ...

    def take_over(self, contribution: Contribution) -> tuple[Rows, Contribution]:
        """Begin with rows that were put into the table, and with what others have added to shared ones.

        Raises:
            ValueError: shards are not merged.
        """
        ...

    def renew(self, keys: NDArray[np.uint64]) -> None:
        """Make these shared rows, and all pairs, anew from what the shards have added; does nothing without any.

        Where the model is bounded, only rows that are in the table: others are made when they are met.
        """
        ...

    def recall(self) -> None:
        """Make all shared rows that the table is to hold, and all pairs, from what the shards have added."""
        ...

    def loosen(self, limit: float) -> None:
        """Make all that this shard has learned less sure, and say the same.

        Args:
            limit: how much more precise than its prior a row stays at most, in units of that.

        Raises:
            ValueError: of a kind that does not know how sure it is.
        """
        ...

    def digest(self) -> int:
        """Settle the table, and digest all that this shard has learned."""
        ...
