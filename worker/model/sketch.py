"""How often values were seen: a count-min sketch with conservative update, in the words of cells.

Each of d rows of w counters has one counter for a value, by a hash of its key. A value was seen at most as often as the
least of its counters says. To count it again, only those counters are raised that would say less than the least of them
plus one (conservative update).

Of N counts, a value's least counter is too high by at most e N / w, with probability 1 - e^-d (Cormode and
Muthukrishnan, *An Improved Data Stream Summary: the Count-Min Sketch and its Applications*, 2005). Conservative update
(Estan and Varghese, *New Directions in Traffic Measurement and Accounting*, 2002) never counts higher than that.

N is bounded by ageing: all counters are halved, rounded down, after every w / 4 counts (the reset of Einziger, Friedman
and Manes, *TinyLFU*, 2017). So N is at most w / 2, and with d = 3 a count is too high by 1 at most, with probability
0.95; of w / 2 values that are all different, 1.7 % are counted as seen twice. A value that is seen again only after
many more counts than w / 4 never reaches a threshold: that is wanted.

Words of the region: counts since the last halving, then two that its user has, then the counters, eight in a word.
"""

import numpy as np
from numpy.typing import NDArray

from worker.model.arithmetic import mix
from worker.model.cells import write
from worker.model.compiling import hot, leaf
from worker.model.prefetch import prefetch

DEPTH = 3  # d
LARGEST = 255  # that a counter holds
SINCE, FIRST_OF_USER, COUNTERS = 0, 1, 3  # places of a region: counts since the last halving, the user's, the counters
_IN_A_WORD = 8
_AGED_AFTER = 4  # a row's counters for each count between two halvings
_OF_COUNTS = np.uint64(0xA0761D6478BD642F)  # keeps these hashes apart from others of the same keys
_LOW_32 = np.uint64(0xFFFFFFFF)
_HALVES = np.uint64(0x7F7F7F7F7F7F7F7F)  # without the bits that came from the counter above
_S1, _S32, _BYTE = np.uint64(1), np.uint64(32), np.uint64(0xFF)


def width_of(counters: int) -> int:
    """Give w of a sketch of so many counters: whole words."""
    return counters // (DEPTH * _IN_A_WORD) * _IN_A_WORD


def words_for(width: int) -> int:
    """Give how many words a region takes."""
    return COUNTERS + DEPTH * width // _IN_A_WORD


def width_in(words: int) -> int:
    """Give w of a region of so many words."""
    return (words - COUNTERS) * _IN_A_WORD // DEPTH


@hot
def _hash(key):
    return mix(key ^ _OF_COUNTS)


@hot
def _counter(hash_, row, width):
    """Give a value's counter in a row: the halves of its hash make all (Kirsch and Mitzenmacher, 2006)."""
    spot = ((hash_ & _LOW_32) + np.uint64(row) * (hash_ >> _S32)) & _LOW_32
    return np.int64(row * width) + np.int64((spot * np.uint64(width)) >> _S32)


@hot
def _shift(counter):
    return np.uint64(8 * (counter % _IN_A_WORD))


@leaf
def seen(key: np.uint64, start: int, width: int, words: NDArray[np.uint64]) -> int:
    """Tell how often a value was seen, at most; `start` is where the region begins."""
    hash_, least = _hash(key), np.int64(LARGEST)
    for row in range(DEPTH):
        counter = _counter(hash_, row, width)
        word = words[start + COUNTERS + counter // _IN_A_WORD]
        least = min(least, np.int64((word >> _shift(counter)) & _BYTE))
    return int(least)


@leaf
def add(place, more, words, written, places, counts, digest) -> None:
    """Add to a word."""
    write(place, words[place] + np.uint64(more), words, written, places, counts, digest)


@leaf
def count(key, start, width, words, written, places, counts, digest) -> int:
    """Count a value once more; gives how often it was seen, this time included. The last five are of `cells.arrays`."""
    now = min(seen(key, start, width, words) + 1, LARGEST)
    hash_ = _hash(key)
    for row in range(DEPTH):
        counter = _counter(hash_, row, width)
        place, shift = start + COUNTERS + counter // _IN_A_WORD, _shift(counter)
        if np.int64((words[place] >> shift) & _BYTE) < now:
            word = (words[place] & ~(_BYTE << shift)) | (np.uint64(now) << shift)
            write(place, word, words, written, places, counts, digest)
    add(start + SINCE, 1, words, written, places, counts, digest)
    return int(now)


@hot
def is_due(start, width, words) -> bool:
    """Tell whether all counters are to be halved, before anything more is counted."""
    return bool(np.int64(words[start + SINCE]) * _AGED_AFTER >= width)


@leaf
def halve(start, width, words, written, places, counts, digest) -> None:
    """Halve all counters."""
    for place in range(start + COUNTERS, start + COUNTERS + DEPTH * width // _IN_A_WORD):
        if words[place]:
            write(place, (words[place] >> _S1) & _HALVES, words, written, places, counts, digest)
    write(start + SINCE, np.uint64(0), words, written, places, counts, digest)


@leaf
def forget(key, start, width, words, written, places, counts, digest) -> None:
    """Begin to count a value anew: set one of its least counters to 0.

    One and no more, since another value that shares it is then counted too low.
    """
    hash_, least = _hash(key), seen(key, start, width, words)
    for row in range(DEPTH):
        counter = _counter(hash_, row, width)
        place, shift = start + COUNTERS + counter // _IN_A_WORD, _shift(counter)
        if np.int64((words[place] >> shift) & _BYTE) == least:
            write(place, words[place] & ~(_BYTE << shift), words, written, places, counts, digest)
            break


@hot
def expect_counters(key, start, width, words_at) -> None:
    """Have the counters of a value fetched that will be counted soon; `words_at` is where the words of cells are."""
    hash_ = _hash(key)
    for row in range(DEPTH):
        prefetch(words_at + (start + COUNTERS + _counter(hash_, row, width) // _IN_A_WORD) * 8)
