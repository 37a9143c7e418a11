"""exp, log and hashing from IEEE basic operations only.

The C library's `exp` and `log`, and numpy's vectorised ones, differ in the last bit between machines. Learned
parameters must not: every operation here is exactly rounded by IEEE 754, so that
the same events give the same bits anywhere.
"""

import math

import numpy as np
from numba import njit

from worker.model.compiling import plain

LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts (fdlibm): n * high is exact for |n| < 2^20
LN2_LOW = 1.90821492927058770002e-10
_SQRT_HALF = 0.7071067811865476
# Numbers are taken apart and put together by their bits: calls of the C library keep loops from becoming vectors.
_MANTISSA_BITS = 52
_MANTISSA = (1 << _MANTISSA_BITS) - 1
_BIAS = 1023  # of an exponent
_HALF = (_BIAS - 1) << _MANTISSA_BITS  # the bits of 0.5
_SMALLEST_NORMAL = 2.2250738585072014e-308
_OUT_OF_SUBNORMAL = 2.0**_MANTISSA_BITS
EXP_COEFFICIENTS = tuple(1.0 / math.factorial(i) for i in range(13, -1, -1))  # r^14 / 14! < 2^-57
_ATANH_COEFFICIENTS = tuple(1.0 / i for i in range(21, 0, -2))

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S16, _S32, _S48 = np.uint64(16), np.uint64(32), np.uint64(48)
_LOW_16 = np.uint64(0xFFFF)
_LOW_32 = np.uint64(0xFFFFFFFF)
_OF_DRAWS = np.uint64(0xD1B54A32D192ED03)  # keeps draws apart from `normal`: the same seed may stand for both
# the standard deviation of the sum of four independent uniform 16-bit integers: sqrt(4 * (2^32 - 1) / 12)
_FOUR_UNIFORMS_DEVIATION = 37837.22754955926


@plain
def exp(x: float) -> float:
    """Raise e to the x, within 2 units in the last place; x is clamped to [-700, 700]."""
    x = min(max(x, -700.0), 700.0)
    n = math.floor(x * LOG2_E + 0.5)
    r = (x - n * LN2_HIGH) - n * LN2_LOW  # |r| <= ln(2) / 2
    total = 0.0
    for coefficient in EXP_COEFFICIENTS:
        total = total * r + coefficient
    return float(total * np.int64((np.int64(n) + _BIAS) << _MANTISSA_BITS).view(np.float64))  # 2^n, exact


@plain
def log(x: float) -> float:
    """Natural logarithm of a positive, finite x, within 4 units in the last place."""
    e = np.int64(1 - _BIAS)
    if x < _SMALLEST_NORMAL:
        x, e = x * _OUT_OF_SUBNORMAL, e - _MANTISSA_BITS
    bits = np.float64(x).view(np.int64)
    e += bits >> _MANTISSA_BITS
    m = np.int64((bits & _MANTISSA) | _HALF).view(np.float64)  # x = m 2^e, m in [0.5, 1)
    if m < _SQRT_HALF:
        m, e = m * 2.0, e - 1
    s = (m - 1.0) / (m + 1.0)  # log m = 2 atanh s, |s| <= 0.172
    square = s * s
    total = 0.0
    for coefficient in _ATANH_COEFFICIENTS:
        total = total * square + coefficient
    return e * LN2_HIGH + (2.0 * s * total + e * LN2_LOW)


@plain
def sigmoid(x: float) -> float:
    """1 / (1 + e^-x)."""
    return float(1.0 / (1.0 + exp(-x)))


@njit(cache=True, nogil=True)
def mix(z: np.uint64) -> np.uint64:
    """Scramble 64 bits: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(cache=True, nogil=True)
def normal(key: np.uint64, seed: np.uint64, k: int) -> float:
    """Draw number k of a row: near-normal with mean 0 and deviation 1, a function of its arguments alone.

    The sum of four 16-bit uniforms, standardised: exact in integers, so it cannot differ between machines.
    """
    bits = mix((key ^ mix(seed + _GOLDEN)) + np.uint64(k + 1) * _GOLDEN)
    total = (bits & _LOW_16) + ((bits >> _S16) & _LOW_16) + ((bits >> _S32) & _LOW_16) + (bits >> _S48)
    return float((np.float64(total) - 131070.0) / _FOUR_UNIFORMS_DEVIATION)


@njit(cache=True, nogil=True)
def draw(key: np.uint64, seed: np.uint64, k: int) -> float:
    """Draw number k of a row from the normal distribution with mean 0 and deviation 1, by its arguments alone.

    The polar method (Marsaglia, Bray 1964) on pairs of 32-bit uniforms: unlike `normal` it has the tails too, and it
    needs a logarithm, a division and a square root for that. What is explored hangs on the tails.
    """
    state = mix(mix(key ^ mix(seed ^ _OF_DRAWS)) + np.uint64(k + 1) * _GOLDEN)
    while True:
        state += _GOLDEN
        bits = mix(state)
        x = (np.float64(bits >> _S32) + 0.5) / 2147483648.0 - 1.0  # never 0
        y = (np.float64(bits & _LOW_32) + 0.5) / 2147483648.0 - 1.0
        square = x * x + y * y
        if square < 1.0:
            return float(x * math.sqrt(-2.0 * log(square) / square))
