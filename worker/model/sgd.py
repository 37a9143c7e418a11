"""Online gradient descent on a linear model, at a constant rate: linear or logistic regression.

An event of weight c moves the weight of each of its entries (multiplier x) against the gradient of its loss,

    w -= rate c (p - y) x,

after Zinkevich, *Online Convex Programming and Generalized Infinitesimal Gradient Ascent* (ICML 2003). On squared loss,
(p - y)^2 / 2, it is online linear regression: the rule of Widrow and Hoff (1960).

The rate is constant. One that falls with the number of events ends in standing still, and a stream does not end; it
would also have to be counted for each row, since rows are met at very different times: that is what `ftrl` does.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.batch import Batch
from worker.model.bounds import UNBOUNDED, Bounds
from worker.model.labels import AS_DRAWN, Labelling, evidence
from worker.model.linear import LARGEST, Linear, link, score

COLUMNS = ("weight",)


class Sgd(Linear):
    """A linear model that learns by gradient descent.

    Args:
        rate: of learning. On squared loss, steps diverge beyond 2 / (the sum of x^2 over an event's entries).
        logistic: the loss; squared where it is not.
        bounds: how large the model may become.
        labelling: what happened to labels before they are learned; of the logistic loss.
    """

    def __init__(
        self, *, rate: float, logistic: bool, bounds: Bounds = UNBOUNDED, labelling: Labelling = AS_DRAWN
    ) -> None:
        super().__init__(COLUMNS, logistic=logistic, bounds=bounds)
        self.rate = rate
        self.labelling = labelling

    def _information(self) -> NDArray[np.float32]:
        return np.abs(self.table.parameters[: len(self.table), 0])

    def _pass(self, batch: Batch, rows: NDArray[np.int32], predictions: NDArray[np.float32]) -> int:
        entries = batch.entries
        return int(
            _learn(
                entries.fields, rows, entries.values, entries.starts, batch.labels, batch.weights, batch.times,
                self.table.parameters, self.table.seen, self.logistic, np.float32(self.rate),
                self.labelling.flips, self.labelling.kept, predictions,
            )
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _learn(
    F, rows, values, starts, labels, weights, times, parameters, seen, logistic, rate, flips, kept, predictions
):  # fmt: skip
    """Predict and learn events one after the other. Gives the number too unstable to learn from."""
    unstable = 0
    for n in range(len(predictions)):
        lo, hi = starts[n * F], starts[(n + 1) * F]
        f = score(rows, values, lo, hi, parameters)
        p = link(f, logistic)
        predictions[n] = p
        g, _ = evidence(p, labels[n], flips, kept)  # of squared loss too: p - y, since nothing is flipped or left out
        step = rate * weights[n] * g
        stable = abs(f) < LARGEST and abs(step) < LARGEST  # not a number fails
        for a in range(lo, hi):
            stable = stable and abs(step * values[a]) < LARGEST
        if not stable:
            unstable += 1
            continue
        if weights[n] == 0:
            continue
        for a in range(lo, hi):
            row = rows[a]
            parameters[row, 0] -= step * values[a]
            seen[row] = max(seen[row], times[n])
    return unstable
