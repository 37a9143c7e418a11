"""One deadline for several steps: what the first takes, the last has not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """A moment on a clock that only ever rises."""

    at: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float]) -> Self:
        """Give the moment that many seconds from now."""
        return cls(at=clock() + seconds, clock=clock)

    @property
    def remaining_seconds(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - self.clock())

    @property
    def over(self) -> bool:
        """Tell whether it has passed."""
        return self.clock() >= self.at
