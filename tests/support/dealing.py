"""In which order tests run where several run at once: what waits for a broker first, then what is quick.

pytest-xdist cuts the tests into as many hands as there are workers, one after the other; whoever has none left takes
over half of what is left at the end of another's. In the order of their names all that waits for brokers would stand in
the first hand: at the end its last minutes would be waited for with nothing else to do.
"""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")


def deal(tests: Iterable[T], hands: int, *, slow: Callable[[T], bool], file: Callable[[T], str]) -> list[T]:
    """Give the tests in another order: of each hand first its share of the slow ones, file by file, then quick ones."""
    tests = list(tests)
    dealt: list[list[T]] = [[] for _ in range(hands)]
    files = [list(group) for _, group in groupby(filter(slow, tests), file)]
    for number, of_file in enumerate(files):
        dealt[number % hands] += of_file
    quick, left, found, over = [test for test in tests if not slow(test)], len(tests), list[T](), list[T]()
    for number, hand in enumerate(dealt):
        size = left // (hands - number)  # as pytest-xdist cuts them
        left -= size
        hand = over + hand  # noqa: PLW2901 - what did not fit into the hand before
        hand, over = hand[:size], hand[size:]  # noqa: PLW2901
        fill, quick = quick[: size - len(hand)], quick[size - len(hand) :]
        found += hand + fill
    return found
