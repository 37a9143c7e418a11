"""How much is measured, in which order, and what is told meanwhile."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    rounds: int = 5
    share: float = 1.0  # of the events and rows
    whole: bool = False  # all parts, in half an hour: what takes longest is left out, or done with fewer events
    peers: frozenset[str] = frozenset()  # optional ones that were asked for

    def of(self, count: int, least: int = 1_000) -> int:
        """Give so many of them."""
        return max(least, int(count * self.share))

    def fewer(self, alone: int, whole: int) -> int:
        """Give how many there are where a part is measured alone, or else with all the others."""
        return whole if self.whole else alone


def tell(text: str) -> None:
    """Tell a person who watches what was just measured."""
    if sys.stderr.isatty():
        print(f"bench:   {text}", file=sys.stderr)


def rounds(candidates: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Measure all candidates in turn, so many times: what a machine does meanwhile, it does to all of them."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(1, count + 1):
        for name, measure in candidates.items():
            found[name].append(measure())
            tell(f"round {number}, {name}: {found[name][-1]:,.4g}")
    return found


def medians(found: Mapping[str, list[float]], suffix: str = "_eps") -> dict[str, Any]:
    """Give the median of each candidate."""
    return {name + suffix: median(rates) for name, rates in found.items()}


def ratio(found: Mapping[str, list[float]], name: str, other: str) -> float:
    """Give how many times the other one a candidate is: the median of the rounds' ratios."""
    return median(ours / theirs for ours, theirs in zip(found[name], found[other], strict=True))
