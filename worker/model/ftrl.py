"""FTRL-Proximal: logistic regression with a learning rate for each weight, and weights of exactly zero.

Each row holds, beside its weight w, the sum z of its gradients (less what the moves of w amount to) and the sum n of
their squares. An event of weight c gives the entry with multiplier x the gradient g = c (p - y) x, and

    sigma = (sqrt(n + g^2) - sqrt(n)) / alpha,
    z += g - sigma w,   n += g^2,
    w = 0 where |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2).

After McMahan et al., *Ad Click Prediction: a View from the Trenches* (KDD 2013), Algorithm 1. There w is made when an
event needs it; here when z and n have changed, which gives the same w and lets a reader of the row score without both.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.batch import Batch
from worker.model.bounds import UNBOUNDED, Bounds
from worker.model.labels import AS_DRAWN, Labelling, evidence
from worker.model.linear import LARGEST, Linear, link, score

COLUMNS = ("weight", "z", "n")


@dataclass(frozen=True, kw_only=True)
class FtrlSettings:
    """How far gradients move weights."""

    alpha: float  # scales the rates: the first gradients of a row are worth about alpha / beta
    beta: float  # keeps the first rates of a row from being too large
    l1: float  # a weight is zero until the sum of its gradients exceeds this
    l2: float  # draws weights to zero


class Ftrl(Linear):
    """A linear model on logistic loss that learns by FTRL-Proximal."""

    def __init__(self, settings: FtrlSettings, bounds: Bounds = UNBOUNDED, labelling: Labelling = AS_DRAWN) -> None:
        super().__init__(COLUMNS, logistic=True, bounds=bounds)
        self.settings = settings
        self.labelling = labelling

    def _information(self) -> NDArray[np.float32]:
        return self.table.parameters[: len(self.table), 2].copy()  # not the weight: it may be 0 for all that is known

    def _pass(self, batch: Batch, rows: NDArray[np.int32], predictions: NDArray[np.float32]) -> int:
        entries, settings = batch.entries, self.settings
        return int(
            _learn(
                entries.fields, rows, entries.values, entries.starts, batch.labels, batch.weights, batch.times,
                self.table.parameters, self.table.seen,
                settings.alpha, settings.beta, settings.l1, settings.l2,
                self.labelling.flips, self.labelling.kept, predictions,
            )
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _move(row, gradient, alpha, beta, l1, l2):
    """Move w, z and n of a row by a gradient; computed in double precision, kept in single.

    As sqrt(n) is no less than the gradient, w moves by alpha at most: none of the three overflows.
    """
    g, w, z, n = np.float64(gradient), np.float64(row[0]), np.float64(row[1]), np.float64(row[2])
    # The n that is kept: once it is so large that a gradient does not change it, the rate stays as it is.
    squares = np.float64(np.float32(n + g * g))
    z = np.float64(np.float32(z + (g - (math.sqrt(squares) - math.sqrt(n)) / alpha * w)))
    row[0] = np.float32(0)
    if abs(z) > l1:
        row[0] = np.float32(-math.copysign(abs(z) - l1, z) / ((beta + math.sqrt(squares)) / alpha + l2))
    row[1], row[2] = np.float32(z), np.float32(squares)


@njit(cache=True, nogil=True)
def _learn(
    F, rows, values, starts, labels, weights, times, parameters, seen, alpha, beta, l1, l2, flips, kept, predictions
):  # fmt: skip
    """Predict and learn events one after the other. Gives the number too unstable to learn from."""
    unstable = 0
    for event in range(len(predictions)):
        lo, hi = starts[event * F], starts[(event + 1) * F]
        f = score(rows, values, lo, hi, parameters)
        p = link(f, True)
        predictions[event] = p
        g, _ = evidence(p, labels[event], flips, kept)
        gradient = weights[event] * g
        stable = abs(f) < LARGEST and abs(gradient) < LARGEST  # not a number fails
        for a in range(lo, hi):
            stable = stable and abs(gradient * values[a]) < LARGEST
        if not stable:
            unstable += 1
            continue
        if weights[event] == 0:
            continue
        for a in range(lo, hi):
            row = rows[a]
            _move(parameters[row], gradient * values[a], alpha, beta, l1, l2)
            seen[row] = max(seen[row], times[event])
    return unstable
