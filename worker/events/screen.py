"""Decide which records may be handed to Arrow's parser, joined, without one spoiling or posing as another.

Arrow parses a stream of values: it does not care about lines, takes several objects in one record for several rows,
accepts NaN and Infinity, does not check UTF-8, has no limit of depth, and crashes on a bare `null`
(https://github.com/apache/arrow/issues/47409). So it only sees records that begin an object and cannot have ended it
before their last byte: each is one row, or, where it is not JSON, the refusal of the whole.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAX_DEPTH = 512  # of nested objects and lists; deeper is no event, and parsers differ in what they make of it

JOINABLE, UNFIT, SUSPECT = 1, 0, 2

_SPACE, _TAB, _LINE_FEED, _RETURN = 0x20, 0x09, 0x0A, 0x0D
_QUOTE, _BACKSLASH = 0x22, 0x5C
_OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = 0x5B, 0x5D, 0x7B, 0x7D
_N, _I, _LOWER_N = 0x4E, 0x49, 0x6E

_ONE, _TWO = np.uint8(1), np.uint8(2)
_CLOSES, _LISTS, _LITERAL = np.uint8(1), np.uint8(2), np.uint8(4)


@njit(cache=True, nogil=True)
def nesting(data: NDArray[np.uint8], begin: int, end: int) -> tuple[int, bool]:
    """Measure how deep data[begin:end] nests, and whether its first bracket closes with its last byte, not before."""
    depth = deepest = 0
    closed_at = -1
    i = begin
    while i < end:
        c = data[i]
        if c == _QUOTE:
            i += 1
            while i < end and data[i] != _QUOTE:
                i += 2 if data[i] == _BACKSLASH else 1
        elif c in (_OPEN_OBJECT, _OPEN_LIST):
            depth += 1
            deepest = max(deepest, depth)
        elif c in (_CLOSE_OBJECT, _CLOSE_LIST):
            depth -= 1
            if depth == 0 and closed_at < 0:
                closed_at = i
        i += 1
    return deepest, closed_at == end - 1


@njit(cache=True, nogil=True)
def _marks(record: NDArray[np.uint8]) -> int:
    """Tell what stands in a record before its last two bytes; without branches, so that the compiler vectorises it."""
    marks = np.uint8(0)
    for i in range(len(record) - 2):
        c, second, third = record[i], record[i + 1], record[i + 2]
        literal = ((c == _N) & (third == _N)) | ((c == _I) & (second == _LOWER_N))
        marks |= np.uint8(c == _CLOSE_OBJECT) | np.uint8(c == _OPEN_LIST) << _ONE | np.uint8(literal) << _TWO
    if len(record) > 1 and record[len(record) - 2] == _CLOSE_OBJECT:
        marks |= _CLOSES
    return int(marks)


@njit(cache=True, nogil=True)
def _is_space(c: int) -> bool:
    return c in (_SPACE, _LINE_FEED, _RETURN, _TAB)


@njit(cache=True, nogil=True)
def screen(data: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Judge records that stand in data with a line feed between them: JOINABLE, UNFIT, or SUSPECT.

    SUSPECT means joinable if strict JSON: the record holds letters of NaN or Infinity, in a string or as a number.
    Not checked: whether the bytes are UTF-8. A joinable record may still be no JSON: then Arrow refuses it.
    """
    verdicts = np.empty(len(lengths), np.uint8)
    begin = 0
    for record in range(len(lengths)):
        after = begin + lengths[record]
        low, high = begin, after
        begin = after + 1
        while low < high and _is_space(data[low]):
            low += 1
        while low < high and _is_space(data[high - 1]):
            high -= 1
        if high - low < 2 or data[low] != _OPEN_OBJECT or data[high - 1] != _CLOSE_OBJECT:
            verdicts[record] = UNFIT
            continue
        marks = _marks(data[low:high])
        fits = True
        # A flat object needs no look at its structure: nothing in it can close early, nor is a short one deep.
        if marks & _CLOSES or (marks & _LISTS and high - low > 2 * MAX_DEPTH):
            deepest, fits = nesting(data, low, high)
            fits = fits and deepest <= MAX_DEPTH
        verdicts[record] = UNFIT if not fits else SUSPECT if marks & _LITERAL else JOINABLE
    return verdicts
