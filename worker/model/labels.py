"""What a label says of an event, where something stands between the label that was drawn and the one that is learned.

Logistic loss takes a label for a draw: 1 with probability p = sigmoid(f). Two things may happen to it on its way.

It is flipped, with a rate e that is known (`model.label_noise`). Then the label that is observed is 1 with probability

    q = e + (1 - 2 e) p:

Bootkrajang, Kaban, *Label-noise Robust Logistic Regression and Its Applications* (ECML PKDD 2012), with one rate for
both labels. Or its event is left out: of those whose label is 0 a share r is kept (`events.keep_negatives`). Then of
the events that are kept so many have the label 1:

    s = q / (q + r (1 - q)),

which are the odds of q, divided by r. That is the prior correction of King, Zeng, *Logistic Regression in Rare Events
Data* (2001), made before learning: f stays the logit of p. He et al., *Practical Lessons from Predicting Clicks on Ads
at Facebook* (ADKDD 2014), learn s and turn it into q afterwards, by the same formula.

The derivative of the negative log likelihood to f, and its Fisher information, are

    a = q' / (q (1 - q)) = (1 - 2 e) p (1 - p) / (q (1 - q)),    g = a (s - y),    h = a^2 s (1 - s).

Without either of them a = 1 and s = p. With flips, a falls to 0 where p does: what is very sure of the other label
takes it for a flip, and moves little.

A label y between 0 and 1 counts as a positive of weight y and a negative of weight 1 - y. Its event is always kept, so
the latter counts r times.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """What happened to labels before they are learned."""

    flips: float = 0.0  # the rate e, below 1/2
    kept: float = 1.0  # the share r of the events whose label is 0, above 0

    def observed(self, predictions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the probabilities [n] of a positive label as it is observed, q, for those of the true one, p."""
        if not self.flips:
            return predictions
        # Two roundings, one after the other: the same everywhere.
        return np.float32(self.flips) + np.float32(1.0 - 2.0 * self.flips) * predictions


AS_DRAWN: Final = Labelling()


@njit(cache=True, nogil=True, inline="always")
def evidence(p: np.float32, label: np.float32, flips: float, kept: float) -> tuple[np.float32, np.float32]:
    """Give g and h of a prediction p and a label, for logistic loss, in single precision."""
    if flips == 0.0 and kept == 1.0:
        return p - label, p * (np.float32(1) - p)
    y = np.float64(label)
    true = np.float64(p)
    q, a = true, 1.0
    if flips > 0.0:
        q = flips + (1.0 - 2.0 * flips) * true
        a = (1.0 - 2.0 * flips) * true * (1.0 - true) / (q * (1.0 - q))
    s = q / (q + kept * (1.0 - q))
    weight = y + kept * (1.0 - y) if y > 0.0 else 1.0
    return np.float32(a * (weight * s - y)), np.float32(a * a * weight * s * (1.0 - s))
