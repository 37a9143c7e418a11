"""Thompson sampling: predictions drawn from what the model knows, and does not know, of its parameters.

With z from the standard normal distribution for every parameter of the rows and of the pairs that an event uses,

    drawn f = f + sum_p d_p z_p / sqrt(precision_p),  d = df/dparameter,

over parameters p. A draw z is a function of (key, seed, number of the parameter) alone, so events that share a row or a
pair share its draw: a ranking of candidates for one user is the ranking of one model that might be the true one. The
drawn logits of any events are jointly normal, their mean is f, their variance is that of the prediction to the letter.

This is the model to first order around its means, as learning takes it too. Putting mean + z / sqrt(precision) into f
itself would multiply the draws of both factors of a pair: with K = 16 and default priors, an event of two values never
seen would be spread by several times its variance, and what is explored there is noise that no event would justify.

After Thompson (1933), and Chapelle and Li, *An Empirical Evaluation of Thompson Sampling* (2011).
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import draw, mix, sigmoid
from worker.model.batch import Entries
from worker.model.learner import Learner
from worker.model.pairs import Pairs
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION


def sample(
    model: Learner,
    entries: Entries,
    parameters: NDArray[np.float32],
    seed: int,
    *,
    logistic: bool,
    pairs: Pairs | None = None,
) -> NDArray[np.float32]:
    """Predict events with a draw, [n] as `Scores.predictions`. The model does not change.

    Args:
        model: whose weights of pairs count; a Gaussian.
        entries: the events.
        parameters: [entries, 3 + K] of each entry's row: means and precisions.
        seed: from 0 to 2^63 - 1. The same seed and the same parameters give the same bits anywhere.
        logistic: whether probabilities are predicted.
        pairs: of fields that take part, where it is not the model's own that count.
    """
    weights = (model.pairs if pairs is None else pairs).apply(model.pair_means, model.pair_precisions)
    logits = draw_logits(entries, parameters, *weights, seed)
    return _probabilities(logits) if logistic else logits.astype(np.float32)


def draw_logits(
    entries: Entries,
    parameters: NDArray[np.float32],
    pair_means: NDArray[np.float32],
    pair_precisions: NDArray[np.float32],
    seed: int,
) -> NDArray[np.float64]:
    """Draw the logits [n] of events; the arguments are those of `sample`, and the weights of pairs [F, F]."""
    logits = np.empty(len(entries))
    _draw(
        entries.fields, entries.keys, entries.values, entries.starts, parameters, pair_means, pair_precisions,
        np.uint64(seed), logits,
    )  # fmt: skip
    return logits


@njit(cache=True, nogil=True)
def _probabilities(logits):
    probabilities = np.empty(len(logits), np.float32)
    for n in range(len(logits)):
        probabilities[n] = sigmoid(logits[n])
    return probabilities


@njit(cache=True, nogil=True)
def _draw(F, keys, values, starts, parameters, pair_means, pair_precisions, seed, logits):
    K = parameters.shape[1] - FACTORS
    e = np.empty((F, K))  # the sum of each field's vectors
    z = np.empty((F, K))  # how far the draw moves it
    pairs = np.zeros((F, F))  # how far the draw moves the weight of each pair
    for i in range(F):
        for j in range(i + 1, F):
            deviation = 1.0 / np.sqrt(np.float64(pair_precisions[i, j]))
            pairs[i, j] = draw(mix(np.uint64(i * F + j)), seed, 0) * deviation
    present = np.zeros(F, np.int64)
    for n in range(len(logits)):
        f = 0.0
        active = 0
        for i in range(F):
            lo, hi = starts[n * F + i], starts[n * F + i + 1]
            if lo == hi:
                continue
            present[active] = i
            active += 1
            e[i] = 0.0
            z[i] = 0.0
            for a in range(lo, hi):
                row, x, key = parameters[a], np.float64(values[a]), keys[a]
                f += x * (row[WEIGHT] + draw(key, seed, 0) / np.sqrt(np.float64(row[WEIGHT_PRECISION])))
                deviation = 1.0 / np.sqrt(np.float64(row[FACTOR_PRECISION]))
                for k in range(K):
                    e[i, k] += x * row[FACTORS + k]
                    z[i, k] += x * draw(key, seed, 1 + k) * deviation
        for s in range(active):
            i = present[s]
            for t in range(s + 1, active):
                j = present[t]
                dot = moved = 0.0
                for k in range(K):
                    dot += e[i, k] * e[j, k]
                    moved += z[i, k] * e[j, k] + e[i, k] * z[j, k]
                f += dot * (pair_means[i, j] + pairs[i, j]) + moved * pair_means[i, j]
        logits[n] = f
