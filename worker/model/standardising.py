"""Numbers on one scale: each enters by how far it lies from the running median, in units of the running spread.

    x = (v - median) / spread,    no further from 0 than `clip`

The spread is the quantile of |v - median| that for a normal distribution is the standard deviation. Both are quantiles,
so absurd values, of whatever size, count one each; mean and variance would follow a single 1e30 for ever. Distances of
zero are left out: of a number that is mostly 0 and now and then 3 the spread is 3, not 0.

A field's first 31 numbers say nothing of a scale yet: they enter as 0, that is, they have no say. Their median and the
quantile of their distances are where the running ones begin, so up to ten of them may be absurd. From then on each
number moves both by stochastic approximation (Robbins and Monro, *A Stochastic Approximation Method*, 1951; Tierney, *A
Space-Efficient Recursive Procedure for Estimating a Quantile of an Unknown Distribution*, 1983; for the spread by
factors, as in Yazidi and Hammer, *Multiplicative Update Methods for Incremental Quantile Estimation*, 2017):

    median += clamp(v - median, +- rate spread / 2),                             rate = max(2 / n, 2 / 4,000)
    spread *= 1 + rate q if |v - median| > spread, else 1 - rate (1 - q),        q = 0.6827

whatever the size of v; n counts numbers, or of the spread distances. With 2 / n the errors fall as those of the
quantiles of a sample of a normal distribution do. The floor makes both forget: about the last four thousand numbers
count, which leaves them uncertain by a hundredth of the spread. A unit a hundred times smaller is followed within some
15,000 numbers.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.batch import Batch, Entries
from worker.model.cells import Cells, Words, arrays, mark

REGION = "numbers"  # of the cells
_FIRST = 31  # numbers that are kept one by one, and then distances
_QUANTILE = 0.6826894921370859  # of the absolute value of a standard normal variable, where it is 1
_GAIN = 2.0  # over n: 1 / (2 density) at the median, 1 / density of ln |z| at the spread, of a normal distribution
_REMEMBERED = 4_000  # numbers: fewer would be less certain; of more, another unit would be learned too slowly
_SLOWEST = _GAIN / _REMEMBERED
_LARGEST = 1e300  # beyond it, sums of numbers of double precision overflow
_SMALLEST = 1e-300
_COUNT, _DISTANCES, _MEDIAN, _SPREAD, _BLOCK = 0, 1, 2, 3, 4  # words of a field
WORDS = _BLOCK + _FIRST


class Standardiser:
    """Standardises the numbers of some fields by what a shard has seen of them, which is kept in its cells.

    Args:
        cells: with the region `REGION`, of `WORDS` for each of the fields.
        fields: of the entries [S], in the order of `Entries.numbers`.
        clips: [S] how far from 0 a number may lie.
    """

    def __init__(self, cells: Cells, fields: Sequence[int], clips: Sequence[float]) -> None:
        self._cells = cells
        self._fields, self._clips = np.array(fields, np.int64), np.array(clips, np.float64)
        self._start = cells.starts[REGION] if len(fields) else 0

    def standardise(self, entries: Entries) -> Entries:
        """Standardise events by what is known now, which stays as it is."""
        if entries.numbers is None:
            return entries
        values = entries.values.copy()
        words = self._cells.memory.words
        _score(entries.numbers, entries.starts, entries.fields, self._fields, self._clips, self._start, words, values)
        return replace(entries, values=values, numbers=None)

    def take(self, batch: Batch) -> Batch:
        """Standardise each event by those before it, then take its numbers in; not those of an event of weight 0."""
        entries = batch.entries
        if entries.numbers is None:
            return batch
        values = entries.values.copy()
        _take(
            entries.numbers, batch.weights, entries.starts, entries.fields, self._fields, self._clips, self._start,
            values, *arrays(self._cells.memory),
        )  # fmt: skip
        return replace(batch, entries=replace(entries, values=values, numbers=None))

    def pool(self, others: Sequence["Standardiser"], otherwise: "Standardiser") -> None:
        """Know what others know together: their medians and spreads, each as much as it has seen.

        Args:
            others: of the same fields; those that still wait for a field's first numbers do not count.
            otherwise: whose first numbers to go on with where all wait.
        """
        known, mine = [other._words() for other in others], otherwise._words().copy()  # noqa: SLF001 - of this class
        for field in range(len(mine)):
            ready = [words[field] for words in known if words[field, _COUNT] >= _FIRST]
            if ready:
                mine[field] = _pooled(np.stack(ready))
        values = mine.ravel()
        self._cells.put(Words(places=np.arange(self._start, self._start + len(values)), values=values))

    def _words(self) -> NDArray[np.uint64]:
        """View what is kept, [S, WORDS]."""
        return self._cells.memory.words[self._start : self._start + len(self._fields) * WORDS].reshape(-1, WORDS)


def _pooled(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put together what some shards [n, WORDS] know of one field, added up in their order."""
    counts, distances = words[:, _COUNT].astype(np.int64), words[:, _DISTANCES].astype(np.int64)
    numbers = words.view(np.float64)
    pooled = np.zeros(WORDS, np.uint64)
    kept, floats = int(distances.sum()), pooled.view(np.float64)
    pooled[_COUNT], pooled[_DISTANCES] = counts.sum(), kept
    floats[_MEDIAN] = sum((numbers[i, _MEDIAN] * (counts[i] / counts.sum()) for i in range(len(words))), 0.0)
    if kept > _FIRST:
        floats[_SPREAD] = sum((numbers[i, _SPREAD] * (distances[i] / kept) for i in range(len(words))), 0.0)
    elif kept:
        each = [numbers[i, _BLOCK : _BLOCK + distances[i]] for i in range(len(words))]
        floats[_BLOCK : _BLOCK + kept] = np.sort(np.concatenate(each))
        floats[_SPREAD] = floats[_BLOCK + _rank(kept)]
    return pooled


