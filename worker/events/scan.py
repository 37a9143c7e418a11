"""Plain records to tokens, in one pass: the kernel that reads nearly all JSON.

A record is plain where this kernel can tell what it means: an object in strict JSON whose keys have no escapes, none
of them that is read there twice, values of the kinds that their columns accept, numbers whose nearest double is known,
and no nesting beyond a limit. Whatever is not goes on to the reference, which also knows the reason if it is no event.

What stands between two values is guessed (`links`), and compared eight bytes at a time.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.events.decimals import is_category, nearest, number
from worker.events.links import AT, COLUMN, NEXT, NONE, SIZE, START, find, no_links
from worker.events.skip import (
    CLOSE_LIST,
    COMMA,
    MINUS,
    NINE,
    OPEN_LIST,
    QUOTE,
    SPACE,
    UNKNOWN,
    ZERO,
    after_boolean,
    after_null,
    after_space,
    after_value,
)
from worker.events.strings import string_end
from worker.events.words import same
from worker.model.compiling import hot, leaf

CATEGORY, LIST, LABEL, NUMBER, INTEGER = range(5)  # kinds of columns

MISSING = np.uint64(2**64 - 1)  # the token of what is null or absent; as a double it is a NaN, which JSON has not
LENGTH = np.uint64(0x7FFFFFFF)
ESCAPED = np.uint64(1 << 31)
BEGIN = np.uint64(32)

_LOWER_N = 0x6E
_LARGEST, _LOWEST = np.uint64(2**63 - 1), np.uint64(2**63)
_NOTHING = np.uint64(0)


@njit(cache=True, nogil=True)
def scan(
    data: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    names: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    kinds: NDArray[np.int64],
    elements: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Read the plain ones of n records.

    Args:
        data: the records with a line feed after each, and `words.PADDING`.
        lengths: their lengths [n]; data is shorter than 2^31.
        names: the columns' names one after the other, in UTF-8.
        offsets: where each begins [c + 1].
        kinds: of the columns [c].
        elements: takes the tokens of elements of lists; every two bytes of data may be one.

    Returns:
        the numbers of the m plain records, and their tokens [m, c]. The token of a label or a number is the double; of
        a list, begin << 32 | count in `elements`; of anything else, begin << 32 | length of its text in data, and a bit
        where that has escapes.
    """
    plain = np.empty(len(lengths), np.int64)
    tokens = np.empty((len(lengths), len(kinds)), np.uint64)
    numbers = tokens.view(np.float64)
    read_in = np.full(len(kinds), NONE, np.int64)  # the record that a column was read in last
    links = no_links()
    row = _scan(data, lengths, names, offsets, kinds, elements, plain, tokens, numbers, read_in, links)
    return plain[:row], tokens[:row]


@leaf
def _scan(
    data: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    names: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    kinds: NDArray[np.int64],
    elements: NDArray[np.uint64],
    plain: NDArray[np.int64],
    tokens: NDArray[np.uint64],
    numbers: NDArray[np.float64],
    read_in: NDArray[np.int64],
    links: NDArray[np.int64],
) -> int:
    row, used, begin = 0, 0, 0
    for record in range(len(lengths)):
        i, end = begin, begin + lengths[record]
        begin = end + 1
        link = START
        for column in range(len(kinds)):
            tokens[row, column] = MISSING
        while i >= 0:
            guess = links[link, NEXT]
            after = i + links[guess, SIZE]
            # If there is more whitespace than there was, the text is another one that begins alike.
            if guess >= 0 and after < end and same(data, i, links[guess, AT], after - i) and data[after] > SPACE:
                link, i = guess, after
            else:
                link, i = find(data, i, end, links, link, names, offsets)
                if link == NONE:
                    break
            column = links[link, COLUMN]
            if column < 0:
                i = after_value(data, i, end)
            elif read_in[column] == record:
                i = UNKNOWN  # which of them counts is known to the reference
            else:
                read_in[column] = record
                i, used = _read(data, i, end, kinds[column], tokens, numbers, row, column, elements, used)
        if i == end:
            plain[row] = record
            row += 1
    return row


