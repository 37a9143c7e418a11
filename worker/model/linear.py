"""What the textbook learners have in common: a linear model over the entries of an event.

With the entries (row a, multiplier x) of all fields of an event, the bias among them, it scores

    f = sum_a x_a w_a,    p = 1 / (1 + e^-f) (logistic loss) or f (squared loss),

and the gradient of the loss to a weight is g x_a with g = p - y; where labels may be flipped, or events were left out,
with that of `worker.model.labels`. Every weight begins at zero. How far a gradient moves a weight is all that the kinds
differ in.

They keep no precision. So they have no variance to tell, and what shards learn apart does not add up: of natural
parameters that do (see `worker.model.shared`) they have none. Every row belongs to one shard.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import mix, sigmoid
from worker.model.batch import Batch, Entries
from worker.model.bounds import Bounds, Room
from worker.model.forgetting import Clock
from worker.model.learner import Scores
from worker.model.ledger import Contribution
from worker.model.pairs import Pairs
from worker.model.rows import Rows
from worker.model.shared import Shared
from worker.model.table import Table

# The largest score that is learned from, and the furthest that one event moves a weight: as the Gaussian has it.
LARGEST = np.float32(1e6)


@dataclass(frozen=True, kw_only=True)
class Zeros:
    """Rows that begin with zeros."""

    columns: tuple[str, ...]  # the weight first
    factors: int = 0
    seed: int = 0
    init_deviation: float = 0.0

    @property
    def start(self) -> tuple[float, ...]:
        """Give the numbers that a row begins with."""
        return (0.0,) * len(self.columns)


class Linear(ABC):
    """A linear model over a growing table of rows, the weight in the first column."""

    def __init__(self, columns: tuple[str, ...], *, logistic: bool, bounds: Bounds) -> None:
        self.logistic = logistic
        self.table = Table(Zeros(columns=columns), limit=bounds.limit(len(columns), fades=False))
        self.room = Room(self.table, bounds, self._information)
        self.clock = Clock(0)
        self.shared: Shared | None = None
        self.pair_means = np.empty((0, 0), np.float32)
        self.pair_precisions = np.empty((0, 0), np.float32)
        self.pairs = Pairs(1)
        self.unstable = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the table, and of the counters of rare values."""
        return self.table.nbytes + self.room.counter_bytes

    def predict(
        self,
        entries: Entries,
        parameters: NDArray[np.float32] | None = None,
        pairs: Pairs | None = None,  # noqa: ARG002 - it knows none
    ) -> Scores:
        """Score events, changing nothing; a value never seen counts as zero.

        Args:
            entries: the events.
            parameters: [entries, columns] of each entry's row, where it is not the table's that count.
            pairs: of fields that take part: it knows none.
        """
        if parameters is None:
            entries = self.room.pooled(entries)
            parameters = self.gather(entries.keys)
        predictions = np.empty(len(entries), np.float32)
        rows = np.arange(len(entries.keys), dtype=np.int32)
        _predict(entries.fields, rows, entries.values, entries.starts, parameters, self.logistic, predictions)
        return _scores(predictions)

    def learn(self, batch: Batch) -> Scores:
        """Predict each event, then learn from it, one after the other. Gives the predictions made before learning."""
        batch = self.room.opened(batch)
        rows = np.empty(len(batch.entries.keys), np.int32)
        predictions = np.empty(len(batch), np.float32)
        for events, _ in self.room.portions(batch, rows):
            self.unstable += self._pass(batch[events], rows, predictions[events])
        return _scores(predictions)

    def gather(self, keys: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Copy the parameters of each key, [len(keys), columns]."""
        return self.table.gather(keys)

    def boundary(self, moved: tuple[Rows, Rows] | None = None) -> tuple[Rows, Contribution | None]:
        """Tell what was learned since the table was last settled: rows; nothing is shared."""
        return self.table.touched() if moved is None else moved[0], None

    def take_over(self, contribution: Contribution) -> tuple[Rows, Contribution]:
        """Refuse: there is nothing that shards could add up.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"only shards that are merged take over contributions, here {len(contribution)} rows")

    def renew(self, keys: NDArray[np.uint64]) -> None:  # noqa: B027 - no kind has anything to do
        """Do nothing: no row is made from what others have added."""

    def recall(self) -> None:  # noqa: B027 - as above
        """Do nothing: no row is made from what others have added."""

    def loosen(self, limit: float) -> None:
        """Refuse: it does not know how sure it is.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"only the Gaussian can be loosened, here to {limit}")

    def digest(self) -> int:
        """Settle the table, and digest all that this shard has learned."""
        return int(mix(np.uint64(self.table.settle()) ^ np.uint64(self.unstable)))

    @abstractmethod
    def _information(self) -> NDArray[np.float32]:
        """Give what each row says beyond what it began with, [rows]."""

    @abstractmethod
    def _pass(self, batch: Batch, rows: NDArray[np.int32], predictions: NDArray[np.float32]) -> int:
        """Predict and learn the events of a batch whose entries are in these rows; gives how many were unstable."""


def _scores(predictions: NDArray[np.float32]) -> Scores:
    return Scores(predictions=predictions, variances=np.full(len(predictions), np.nan, np.float32))


@njit(cache=True, nogil=True)
def score(
    rows: NDArray[np.int32], values: NDArray[np.float32], lo: int, hi: int, parameters: NDArray[np.float32]
) -> np.float32:
    """Give f of the event whose entries are number lo to hi."""
    f = np.float32(0)
    for a in range(lo, hi):
        f += values[a] * parameters[rows[a], 0]
    return f


@njit(cache=True, nogil=True)
def link(f: np.float32, logistic: bool) -> np.float32:
    """Give the prediction of a score."""
    return np.float32(sigmoid(np.float64(f))) if logistic else f


@njit(cache=True, nogil=True)
def _predict(F, rows, values, starts, parameters, logistic, predictions):
    for n in range(len(predictions)):
        predictions[n] = link(score(rows, values, starts[n * F], starts[(n + 1) * F], parameters), logistic)
