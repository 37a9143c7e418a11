"""The least that a model has to beat: each event is given the share of positive labels so far."""

import numpy as np
from numpy.typing import NDArray

from worker.backtest.deferred import Deferred, Measuring
from worker.backtest.timing import Timing
from worker.learning import Learning
from worker.model.batch import Batch
from worker.snapshot.state import ShardState

_FIRST_WEIGHT = (
    1.0  # of an event that is half positive (of label 0, of squared loss): what is said before the first one
)


class BaseRate(Deferred):
    """Predicts the mean of the labels that are known, each shard by itself; arguments as those of `Deferred`."""

    def __init__(self, learning: Learning, measuring: Measuring, timing: Timing, edges: NDArray[np.int64]) -> None:
        super().__init__(learning, measuring, timing, edges)
        self._weight, self._label = _FIRST_WEIGHT, _FIRST_WEIGHT / 2 if self._logistic else 0.0

    def _learn(self, state: ShardState, batch: Batch) -> None:
        """Predict each event by those before it."""
        weights = self._intake.weigh(batch).astype(np.float64)
        weight = np.cumsum(np.concatenate([[self._weight], weights]))
        label = np.cumsum(np.concatenate([[self._label], weights * batch.labels]))
        self._weight, self._label = float(weight[-1]), float(label[-1])
        self._judge(state, batch, (label[:-1] / weight[:-1]).astype(np.float32), _unknown(len(batch)))

    def _predict(self, state: ShardState, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # noqa: ARG002
        """Predict them all alike."""
        return np.full(len(batch), self._label / self._weight, np.float32), _unknown(len(batch))

    def _adopt(self, state: ShardState, batch: Batch) -> None:  # noqa: ARG002 - the shard's model learns nothing
        """Count labels."""
        weights = self._intake.weigh(batch).astype(np.float64)
        self._weight += float(weights.sum())
        self._label += float((weights * batch.labels).sum())


def _unknown(events: int) -> NDArray[np.float32]:
    return np.full(events, np.nan, np.float32)
