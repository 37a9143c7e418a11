"""Decimal numbers as JSON writes them, to the nearest double, in kernels.

Clinger's fast path: a mantissa and a power of ten that are both exact doubles have one rounding between them. Beyond
it the algorithm of Eisel and Lemire: the mantissa times 128 bits of the power of ten tells the nearest double, or that
it cannot tell. That is mostly where m / 10^k is a fraction of 2^k, so that 5^k divides m, and all is exact again.

W. D. Clinger, How to read floating point numbers accurately, 1990. D. Lemire, Number parsing at a gigabyte per second,
2021, https://arxiv.org/abs/2101.11408, in the form of https://nigeltao.github.io/blog/2020/eisel-lemire.html.
"""

import numpy as np
from numpy.typing import NDArray

from worker.events.words import decimal, first, no_digits, word
from worker.model.compiling import leaf

UNKNOWN = -1  # the place after what is no number

_MINUS, _PLUS, _POINT, _ZERO, _ONE, _NINE = 0x2D, 0x2B, 0x2E, 0x30, 0x31, 0x39
_UPPER_E, _LOWER_E = 0x45, 0x65
_DIGITS = 19  # as many always fit into 64 bits
_LARGEST_EXPONENT = 100_000  # far beyond double; larger ones are cut

_EXACT_BITS = np.uint64(53)
_EXACT_POWERS = np.array([10.0**k for k in range(23)])  # those that double holds exactly
_FIVES = np.array([5**k for k in range(28)], np.uint64)  # those that 64 bits hold
_HALVES = 0.5 ** np.arange(28)
_0, _1, _2, _3 = (np.uint64(k) for k in range(4))
_9, _32, _52, _53, _63 = (np.uint64(k) for k in (9, 32, 52, 53, 63))
_LOW = np.uint64(0xFFFFFFFF)
_BELOW = np.uint64(0x1FF)  # bits of the product that double has no room for
_FRACTION = np.uint64((1 << 52) - 1)
_ALL = np.uint64(2**64 - 1)
_TEN_TO_19 = np.uint64(10**19)
_LONGEST_NEGATIVE = np.uint64(2**63)
_POWERS_OF_10 = np.array([10**k for k in range(9)], np.uint64)
_LEAST_POWER, _MOST_POWER = -342, 308


def _power(exponent: int) -> tuple[int, int]:
    """Give the upper and lower 64 bits of the 128 leading ones of a power of ten, rounded down."""
    if exponent >= 0:
        value = 10**exponent << 128
    else:
        divisor = 10**-exponent
        value = (1 << 128 + divisor.bit_length()) // divisor
    value >>= value.bit_length() - 128
    return value >> 64, value & (2**64 - 1)


_POWERS = np.array([_power(exponent) for exponent in range(_LEAST_POWER, _MOST_POWER + 1)], np.uint64)


@leaf
def number(data: NDArray[np.uint8], i: int) -> tuple[int, np.uint64, int, int]:
    """Read the number that begins at data[i].

    Returns:
        the place after it, or UNKNOWN if it is none; its digits as one integer, modulo 2^64; how many there are; the
        power of ten that the integer is to be multiplied with. The sign is left to the caller.
    """
    if data[i] == _MINUS:
        i += 1
    begin = i
    i, mantissa = _digits(data, i, _0)
    digits = i - begin
    if digits == 0 or (digits > 1 and data[begin] == _ZERO):
        return UNKNOWN, _0, 0, 0
    exponent = 0
    if data[i] == _POINT:
        begin, small = i + 1, mantissa == _0
        i, mantissa = _digits(data, begin, mantissa)
        exponent = begin - i
        if exponent == 0:
            return UNKNOWN, _0, 0, 0
        digits -= exponent
        while small and digits > _DIGITS and mantissa and data[begin] == _ZERO:
            digits, begin = digits - 1, begin + 1  # zeros before the first other digit take no room
    if data[i] == _LOWER_E or data[i] == _UPPER_E:
        i += 1
        negative = data[i] == _MINUS
        if negative or data[i] == _PLUS:
            i += 1
        begin, given = i, 0
        while _ZERO <= data[i] <= _NINE:
            given = min(10 * given + data[i] - _ZERO, _LARGEST_EXPONENT)
            i += 1
        if i == begin:
            return UNKNOWN, _0, 0, 0
        exponent += -given if negative else given
    return i, mantissa, digits, exponent


