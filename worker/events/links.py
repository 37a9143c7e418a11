"""What stands between two values: comma, key, colon and whitespace, mostly what stood there in the record before.

Each such text is a link. Which link follows which is remembered, so that it may be compared first.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.events.skip import CLOSE_OBJECT, COLON, COMMA, OPEN_OBJECT, QUOTE, UNKNOWN, after_space
from worker.events.strings import string_end
from worker.events.words import same
from worker.model.compiling import leaf

SLOTS = 512  # of links that are remembered, a power of two
_PROBES = 16
AT, SIZE, COLUMN, NEXT = range(4)  # of a link: where its text was seen, the column that it leads to, what followed
START, _PASSING = SLOTS, SLOTS + 1  # the link before the first; one that there is no slot for
NONE = -1


@njit(cache=True, nogil=True)
def no_links() -> NDArray[np.int64]:
    """Make room for links, of which none is known yet: [slots, 4]."""
    links = np.zeros((SLOTS + 2, 4), np.int64)
    links[:, NEXT] = NONE
    return links


@leaf
def find(
    data: NDArray[np.uint8],
    i: int,
    end: int,
    links: NDArray[np.int64],
    link: int,
    names: NDArray[np.uint8],
    offsets: NDArray[np.int64],
) -> tuple[int, int]:
    """Go from the end of a value, at i, to the next, by what is there; remember the way.

    Returns:
        the link, and where the value begins; NONE and `end` where the record ends well, NONE and UNKNOWN where not.
    """
    j = after_space(data, i, end)
    if data[j] == CLOSE_OBJECT and link != START:
        return NONE, end if after_space(data, j + 1, end) == end else UNKNOWN
    if data[j] != (OPEN_OBJECT if link == START else COMMA):
        return NONE, UNKNOWN
    key, key_end, j = _key(data, j + 1, end)
    if j < 0:
        return NONE, UNKNOWN
    found = _slot(data, i, j - i, links)
    if links[found, SIZE] == 0:
        links[found, COLUMN] = _column(data, key, key_end, names, offsets)
    if found != _PASSING:
        links[found, AT], links[found, SIZE] = i, j - i
        links[link, NEXT] = found
    return found, j


@leaf
def _key(data: NDArray[np.uint8], i: int, end: int) -> tuple[int, int, int]:
    """Pass over a key to its value: where the key begins and ends, and the value begins, UNKNOWN where it is no key."""
    key = after_space(data, i, end) + 1
    if data[key - 1] != QUOTE:
        return key, key, UNKNOWN
    key_end, escaped = string_end(data, key)
    if key_end < 0 or escaped:
        return key, key, UNKNOWN
    j = after_space(data, key_end + 1, end)
    return key, key_end, after_space(data, j + 1, end) if data[j] == COLON else UNKNOWN


@leaf
def _slot(data: NDArray[np.uint8], i: int, size: int, links: NDArray[np.int64]) -> int:
    """Find the slot of the link data[i:i + size], a free one that it may take, or PASSING where there is none.

    No link ever gives way to another: what was remembered to follow is `{` and a key at the start, a comma and a key
    elsewhere, and has to stay so.
    """
    slot = size
    for k in range(i, i + size):
        slot = (slot * 31 + data[k]) & (SLOTS - 1)
    for _ in range(_PROBES):
        if links[slot, SIZE] == 0 or (links[slot, SIZE] == size and same(data, i, links[slot, AT], size)):
            return slot
        slot = (slot + 1) & (SLOTS - 1)
    return _PASSING


@leaf
def _column(data: NDArray[np.uint8], begin: int, end: int, names: NDArray[np.uint8], offsets: NDArray[np.int64]) -> int:
    """Find the column with the name data[begin:end]; NONE where no column has it."""
    for column in range(len(offsets) - 1):
        first = offsets[column]
        if offsets[column + 1] - first == end - begin:
            k = 0
            while k < end - begin and data[begin + k] == names[first + k]:
                k += 1
            if k == end - begin:
                return column
    return NONE