@hot
def _read(
    data: NDArray[np.uint8],
    i: int,
    end: int,
    kind: int,
    tokens: NDArray[np.uint64],
    numbers: NDArray[np.float64],
    row: int,
    column: int,
    elements: NDArray[np.uint64],
    used: int,
) -> tuple[int, int]:
    """Read a value to its token; give the place after it, and how many elements are used then."""
    if data[i] == _LOWER_N:
        i = after_null(data, i)
    elif kind == CATEGORY:
        i, tokens[row, column] = _category(data, i)
    elif kind == LIST:
        first = used
        i, used = _list(data, i, end, elements, used)
        tokens[row, column] = np.uint64(first) << BEGIN | np.uint64(used - first)
    elif kind == INTEGER:
        i, tokens[row, column] = _integer(data, i)
    else:
        i, numbers[row, column] = _number(data, i, kind == LABEL)
    return i, used


@hot
def _category(data: NDArray[np.uint8], i: int) -> tuple[int, np.uint64]:
    if data[i] == QUOTE:
        end, escaped = string_end(data, i + 1)
        after = end + 1 if end >= 0 else UNKNOWN
        return after, np.uint64(i + 1) << BEGIN | np.uint64(end - i - 1) | (ESCAPED if escaped else _NOTHING)
    begin = i
    if data[i] == MINUS or ZERO <= data[i] <= NINE:
        i, mantissa, digits, _ = number(data, i)
        if i < 0 or not is_category(data, begin, i, mantissa, digits):
            return UNKNOWN, MISSING
        if mantissa == _NOTHING:
            begin = i - 1  # -0 is 0
    else:
        i = after_boolean(data, i)
    return i, np.uint64(begin) << BEGIN | np.uint64(i - begin)


@leaf
def _list(data: NDArray[np.uint8], i: int, end: int, elements: NDArray[np.uint64], used: int) -> tuple[int, int]:
    """Read a list of categories and nulls; give the place after it, and how many elements are used then."""
    if data[i] != OPEN_LIST:
        return UNKNOWN, used
    i = after_space(data, i + 1, end)
    if data[i] == CLOSE_LIST:
        return i + 1, used
    while True:
        if data[i] == _LOWER_N:
            i, elements[used] = after_null(data, i), MISSING
        else:
            i, elements[used] = _category(data, i)
        if i < 0:
            return UNKNOWN, used
        used += 1
        i = after_space(data, i, end)
        if data[i] == CLOSE_LIST:
            return i + 1, used
        if data[i] != COMMA:
            return UNKNOWN, used
        i = after_space(data, i + 1, end)


@leaf
def _integer(data: NDArray[np.uint8], i: int) -> tuple[int, np.uint64]:
    begin = i
    i, mantissa, digits, _ = number(data, i)
    if i < 0 or not is_category(data, begin, i, mantissa, digits):
        return UNKNOWN, MISSING
    if mantissa > (_LOWEST if data[begin] == MINUS else _LARGEST):
        return UNKNOWN, MISSING
    return i, np.uint64(begin) << BEGIN | np.uint64(i - begin)


@hot
def _number(data: NDArray[np.uint8], i: int, booleans: bool) -> tuple[int, float]:
    """Read a number, or where it may stand for one, a boolean."""
    if data[i] == MINUS or ZERO <= data[i] <= NINE:
        negative = data[i] == MINUS
        i, mantissa, digits, exponent = number(data, i)
        value = nearest(mantissa, digits, exponent)
        return i if value == value else UNKNOWN, -value if negative else value  # noqa: PLR0124 - NaN is not itself
    after = after_boolean(data, i) if booleans else UNKNOWN
    return after, 1.0 if after == i + 4 else 0.0
