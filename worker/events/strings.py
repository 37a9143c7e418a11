"""JSON strings in kernels: where they end, and what they say.

A string is what RFC 8259 allows, in UTF-8 (Unicode 15, table 3-7), and no half of a surrogate pair.
"""

import numpy as np
from numpy.typing import NDArray

from worker.events.words import first, stops, word
from worker.model.compiling import hot, leaf

UNKNOWN = -1  # the end of what is no string

_QUOTE, _BACKSLASH, _SLASH, _U = 0x22, 0x5C, 0x2F, 0x75
_B, _F, _N, _R, _T = 0x62, 0x66, 0x6E, 0x72, 0x74
_HIGH_SURROGATES, _LOW_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xDC00, 0xE000
_NOTHING = np.uint64(0)


@hot
def string_end(data: NDArray[np.uint8], i: int) -> tuple[int, bool]:
    """Find the quote that ends the string whose first character is data[i]; tell whether there are escapes in it."""
    marks = stops(word(data, i))
    if marks != _NOTHING:
        end = i + first(marks)
        if data[end] == _QUOTE:
            return end, False
    return _string_end(data, i)


@leaf
def _string_end(data: NDArray[np.uint8], i: int) -> tuple[int, bool]:
    escaped = False
    while True:
        marks = stops(word(data, i))
        if marks == _NOTHING:
            i += 8
            continue
        i += first(marks)
        c = data[i]
        if c == _QUOTE:
            return i, escaped
        if c == _BACKSLASH:
            escaped = True
            i = _after_escape(data, i)
        else:
            while i >= 0 and data[i] >= 0x80:
                i = _after_sequence(data, i)
            if c < 0x80:
                return UNKNOWN, escaped  # a control character
        if i < 0:
            return UNKNOWN, escaped


@leaf
def unescape(data: NDArray[np.uint8], begin: int, end: int, out: NDArray[np.uint8], at: int) -> int:
    """Write the characters of the string data[begin:end] in UTF-8 to out[at:]; give the place after them."""
    i = begin
    while i < end:
        c = int(np.int64(data[i]))
        if c != _BACKSLASH:
            out[at] = data[i]
            at, i = at + 1, i + 1
            continue
        c = int(np.int64(data[i + 1]))
        if c == _U:
            c = _hexadecimal(data, i + 2)
            i += 6
            if _HIGH_SURROGATES <= c < _AFTER_SURROGATES:
                c = 0x10000 + ((c - _HIGH_SURROGATES) << 10) + _hexadecimal(data, i + 2) - _LOW_SURROGATES
                i += 6
        else:
            i += 2
            if c == _B:
                c = 0x08
            elif c == _F:
                c = 0x0C
            elif c == _N:
                c = 0x0A
            elif c == _R:
                c = 0x0D
            elif c == _T:
                c = 0x09
        at = _write(c, out, at)
    return at


@leaf
def _write(c: int, out: NDArray[np.uint8], at: int) -> int:
    if c < 0x80:
        out[at] = c
        return at + 1
    if c < 0x800:
        out[at] = 0xC0 | c >> 6
    else:
        if c < 0x10000:
            out[at] = 0xE0 | c >> 12
        else:
            out[at] = 0xF0 | c >> 18
            at += 1
            out[at] = 0x80 | (c >> 12 & 0x3F)
        at += 1
        out[at] = 0x80 | (c >> 6 & 0x3F)
    out[at + 1] = 0x80 | (c & 0x3F)
    return at + 2


@leaf
def _after_escape(data: NDArray[np.uint8], i: int) -> int:
    c = data[i + 1]
    if c != _U:
        simple = c in (_QUOTE, _BACKSLASH, _SLASH, _B, _F, _N, _R, _T)
        return i + 2 if simple else UNKNOWN
    code = _hexadecimal(data, i + 2)
    if code < 0 or _LOW_SURROGATES <= code < _AFTER_SURROGATES:
        return UNKNOWN
    if code < _HIGH_SURROGATES or code >= _AFTER_SURROGATES:
        return i + 6
    if data[i + 6] != _BACKSLASH or data[i + 7] != _U:
        return UNKNOWN
    code = _hexadecimal(data, i + 8)
    return i + 12 if _LOW_SURROGATES <= code < _AFTER_SURROGATES else UNKNOWN


@leaf
def _hexadecimal(data: NDArray[np.uint8], i: int) -> int:
    """Read four hexadecimal digits; -1 where they are none."""
    value = 0
    for k in range(4):
        c = int(np.int64(data[i + k]))
        if 0x30 <= c <= 0x39:
            value = value << 4 | (c - 0x30)
        elif 0x41 <= (c & 0xDF) <= 0x46:
            value = value << 4 | ((c & 0xDF) - 0x37)
        else:
            return -1
    return value


@leaf
def _after_sequence(data: NDArray[np.uint8], i: int) -> int:
    """Give the place after the UTF-8 sequence of several bytes at data[i]; UNKNOWN where it is none."""
    c, second = data[i], data[i + 1]
    if c < 0xC2 or c > 0xF4 or not _follows(second):
        return UNKNOWN
    if c < 0xE0:
        return i + 2
    if not _follows(data[i + 2]):
        return UNKNOWN
    if c < 0xF0:
        bad = (c == 0xE0 and second < 0xA0) or (c == 0xED and second >= 0xA0)  # overlong; half of a pair
        return UNKNOWN if bad else i + 3
    bad = (c == 0xF0 and second < 0x90) or (c == 0xF4 and second >= 0x90)  # overlong; beyond Unicode
    return UNKNOWN if bad or not _follows(data[i + 3]) else i + 4


@leaf
def _follows(c: int) -> bool:
    return 0x80 <= c < 0xC0
