"""What a shard knows of the scales of its numbers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.model.standardising import _COUNT, _MEDIAN, _SPREAD, Standardiser


@dataclass(frozen=True, kw_only=True)
class Standard:
    """What is known of the numbers of S fields."""

    counts: NDArray[np.int64]  # [S] numbers seen
    medians: NDArray[np.float64]  # [S]
    spreads: NDArray[np.float64]  # [S] 0 where none is known: then every number enters as 0


class _Scaled(Protocol):
    standardiser: Standardiser


def standard_of(shard: _Scaled) -> Standard:
    """Tell what a shard knows of each field."""
    words = shard.standardiser._words()
    return Standard(
        counts=words[:, _COUNT].astype(np.int64),
        medians=words[:, _MEDIAN].copy().view(np.float64),
        spreads=words[:, _SPREAD].copy().view(np.float64),
    )