@leaf
def _digits(data: NDArray[np.uint8], i: int, value: np.uint64) -> tuple[int, np.uint64]:
    """Read on through the digits from data[i]; give the place after them and what they make of the value."""
    while True:
        w = word(data, i)
        marks = no_digits(w)
        if marks == _0:
            value = value * _POWERS_OF_10[8] + decimal(w, 8)
            i += 8
            continue
        count = first(marks)
        if count:
            value = value * _POWERS_OF_10[count] + decimal(w, count)
            i += count
        return i, value


@leaf
def is_category(data: NDArray[np.uint8], begin: int, end: int, mantissa: np.uint64, digits: int) -> bool:
    """Tell whether the number data[begin:end] that `number` has read is an integer that a category may be."""
    if data[begin] == _MINUS:
        return end - begin == digits + 1 and digits <= _DIGITS and bool(mantissa <= _LONGEST_NEGATIVE)
    if end - begin != digits:
        return False  # it has a point or an exponent
    # 20 digits that fit into 64 bits begin with 1; such that do not fit come out less than 10^19
    return digits <= _DIGITS or bool(digits == _DIGITS + 1 and data[begin] == _ONE and mantissa >= _TEN_TO_19)


@leaf
def nearest(mantissa: np.uint64, digits: int, exponent: int) -> float:
    """Give the double nearest to mantissa * 10^exponent, as `number` has read them; NaN where that is not known."""
    if mantissa == _0 or digits > _DIGITS or exponent < _LEAST_POWER or exponent > _MOST_POWER:
        return 0.0 if mantissa == _0 and digits <= _DIGITS else np.nan
    if mantissa >> _EXACT_BITS == _0 and -22 <= exponent <= 22:
        if exponent < 0:
            return float(mantissa / _EXACT_POWERS[-exponent])
        return float(mantissa * _EXACT_POWERS[exponent])
    if exponent == 0:
        return float(mantissa)
    value = _eisel_lemire(mantissa, exponent)
    if np.isnan(value) and -len(_FIVES) < exponent < 0 and mantissa % _FIVES[-exponent] == _0:
        return float(np.float64(mantissa // _FIVES[-exponent]) * _HALVES[-exponent])  # the second step is exact
    return value


@leaf
def _eisel_lemire(mantissa: np.uint64, exponent: int) -> float:
    zeros = _leading_zeros(mantissa)
    mantissa <<= np.uint64(zeros)
    # 217706 / 2^16 is the binary logarithm of 10, close enough to be rounded down alike; 1023 is the exponent of 1.0
    binary = (217706 * exponent >> 16) + 64 + 1023 - zeros
    at = exponent - _LEAST_POWER
    high, low = _product(mantissa, _POWERS[at, 0])
    if high & _BELOW == _BELOW and np.uint64(low + mantissa) < mantissa:  # the other 64 bits might carry this far
        middle, last = _product(mantissa, _POWERS[at, 1])
        merged = np.uint64(low + middle)
        if merged < low:
            high += _1
        low = merged
        if high & _BELOW == _BELOW and low == _ALL and np.uint64(last + mantissa) < mantissa:
            return np.nan
    top = high >> _63
    fraction = high >> (top + _9)
    binary -= 1 if top == _0 else 0
    if low == _0 and high & _BELOW == _0 and fraction & _3 == _1:
        return np.nan  # perhaps halfway between two doubles
    fraction = (fraction + (fraction & _1)) >> _1
    if fraction >> _53:
        fraction >>= _1
        binary += 1
    if binary < 1 or binary > 2046:
        return np.nan
    return float(np.uint64(np.uint64(binary) << _52 | (fraction & _FRACTION)).view(np.float64))


@leaf
def _product(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Multiply to 128 bits: the upper and the lower half."""
    low = (a & _LOW) * (b & _LOW)
    one = (a >> _32) * (b & _LOW) + (low >> _32)
    other = (a & _LOW) * (b >> _32) + (one & _LOW)
    return (a >> _32) * (b >> _32) + (one >> _32) + (other >> _32), a * b


@leaf
def _leading_zeros(value: np.uint64) -> int:
    zeros = 0
    for step in (32, 16, 8, 4, 2, 1):
        if value >> np.uint64(64 - step) == _0:
            value <<= np.uint64(step)
            zeros += step
    return zeros
