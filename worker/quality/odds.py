"""The likelihood ratios of events that the sequential tests of odds multiply up: see `drift`.

They hang on an event and on a correction that stands still for 64 events, so they are made for as many at once: each
step is one loop over events of which none waits for another, which compilers turn into vector instructions. Event by
event they would take three times as long.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import exp
from worker.quality.layout import SHIFTS, TILTS

BLOCK: Final = 64  # events
# Of shifts of the logit b = -1, -0.3, -0.1, 0.1, 0.3, 1.
LOWER: Final = (
    2.718281828459045,
    1.3498588075760032,
    1.1051709180756477,
    0.9048374180359595,
    0.7408182206817179,
    0.36787944117144233,
)  # e^-b of them, written down: the C library's may differ in the last bit
_LIMIT = 16.0  # of a logit
_PI_EIGHTH = 0.39269908169872414


class Odds(NamedTuple):
    """What is known of `BLOCK` events, or of fewer.

    `logits` [BLOCK]: z. `positive`, `negative` [BLOCK]: the probability that the label is 1, and 0, once corrected.
    `lower` [TILTS + SHIFTS, BLOCK]: how much lower odds are, s, by alternative. `ratios` of the same shape: L.
    """

    logits: NDArray[np.float64]
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    lower: NDArray[np.float64]
    ratios: NDArray[np.float64]

    @classmethod
    def empty(cls) -> "Odds":
        """Make room for the first block."""
        lower = np.ones((TILTS + SHIFTS, BLOCK))
        lower[TILTS:] = np.array(LOWER)[:, None]
        return cls(
            logits=np.zeros(BLOCK),
            positive=np.zeros(BLOCK),
            negative=np.zeros(BLOCK),
            lower=lower,
            ratios=np.ones((TILTS + SHIFTS, BLOCK)),
        )


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def weigh(logits, variances, labels, offset, constant, factor, of_base, odds) -> None:
    """Give the likelihood ratios of n events, n <= BLOCK.

    Args:
        logits: [n] predicted.
        variances: [n] of the logits; NaN where they are not known.
        labels: [n].
        offset: what is added to logits before labels are expected.
        constant: of the correction constant + factor z.
        factor: of the same.
        of_base: one over the odds of the base rate, around which odds are tilted.
        odds: filled in.
    """
    z, positive, negative, lower, ratios = odds
    for n in range(len(logits)):
        variance = float(variances[n])
        if not variance > 0.0:
            variance = 0.0
        z[n] = (logits[n] + offset) / math.sqrt(1.0 + _PI_EIGHTH * variance)
    for n in range(len(logits)):
        negative[n] = exp(min(max(constant + factor * z[n], -_LIMIT), _LIMIT))
    for n in range(len(logits)):
        whole = negative[n]
        negative[n] = 1.0 / (1.0 + whole)
        positive[n] = whole * negative[n]
        whole *= of_base
        lower[5, n], lower[4, n] = whole * whole, whole
        root = math.sqrt(whole)
        lower[3, n] = root
        root = math.sqrt(root)
        lower[2, n] = root
        root = math.sqrt(root)
        lower[1, n], lower[0, n] = root, math.sqrt(root)
    for i in range(TILTS + SHIFTS):
        for n in range(len(logits)):
            y, s = np.float64(labels[n]), lower[i, n]
            ratios[i, n] = (y + (1.0 - y) * s) / (s * negative[n] + positive[n])
