"""Text eight bytes at a time, in kernels: SIMD within a register.

A word is data[i:i + 8] as a little-endian integer, so whoever reads one at the end of a text needs `PADDING` behind it.

Bit tricks: https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord. Where several bytes of a word are looked
for at once, borrows may mark bytes above the first that is found, never below it: only the lowest mark counts.
"""

import numpy as np
from numpy.typing import NDArray

from worker.model.compiling import hot

PADDING = b" " * 16  # what reads ahead reads this much at most

_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)  # 10 + 0x76 = 0x80
_1, _2, _3, _4, _5, _6, _7 = (np.uint64(k) for k in range(1, 8))
_8, _16, _24, _32, _40, _48, _56 = (np.uint64(8 * k) for k in range(1, 8))
_LAST = np.uint64(56)

# Eight digits to a number: pairs, then fours, then all.
# https://kholdstare.github.io/technical/2020/05/26/faster-integer-parsing.html
_EACH_PAIR, _EACH_FOUR = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_TENS, _HUNDREDS, _MYRIADS = np.uint64(10), np.uint64(100), np.uint64(10_000)
_HALF = np.uint64(0x00000000FFFFFFFF)


@hot
def word(data: NDArray[np.uint8], i: int) -> np.uint64:
    """Read data[i:i + 8]. With an unsigned index, that is one load for LLVM; with a signed one it is eight."""
    j = np.uint64(i)
    low = np.uint64(data[j]) | np.uint64(data[j + _1]) << _8 | np.uint64(data[j + _2]) << _16
    low = low | np.uint64(data[j + _3]) << _24 | np.uint64(data[j + _4]) << _32
    return low | np.uint64(data[j + _5]) << _40 | np.uint64(data[j + _6]) << _48 | np.uint64(data[j + _7]) << _56


@hot
def first(marks: np.uint64) -> int:
    """Give the number of the lowest byte that is marked by its highest bit; there is one."""
    below = (marks - _1) & ~marks
    return int(np.int64(((below & _ONES) * _ONES) >> _LAST)) - 1


@hot
def stops(w: np.uint64) -> np.uint64:
    """Mark what is more than a character of a JSON string: quote, backslash, control characters, beyond ASCII."""
    quote, backslash = w ^ _QUOTES, w ^ _BACKSLASHES
    found = ((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash) | ((w - _SPACES) & ~w) | w
    return found & _HIGHS


@hot
def no_digits(w: np.uint64) -> np.uint64:
    """Mark what is no decimal digit."""
    values = w ^ _ZEROS
    return ((values + _ABOVE_NINE) | values) & _HIGHS


@hot
def decimal(w: np.uint64, count: int) -> np.uint64:
    """Give the number that the first `count` bytes spell, 1 to 8 digits."""
    values = (w ^ _ZEROS) << np.uint64(64 - 8 * count)  # zeros come to stand before them
    pairs = (values * _TENS + (values >> _8)) & _EACH_PAIR
    fours = (pairs * _HUNDREDS + (pairs >> _16)) & _EACH_FOUR
    return (fours * _MYRIADS + (fours >> _32)) & _HALF


@hot
def same(data: NDArray[np.uint8], a: int, b: int, size: int) -> bool:
    """Tell whether data[a:a + size] and data[b:b + size] are the same bytes."""
    k = 0
    while k + 8 <= size:
        if word(data, a + k) != word(data, b + k):
            return False
        k += 8
    if k == size:
        return True
    different = word(data, a + k) ^ word(data, b + k)
    return bool((different << np.uint64(64 - 8 * (size - k))) == np.uint64(0))
