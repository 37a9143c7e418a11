"""Plain records to Arrow columns: the scanner, and what its tokens stand for."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from worker.events.columns import Column
from worker.events.scan import BEGIN, CATEGORY, ESCAPED, INTEGER, LABEL, LENGTH, LIST, MISSING, NUMBER, scan
from worker.events.strings import unescape
from worker.events.words import PADDING, word

_KINDS = {"category": CATEGORY, "list": LIST, "label": LABEL, "number": NUMBER, "integer": INTEGER}
_MINUS, _ZERO = 0x2D, 0x30
_WORD = 8


def join(records: Sequence[bytes]) -> bytes:
    """Join records as the scanner reads them."""
    return b"\n".join([*records, PADDING])


class Scanner:
    """Reads plain records to columns, whose types are `Column.type`."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        names = [column.name.encode("utf-8", "strict") for column in columns]
        self._names = np.frombuffer(b"".join(names), np.uint8)
        self._offsets = np.cumsum([0, *map(len, names)])
        self._kinds = np.array([_KINDS[column.use] for column in columns], np.int64)
        self._lists = any(column.use == "list" for column in columns)

    def scan(self, joined: bytes | NDArray[np.uint8], lengths: NDArray[np.int64]) -> tuple[pa.Table, NDArray[np.int64]]:
        """Read the plain ones of n records.

        Args:
            joined: the records, as `join` and `Values.joined` join them; shorter than 2 GiB.
            lengths: their lengths [n].

        Returns:
            the m plain records as columns, and their numbers [m].
        """
        data = np.frombuffer(joined, np.uint8) if isinstance(joined, bytes) else joined
        elements = np.empty(len(data) // 2 if self._lists else 0, np.uint64)
        plain, tokens = scan(data, lengths, self._names, self._offsets, self._kinds, elements)
        arrays = [_array(column, data, tokens, at, elements) for at, column in enumerate(self._columns)]
        return pa.Table.from_arrays(arrays, [column.name for column in self._columns]), plain


def _array(
    column: Column, data: NDArray[np.uint8], tokens: NDArray[np.uint64], at: int, elements: NDArray[np.uint64]
) -> pa.Array:
    """Give the column from tokens[:, at]."""
    kind, n = column.type, len(tokens)
    if column.use == "category":
        return _strings(data, tokens, at)
    if column.use == "list":
        offsets, of_elements, valid, nulls = _lists(tokens, at, elements)
        buffers = [_bitmap(valid, nulls), pa.py_buffer(offsets)]
        children = [_strings(data, of_elements, 0)]
        return pa.Array.from_buffers(kind, n, buffers, null_count=nulls, children=children)
    values, valid, nulls = _integers(data, tokens, at) if column.use == "integer" else _doubles(tokens, at)
    return pa.Array.from_buffers(kind, n, [_bitmap(valid, nulls), pa.py_buffer(values)], null_count=nulls)


def _strings(data: NDArray[np.uint8], tokens: NDArray[np.uint64], at: int) -> pa.Array:
    offsets, text, valid, nulls = _texts(data, tokens, at)
    buffers = [_bitmap(valid, nulls), pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string(), len(tokens), buffers, null_count=nulls)


def _bitmap(valid: NDArray[np.uint8], nulls: int) -> pa.Buffer | None:
    return pa.py_buffer(valid) if nulls else None


@njit(cache=True, nogil=True)
def _valid(tokens: NDArray[np.uint64], at: int) -> tuple[NDArray[np.uint8], int]:
    """Give Arrow's bitmap of the tokens that are not missing, and the count of those that are."""
    bits = np.zeros(len(tokens) // 8 + 1, np.uint8)
    nulls = 0
    for i in range(len(tokens)):
        if tokens[i, at] == MISSING:
            nulls += 1
        else:
            bits[i >> 3] |= np.uint8(1 << (i & 7))
    return bits, nulls


@njit(cache=True, nogil=True)
def _texts(
    data: NDArray[np.uint8], tokens: NDArray[np.uint64], at: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8], int]:
    """Give offsets and data of an Arrow string column, its bitmap and the count of nulls."""
    most = np.int64(0)
    for i in range(len(tokens)):
        token = tokens[i, at]
        if token != MISSING:
            most += np.int64(token & LENGTH)
    offsets = np.empty(len(tokens) + 1, np.int32)
    text = np.empty(most + _WORD, np.uint8)  # words may be written past the end
    offsets[0] = 0
    size = 0
    for i in range(len(tokens)):
        token = tokens[i, at]
        if token != MISSING:
            begin, length = int(np.int64(token >> BEGIN)), int(np.int64(token & LENGTH))
            if token & ESCAPED:
                size = unescape(data, begin, begin + length, text, size)
            else:
                for k in range(0, length, _WORD):
                    _put(word(data, begin + k), text, size + k)
                size += length
        offsets[i + 1] = size
    valid, nulls = _valid(tokens, at)
    return offsets, text, valid, nulls


@njit(cache=True, nogil=True, inline="always")
def _put(w: np.uint64, out: NDArray[np.uint8], i: int) -> None:
    j = np.uint64(i)
    for k in range(_WORD):
        out[j + np.uint64(k)] = np.uint8((w >> np.uint64(8 * k)) & np.uint64(0xFF))


@njit(cache=True, nogil=True)
def _lists(
    tokens: NDArray[np.uint64], at: int, elements: NDArray[np.uint64]
) -> tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.uint8], int]:
    """Give offsets of an Arrow list column, the tokens of its elements [e, 1], its bitmap and the count of nulls."""
    offsets = np.zeros(len(tokens) + 1, np.int32)
    for i in range(len(tokens)):
        token = tokens[i, at]
        offsets[i + 1] = offsets[i] + (0 if token == MISSING else np.int64(token & LENGTH))
    found = np.empty((offsets[-1], 1), np.uint64)
    for i in range(len(tokens)):
        first = np.int64(tokens[i, at] >> BEGIN)
        for k in range(offsets[i + 1] - offsets[i]):
            found[offsets[i] + k, 0] = elements[first + k]
    valid, nulls = _valid(tokens, at)
    return offsets, found, valid, nulls


@njit(cache=True, nogil=True)
def _doubles(tokens: NDArray[np.uint64], at: int) -> tuple[NDArray[np.float64], NDArray[np.uint8], int]:
    """Give the values of an Arrow column of doubles, its bitmap and the count of nulls."""
    numbers = tokens.view(np.float64)
    values = np.empty(len(tokens))
    for i in range(len(tokens)):
        values[i] = numbers[i, at]
    valid, nulls = _valid(tokens, at)
    return values, valid, nulls


@njit(cache=True, nogil=True)
def _integers(
    data: NDArray[np.uint8], tokens: NDArray[np.uint64], at: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8], int]:
    """Give the values of an Arrow column of int64, its bitmap and the count of nulls."""
    values = np.zeros(len(tokens), np.int64)
    for i in range(len(tokens)):
        token = tokens[i, at]
        if token == MISSING:
            continue
        begin = np.int64(token >> BEGIN)
        negative = data[begin] == _MINUS
        value = np.int64(0)
        for k in range(begin + negative, begin + np.int64(token & LENGTH)):
            digit = np.int64(data[k]) - _ZERO
            value = 10 * value - digit if negative else 10 * value + digit  # the lowest has no positive counterpart
        values[i] = value
    valid, nulls = _valid(tokens, at)
    return values, valid, nulls