@njit(cache=True, nogil=True)
def _rank(n: int) -> int:
    """Give which of n sorted distances, counted from 0, stands for the quantile; rather too near than too far."""
    return int(_QUANTILE * (n - 1))


@njit(cache=True, nogil=True)
def _standard(v, at, clip, numbers, words):
    """Give the number as it enters; `numbers` are the words as numbers of double precision."""
    spread = numbers[at + _SPREAD]
    if words[at + _COUNT] < np.uint64(_FIRST) or spread == 0.0:
        return np.float32(0)
    return np.float32(min(max((v - numbers[at + _MEDIAN]) / spread, -clip), clip))


@njit(cache=True, nogil=True)
def _score(raw, starts, F, fields, clips, start, words, values):
    numbers = words.view(np.float64)
    for event in range(len(raw)):
        for s in range(len(fields)):
            place = starts[event * F + fields[s]]
            if place < starts[event * F + fields[s] + 1]:
                v = min(max(raw[event, s], -_LARGEST), _LARGEST)
                values[place] = _standard(v, start + s * WORDS, clips[s], numbers, words)


@njit(cache=True, nogil=True)
def _take(raw, weights, starts, F, fields, clips, start, values, words, written, places, counts, digest):
    numbers = words.view(np.float64)
    for event in range(len(raw)):
        counts_too = weights[event] != np.float32(0)
        for s in range(len(fields)):
            place, at = starts[event * F + fields[s]], start + s * WORDS
            if place == starts[event * F + fields[s] + 1]:
                continue
            v = min(max(raw[event, s], -_LARGEST), _LARGEST)
            values[place] = _standard(v, at, clips[s], numbers, words)
            if not counts_too:
                continue
            if not (written[at] and written[at + 1] and written[at + 2] and written[at + 3]):
                for word in range(at, at + _BLOCK):
                    mark(word, words, written, places, counts, digest)
            n, median, spread = np.int64(words[at + _COUNT]) + 1, numbers[at + _MEDIAN], numbers[at + _SPREAD]
            words[at + _COUNT] = np.uint64(n)
            if n <= _FIRST:
                mark(at + _BLOCK + n - 1, words, written, places, counts, digest)
                numbers[at + _BLOCK + n - 1] = v
                if n == _FIRST:
                    _begin(at, words, numbers, written, places, counts, digest)
                continue
            reach = _rate(n) * spread * 0.5
            median += min(max(v - median, -reach), reach)
            numbers[at + _MEDIAN] = median
            distance = min(abs(v - median), _LARGEST)
            if distance == 0.0:
                continue
            k = np.int64(words[at + _DISTANCES]) + 1
            if k <= _FIRST:
                _keep(distance, at, words, numbers, written, places, counts, digest)
                continue
            words[at + _DISTANCES] = np.uint64(k)
            towards = _QUANTILE if distance > spread else _QUANTILE - 1.0
            numbers[at + _SPREAD] = min(max(spread + spread * (_rate(k) * towards), _SMALLEST), _LARGEST)


@njit(cache=True, nogil=True)
def _rate(n: int) -> float:
    return _SLOWEST if n >= _REMEMBERED else _GAIN / n


@njit(cache=True, nogil=True)
def _begin(at, words, numbers, written, places, counts, digest):
    """Take the median of the first numbers, and keep their distances from it in their place."""
    first = numbers[at + _BLOCK : at + _BLOCK + _FIRST].copy()
    median = np.sort(first)[_FIRST // 2]
    numbers[at + _MEDIAN] = median
    for i in range(_FIRST):
        mark(at + _BLOCK + i, words, written, places, counts, digest)
        words[at + _BLOCK + i] = np.uint64(0)
    for i in range(_FIRST):
        distance = min(abs(first[i] - median), _LARGEST)
        if distance > 0.0:
            _keep(distance, at, words, numbers, written, places, counts, digest)


@njit(cache=True, nogil=True)
def _keep(distance, at, words, numbers, written, places, counts, digest):
    """Take in one of the first distances from the median that are not zero; they are kept, sorted."""
    k = np.int64(words[at + _DISTANCES]) + 1
    words[at + _DISTANCES] = np.uint64(k)
    i = at + _BLOCK + k - 1
    mark(i, words, written, places, counts, digest)
    while i > at + _BLOCK and numbers[i - 1] > distance:
        mark(i - 1, words, written, places, counts, digest)
        numbers[i] = numbers[i - 1]
        i -= 1
    numbers[i] = distance
    numbers[at + _SPREAD] = numbers[at + _BLOCK + _rank(k)]
