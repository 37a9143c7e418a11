"""Rows by value: what a row holds, and begins with."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

WEIGHT, WEIGHT_PRECISION, FACTOR_PRECISION, FACTORS = 0, 1, 2, 3  # of the Gaussian's rows; from FACTORS on, K means
COLUMNS = ("weight", "weight_precision", "factor_precision")  # by these names


class Layout(Protocol):
    """What the rows of a table hold, and begin with: some numbers, then K factors drawn from the row's key."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Name the numbers."""
        ...

    @property
    def start(self) -> tuple[float, ...]:
        """Give the numbers that a row begins with."""
        ...

    @property
    def factors(self) -> int:
        """K."""
        ...

    @property
    def seed(self) -> int:
        """Of the factors."""
        ...

    @property
    def init_deviation(self) -> float:
        """Standard deviation of the factors."""
        ...


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What a row of the Gaussian is before any event; its factor means come from its key and the seed."""

    factors: int  # K
    seed: int
    init_deviation: float
    weight_precision: float
    factor_precision: float
    columns: tuple[str, ...] = COLUMNS

    @property
    def start(self) -> tuple[float, ...]:
        """Give the numbers that a row begins with."""
        return 0.0, self.weight_precision, self.factor_precision


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a table, by value."""

    keys: NDArray[np.uint64]  # [n]
    seen: NDArray[np.int64]  # [n] event time of the last update, milliseconds since 1970
    parameters: NDArray[np.float32]  # [n, columns + K] numbers as the columns name them, then factors
    as_of: NDArray[np.int64] | None = None  # [n] the tick of these values; None where nothing is forgotten
    routes: NDArray[np.int64] | None = None  # [n] hash of the partition key that a row belongs to, NOWHERE without one
    columns: tuple[str, ...] = COLUMNS

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.keys)

    def __getitem__(self, which: NDArray[np.bool_] | slice) -> "Rows":
        """Take some of them."""
        return replace(
            self,
            keys=self.keys[which],
            seen=self.seen[which],
            parameters=self.parameters[which],
            as_of=None if self.as_of is None else self.as_of[which],
            routes=None if self.routes is None else self.routes[which],
        )
