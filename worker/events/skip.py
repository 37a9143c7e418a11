"""JSON that nobody reads, in kernels: passed over, but held to be JSON.

Each takes a place in the data and gives the one after what stands there, or UNKNOWN where it is not what it should be.
"""

import numpy as np
from numpy.typing import NDArray

from worker.events.decimals import number
from worker.events.strings import string_end
from worker.events.words import word
from worker.model.compiling import leaf

UNKNOWN = -1

QUOTE, COMMA, COLON, MINUS, ZERO, NINE = 0x22, 0x2C, 0x3A, 0x2D, 0x30, 0x39
OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT = 0x5B, 0x5D, 0x7B, 0x7D
SPACE, _TAB, _LINE_FEED, _RETURN = 0x20, 0x09, 0x0A, 0x0D
_FOUR = np.uint64(0xFFFFFFFF)
_TRUE, _FALS, _NULL = (np.uint64(int.from_bytes(text, "little")) for text in (b"true", b"fals", b"null"))
_E = 0x65
_DEEPEST = 32  # levels; what nests deeper is not plain
_ONE = np.uint64(1)


@leaf
def after_space(data: NDArray[np.uint8], i: int, end: int) -> int:
    """Pass over whitespace, up to `end`."""
    while i < end and (data[i] == SPACE or data[i] == _LINE_FEED or data[i] == _TAB or data[i] == _RETURN):
        i += 1
    return i


@leaf
def after_null(data: NDArray[np.uint8], i: int) -> int:
    """Pass over `null`."""
    return i + 4 if word(data, i) & _FOUR == _NULL else UNKNOWN


@leaf
def after_boolean(data: NDArray[np.uint8], i: int) -> int:
    """Pass over `true` or `false`: 4 bytes, or 5."""
    four = word(data, i) & _FOUR
    if four == _TRUE:
        return i + 4
    return i + 5 if four == _FALS and data[i + 4] == _E else UNKNOWN


@leaf
def after_value(data: NDArray[np.uint8], i: int, end: int) -> int:
    """Pass over a value of any kind, nested up to a limit."""
    if data[i] == OPEN_OBJECT or data[i] == OPEN_LIST:
        return _after_nested(data, i, end)
    return _after_scalar(data, i)


@leaf
def _after_scalar(data: NDArray[np.uint8], i: int) -> int:
    c = data[i]
    if c == QUOTE:
        i, _ = string_end(data, i + 1)
        return i + 1 if i >= 0 else UNKNOWN
    if c == MINUS or ZERO <= c <= NINE:
        after, _, _, _ = number(data, i)
        return after
    after = after_null(data, i)
    return after if after >= 0 else after_boolean(data, i)


@leaf
def _after_name(data: NDArray[np.uint8], i: int, end: int) -> int:
    """Pass over the name of a member, the colon and the whitespace around them."""
    i = after_space(data, i, end)
    if data[i] != QUOTE:
        return UNKNOWN
    i, _ = string_end(data, i + 1)
    if i < 0:
        return UNKNOWN
    i = after_space(data, i + 1, end)
    return after_space(data, i + 1, end) if data[i] == COLON else UNKNOWN


@leaf
def _after_opening(data: NDArray[np.uint8], i: int, end: int) -> tuple[int, bool]:
    """Pass over a bracket to the first value inside; or past the end, and tell so."""
    is_object = data[i] == OPEN_OBJECT
    i = after_space(data, i + 1, end)
    if data[i] == (CLOSE_OBJECT if is_object else CLOSE_LIST):
        return i + 1, True
    return _after_name(data, i, end) if is_object else i, False


@leaf
def _after_inner(data: NDArray[np.uint8], i: int, end: int, is_object: bool) -> tuple[int, bool]:
    """Pass over what follows a value inside of brackets to the next value; or past the end, and tell so."""
    i = after_space(data, i, end)
    if data[i] == COMMA:
        i = after_space(data, i + 1, end)
        return _after_name(data, i, end) if is_object else i, False
    return i + 1 if data[i] == (CLOSE_OBJECT if is_object else CLOSE_LIST) else UNKNOWN, True


@leaf
def _after_nested(data: NDArray[np.uint8], i: int, end: int) -> int:
    depth, objects = 0, np.uint64(0)  # bit k: whether the level k levels further out is an object
    while True:
        if data[i] == OPEN_OBJECT or data[i] == OPEN_LIST:
            if depth == _DEEPEST:
                return UNKNOWN
            is_object = data[i] == OPEN_OBJECT
            i, complete = _after_opening(data, i, end)
            if not complete:
                depth, objects = depth + 1, objects << _ONE | np.uint64(is_object)
        else:
            i, complete = _after_scalar(data, i), True
        while complete and depth and i >= 0:
            i, complete = _after_inner(data, i, end, objects & _ONE == _ONE)
            if complete:
                depth, objects = depth - 1, objects >> _ONE
        if i < 0 or depth == 0:
            return i
