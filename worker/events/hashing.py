"""Keys: a 64-bit hash of (feature, value), the same in every process, version and machine.

key(feature, value) = XXH64(value, seed = XXH64(feature, seed = 0)), where a string is its UTF-8 bytes, an integer its
decimal text, a boolean `true` or `false`. So 123 and "123" are one category. What has no value of its own (the bias, a
number) hashes the empty string. A cross hashes the keys of its parts, 8 bytes each, little-endian, in the order of
`of`. A key is never 0, which marks an empty slot in the learner's table: 0 becomes 1.

XXH64: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.events.words import word
from worker.model.compiling import hot, leaf

_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3 = np.uint64(0x165667B19E3779F9)
_PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
_PRIME_5 = np.uint64(0x27D4EB2F165667C5)
_ZERO, _ONE, _TWO, _THREE, _TEN = (np.uint64(k) for k in (0, 1, 2, 3, 10))
_BITS = np.uint64(64)
_S1, _S7, _S11, _S12, _S18, _S23 = (np.uint64(s) for s in (1, 7, 11, 12, 18, 23))
_S27, _S29, _S31, _S32, _S33 = (np.uint64(s) for s in (27, 29, 31, 32, 33))
_S8, _S16, _S24 = (np.uint64(s) for s in (8, 16, 24))

DIGITS = 20  # the longest decimal text of a 64-bit integer, its sign included


@hot
def _rotate(x: np.uint64, bits: np.uint64) -> np.uint64:
    return np.uint64((x << bits) | (x >> (_BITS - bits)))


@hot
def _half_word(data: NDArray[np.uint8], i: int) -> np.uint64:
    j = np.uint64(i)
    low = np.uint64(data[j]) | (np.uint64(data[j + _ONE]) << _S8)
    return low | (np.uint64(data[j + _TWO]) << _S16) | (np.uint64(data[j + _THREE]) << _S24)


@hot
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return np.uint64(_rotate(lane + word * _PRIME_2, _S31) * _PRIME_1)


@leaf
def xxh64(data: NDArray[np.uint8], begin: int, end: int, seed: np.uint64) -> np.uint64:
    """XXH64 of data[begin:end]."""
    i = begin
    if end - begin >= 32:
        a, b, c, d = seed + _PRIME_1 + _PRIME_2, seed + _PRIME_2, seed, seed - _PRIME_1
        while i + 32 <= end:
            a = _round(a, word(data, i))
            b = _round(b, word(data, i + 8))
            c = _round(c, word(data, i + 16))
            d = _round(d, word(data, i + 24))
            i += 32
        h = _rotate(a, _S1) + _rotate(b, _S7) + _rotate(c, _S12) + _rotate(d, _S18)
        for lane in (a, b, c, d):
            h = (h ^ _round(_ZERO, lane)) * _PRIME_1 + _PRIME_4
    else:
        h = seed + _PRIME_5
    h += np.uint64(end - begin)
    while i + 8 <= end:
        h = _rotate(h ^ _round(_ZERO, word(data, i)), _S27) * _PRIME_1 + _PRIME_4
        i += 8
    if i + 4 <= end:
        h = _rotate(h ^ (_half_word(data, i) * _PRIME_1), _S23) * _PRIME_2 + _PRIME_3
        i += 4
    while i < end:
        h = _rotate(h ^ (np.uint64(data[i]) * _PRIME_5), _S11) * _PRIME_1
        i += 1
    h = (h ^ (h >> _S33)) * _PRIME_2
    h = (h ^ (h >> _S29)) * _PRIME_3
    return np.uint64(h ^ (h >> _S32))


@leaf
def write_decimal(value: int, text: NDArray[np.uint8]) -> int:
    """Write an int64 as decimal text to the end of text[DIGITS]; give the position where it begins."""
    rest = np.uint64(value) if value >= 0 else _ZERO - np.uint64(value)
    i = DIGITS
    while True:
        i -= 1
        quotient = rest // _TEN
        text[i] = np.uint8(rest - quotient * _TEN + np.uint64(48))
        rest = quotient
        if rest == _ZERO:
            break
    if value < 0:
        i -= 1
        text[i] = np.uint8(45)  # "-"
    return i


@njit(cache=True, nogil=True)
def hash_texts(data: NDArray[np.uint8], offsets: NDArray[np.int64], seed: np.uint64) -> NDArray[np.uint64]:
    """Give the keys of strings: value i is data[offsets[i]:offsets[i + 1]]; the offsets are int32 or int64."""
    keys = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(keys)):
        keys[i] = max(xxh64(data, offsets[i], offsets[i + 1], seed), _ONE)
    return keys


@njit(cache=True, nogil=True)
def hash_integers(values: NDArray[np.int64], seed: np.uint64) -> NDArray[np.uint64]:
    """Give the keys of int64 values, by their decimal text."""
    keys = np.empty(len(values), np.uint64)
    text = np.empty(DIGITS, np.uint8)
    for i in range(len(keys)):
        keys[i] = max(xxh64(text, write_decimal(values[i], text), DIGITS, seed), _ONE)
    return keys


@leaf
def write_little_endian(key: np.uint64, data: NDArray[np.uint8], begin: int) -> None:
    """Write a key as 8 bytes at data[begin:]."""
    for i in range(8):
        data[begin + i] = np.uint8((key >> np.uint64(8 * i)) & np.uint64(0xFF))


def seed_of(feature: str) -> np.uint64:
    """Give the seed that sets the values of one feature apart from those of another."""
    name = np.frombuffer(feature.encode(), np.uint8)
    return np.uint64(xxh64(name, 0, len(name), _ZERO))


def key_of(feature: str, value: str = "") -> np.uint64:
    """Give the key of one value.

    >>> hex(key_of("user", "42"))
    '0x32a4ae9f2fc8cfd2'
    """
    data = np.frombuffer(value.encode(), np.uint8)
    return np.uint64(hash_texts(data, np.array([0, len(data)], np.int64), seed_of(feature))[0])


def rare_key_of(feature: str) -> np.uint64:
    """Give the key that stands for all rare values of a feature: of the byte FF, which no UTF-8 text has.

    >>> hex(rare_key_of("user"))
    '0xf812078e5513e816'
    """
    return np.uint64(max(xxh64(np.array([0xFF], np.uint8), 0, 1, seed_of(feature)), _ONE))
