"""Progressive evaluation: how good each prediction was, made before the event was learned.

Everything is a sum, so that any two intervals, shards or runs add up. The sums run in event order and in IEEE basic
operations only: the batch size of a poll does not change a bit of them.
"""

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import log
from worker.model.compiling import hot

BINS = 512
LOGIT_LIMIT = 8.0
_SMALLEST_PROBABILITY = 1e-7
EVENTS, WEIGHT, LOSS, LABEL, PREDICTION, SQUARED_ERROR = range(6)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How n predictions fared, for whoever looks at them next: two logarithms an event are most of what that takes."""

    logits: NDArray[np.float64]  # [n] of the predictions; the predictions themselves for squared loss
    losses: NDArray[np.float64]  # [n] log loss in nats, or half the squared error


@dataclass(kw_only=True)
class Progress:
    """Sums over the events of a shard.

    `sums` [6]: events, weight, weighted loss, label, prediction and squared error. `histogram` [2, BINS]: the weight of
    the negative and of the positive events by predicted logit, from -8 to 8, for the area under the ROC curve.
    """

    logistic: bool
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(6))
    histogram: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, BINS)))

    def add(
        self, predictions: NDArray[np.float32], labels: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> Judged:
        """Take in the predictions [n] that were made before learning from the labels [n]; tell how each fared."""
        judged = Judged(logits=np.empty(len(predictions)), losses=np.empty(len(predictions)))
        _add(predictions, labels, weights, self.logistic, self.sums, self.histogram, judged.logits, judged.losses)
        return judged

    def copy(self) -> "Progress":
        """Copy the sums as they are now."""
        return Progress(logistic=self.logistic, sums=self.sums.copy(), histogram=self.histogram.copy())

    def __sub__(self, before: "Progress") -> "Progress":
        """Give what came since the same shard was so far."""
        return Progress(
            logistic=self.logistic, sums=self.sums - before.sums, histogram=self.histogram - before.histogram
        )

    def __add__(self, other: "Progress") -> "Progress":
        """Add up two shards."""
        return Progress(logistic=self.logistic, sums=self.sums + other.sums, histogram=self.histogram + other.histogram)

    @property
    def events(self) -> int:
        """Events learned so far."""
        return int(self.sums[EVENTS])

    @property
    def loss(self) -> float:
        """Mean progressive loss: log loss in nats, or half the squared error."""
        return float(self.sums[LOSS] / self.sums[WEIGHT]) if self.sums[WEIGHT] else float("nan")

    @property
    def constant_loss(self) -> float:
        """Log loss of the best constant predictor in hindsight: the entropy of the base rate."""
        if not self.sums[WEIGHT]:
            return float("nan")
        rate = min(max(self.sums[LABEL] / self.sums[WEIGHT], _SMALLEST_PROBABILITY), 1 - _SMALLEST_PROBABILITY)
        return float(-rate * np.log(rate) - (1 - rate) * np.log(1 - rate))

    @property
    def normalized_entropy(self) -> float:
        """Log loss over the entropy of the base rate of the same events; NaN where all labels are the same."""
        rate = self.base_rate
        return self.loss / self.constant_loss if 0.0 < rate < 1.0 else float("nan")

    @property
    def base_rate(self) -> float:
        """Mean label."""
        return float(self.sums[LABEL] / self.sums[WEIGHT]) if self.sums[WEIGHT] else float("nan")

    @property
    def mean_prediction(self) -> float:
        """Mean prediction."""
        return float(self.sums[PREDICTION] / self.sums[WEIGHT]) if self.sums[WEIGHT] else float("nan")

    @property
    def calibration(self) -> float:
        """Sum of the predictions over sum of the labels: 1 is calibrated; NaN where all labels are 0."""
        return float(self.sums[PREDICTION] / self.sums[LABEL]) if self.sums[LABEL] > 0 else float("nan")

    @property
    def squared_error(self) -> float:
        """Mean squared error; of probabilities, the Brier score."""
        return float(self.sums[SQUARED_ERROR] / self.sums[WEIGHT]) if self.sums[WEIGHT] else float("nan")

    @property
    def auc(self) -> float:
        """Area under the ROC curve, ties counting half; within `auc_error` of the exact one."""
        negative, positive = self.histogram
        if not negative.sum() or not positive.sum():
            return float("nan")
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / negative.sum() / positive.sum())

    @property
    def auc_error(self) -> float:
        """Bound on the error of `auc`: half the share of pairs that fall into the same bin."""
        negative, positive = self.histogram
        if not negative.sum() or not positive.sum():
            return float("nan")
        return float((negative * positive).sum() / negative.sum() / positive.sum() / 2)


@hot
def place_of(logit: float) -> int:
    """Tell which bin of the histogram a logit falls into."""
    return int(min(max((logit + LOGIT_LIMIT) / (2.0 * LOGIT_LIMIT) * BINS, 0.0), BINS - 1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _add(predictions, labels, weights, logistic, sums, histogram, logits, losses):
    # One loop that may become vectors, one of sums that must keep their order.
    for n in range(len(predictions)):
        p, y = np.float64(predictions[n]), np.float64(labels[n])
        if logistic:
            q = min(max(p, _SMALLEST_PROBABILITY), 1.0 - _SMALLEST_PROBABILITY)
            hit, miss = log(q), log(1.0 - q)
            logits[n] = hit - miss
            losses[n] = -y * hit - (1.0 - y) * miss
        else:
            logits[n] = p
            losses[n] = 0.5 * (p - y) * (p - y)
    of_weights, of_losses, of_labels = sums[WEIGHT], sums[LOSS], sums[LABEL]
    of_predictions, of_squares = sums[PREDICTION], sums[SQUARED_ERROR]
    for n in range(len(predictions)):
        p, y, weight = np.float64(predictions[n]), np.float64(labels[n]), np.float64(weights[n])
        error = p - y
        of_weights += weight
        of_losses += weight * losses[n]
        of_labels += weight * y
        of_predictions += weight * p
        of_squares += weight * error * error
        if logistic:
            place = place_of(logits[n])
            histogram[0, place] += weight * (1.0 - y)
            histogram[1, place] += weight * y
    sums[EVENTS] += float(len(predictions))
    sums[WEIGHT], sums[LOSS], sums[LABEL] = of_weights, of_losses, of_labels
    sums[PREDICTION], sums[SQUARED_ERROR] = of_predictions, of_squares
