"""Numbers as the learner takes them."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.events.arrays import frozen
from worker.learning import Feature
from worker.model.arithmetic import log


def scaled(feature: Feature, values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Give (transform(v) - shift) / scale; what does not fit comes out as NaN or an infinity.

    The transform is v itself, or with `log` sign(v) * ln(1 + |v|).
    """
    return np.asarray(_scaled(frozen(values), feature.transform == "log", feature.shift, feature.scale))


def transformed(feature: Feature, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give transform(v), of a feature whose shift and scale are found while it is learned."""
    if feature.transform != "log":
        return values + 0.0  # parsers disagree about -0
    return np.asarray(_logarithms(frozen(values)))


def bucketed(feature: Feature, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give how many of the feature's edges are less than or equal to each value."""
    return frozen(np.searchsorted(np.array(feature.edges), values, side="right").astype(np.int64))


@njit(cache=True, nogil=True)
def _scaled(values: NDArray[np.float64], logarithmic: bool, shift: float, scale: float) -> NDArray[np.float32]:
    results = np.empty(len(values), np.float32)
    for i in range(len(values)):
        v = values[i] + 0.0  # parsers disagree about -0
        if logarithmic:
            v = _logarithm(v)
        results[i] = np.float32((v - shift) / scale)
    return results


@njit(cache=True, nogil=True)
def _logarithms(values: NDArray[np.float64]) -> NDArray[np.float64]:
    results = np.empty(len(values), np.float64)
    for i in range(len(values)):
        results[i] = _logarithm(values[i] + 0.0)
    return results


@njit(cache=True, nogil=True)
def _logarithm(v: float) -> float:
    return np.copysign(log(1.0 + abs(v)), v) if np.isfinite(v) else v
