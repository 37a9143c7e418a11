"""Arrays that grow."""

import numpy as np
from numpy.typing import NDArray


def longer(array: NDArray, capacity: int) -> NDArray:  # type: ignore[type-arg]  # any dtype, kept
    """Copy an array into one of that length, zero beyond; what is not written yet takes no memory."""
    copy = np.zeros((capacity, *array.shape[1:]), array.dtype)
    copy[: len(array)] = array
    return copy
