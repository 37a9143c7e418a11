"""`model.pairs = "auto"`: pairs of fields that turn out not to matter are dropped, and taken up again after a drift.

What a pair with the share c of the logit has saved of the loss is, to second order, -g c + h c^2 / 2 (g and h as in
`gaussian`, c and g from before the event is learned). Of a pair without meaning, c and the label are independent, and

    z = sum (-g c + h c^2) / sqrt(sum h c^2)

is about standard normal, or a little below while the pairs are still being learned: the score test of whether the pair
should weigh more than nothing. A pair that matters, however little of it is learned yet, has a z that grows with every
event.

Evidence comes from a sample of the events, which are learned with all pairs. Every `EVERY` events of the shard it is
decided, by the count of events alone, so that replays and restarts decide the same:

- **Drop.** Pairs are ranked by the evidence up to the last decision. From the lowest z up, a third of those in force at
  most goes, if the evidence since then, which had no say in the ranking, says of all these together that they are noise
  (z below 1) and have not saved more than 0.05 % of the loss. So many weak pairs that matter only together stay.
- **Take up** one that is dropped when its z, counted since then, exceeds 4.
- **Take up all** when what the pairs in force save has fallen by 4 standard errors since the last decision, or what the
  dropped ones would have saved exceeds nothing by as many: what has been learned of pairs is no longer true. Then it
  begins anew.

Pairs with the bias always take part: they are as few as fields, and are how the weight of a value follows a drift while
it is known too well to move itself. So do as many others as there are fields, and 45: below that a pair costs next to
nothing, and one that shows its worth late would be lost. So of events with up to ten fields none is ever dropped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.arithmetic import mix
from worker.model.cells import Cells, arrays, write
from worker.model.filtering import COSTS, COSTS_SQUARED, HEAD, LOSSES, SAVINGS, SAVINGS_SQUARED, WEIGHTS
from worker.model.pairs import BIAS, Pairs

REGION = "pairs"  # of the cells
EVERY = 16_384  # events from one decision to the next
# One event of so many is sampled: while many pairs take part a sample costs little, and decides; later it watches.
_OFTEN, _SELDOM = 4, 32
_MANY = 3  # times as many pairs as fields
_LEAST = 45
_BEGIN = 8_192.0  # sampled weight before anything is dropped, so that factors have left where they began
_FRESH = 2_048.0  # sampled weight that a judgement needs
_PART = 3
_NOISE, _TOGETHER, _AGAIN, _DRIFT = 1.5, 1.0, 4.0, 4.0
_BUDGET = 5e-4
_KEPT = np.float32(0.97)  # of the evidence at each decision: half of it is from the last 23
_BITS = 64
_TINY = 1e-30


def region_words(fields: int) -> int:
    """Give how many words a shard remembers of its pairs; 0 where none could be dropped."""
    pairs = fields * (fields - 1) // 2
    return 1 + -(-pairs // _BITS) + HEAD + 2 * pairs if pairs > _fewest(fields) else 0


def _fewest(fields: int) -> int:
    return fields - 1 + max(fields, _LEAST)


@dataclass(kw_only=True)
class _Held:
    """What the cells say."""

    count: int  # of the events learned
    in_force: NDArray[np.bool_]  # [P]
    evidence: NDArray[np.float32]  # [2, HEAD + 2 P] up to the last decision that judged, and since


class Selection(Pairs):
    """Pairs of fields, and what their shard knows of their worth; all of it lies in the shard's cells.

    Args:
        fields: of an event, the bias among them; so many that some pair can be dropped.
        cells: of the shard, with a region of `region_words(fields)` words.
    """

    def __init__(self, fields: int, cells: Cells) -> None:
        super().__init__(fields)
        self._cells = cells
        self._held: _Held | None = None
        pairs = len(self.left)
        self._marks = slice(1, 1 + -(-pairs // _BITS))
        self._sums = slice(self._marks.stop, None)
        self._of_bias = self.left == BIAS

    @property
    def count(self) -> int:
        """Count the events that were learned."""
        return self._read().count if self._held is None else self._held.count

    def in_force(self) -> NDArray[np.bool_]:
        """Tell of every pair, in the order of the upper triangle, whether it takes part now."""
        return self._read().in_force if self._held is None else self._held.in_force

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Have at hand what the cells say while events are learned, a few at a time; write it there afterwards."""
        held = self._held = self._read()
        try:
            yield
        finally:
            self._held = None
            self._write(held)

    def pieces(self, events: slice) -> Iterator[slice]:
        """Cut events that are about to be learned where it is decided which pairs take part after them."""
        start = events.start
        while start < events.stop:
            stop = min(events.stop, start + EVERY - self.count % EVERY)
            yield slice(start, stop)
            start = stop

    def sampled(self, n: int) -> NDArray[np.int64]:
        """Give the numbers of those among the next n events that are to be learned with all pairs."""
        often = np.count_nonzero(self.in_force()) > _MANY * self.fields
        return np.asarray(_sample(self.count, n, _OFTEN if often else _SELDOM))

    def evidence(self) -> NDArray[np.float32]:
        """Give the sums since the last decision that judged, to which sampled events are to be added."""
        return np.asarray(self._now().evidence[1])

    def note(self, n: int) -> None:
        """Take in that n events were learned; where it is time to, decide."""
        held = self._now()
        held.count += n
        if held.count % EVERY == 0:
            held.in_force = self._decide(held.evidence, held.in_force)

    def left_out(self) -> str:
        """Give the dropped pairs: 16 hexadecimal digits for each 64 pairs of the upper triangle, first its last one."""
        return "".join(f"{word:016x}" for word in self._cells.region(REGION)[self._marks].tolist())

    def _now(self) -> "_Held":
        if self._held is None:
            raise ValueError("events are learned within `learning`")
        return self._held

    def _read(self) -> "_Held":
        words = self._cells.region(REGION)
        marks = np.unpackbits(np.ascontiguousarray(words[self._marks], "<u8").view(np.uint8), bitorder="little")
        evidence = words[self._sums].copy().view(np.float32).reshape(2, -1)
        return _Held(count=int(words[0]), in_force=marks[: len(self.left)] == 0, evidence=evidence)

    def _write(self, held: "_Held") -> None:
        bits = np.packbits(~held.in_force, bitorder="little")
        marks = np.zeros(8 * (self._marks.stop - self._marks.start), np.uint8)
        marks[: len(bits)] = bits
        count, sums = np.array([held.count], np.uint64), held.evidence.ravel().view(np.uint64)
        words = np.concatenate([count, marks.view("<u8"), sums])
        changed = np.flatnonzero(words != self._cells.region(REGION))
        # Not `put`: that makes others, who keep things that follow from their cells, make them anew.
        _set(changed + self._cells.starts[REGION], words[changed], *arrays(self._cells.memory))

    def _decide(self, evidence: NDArray[np.float32], in_force: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give the pairs that take part from now on; the evidence is moved on."""
        if not in_force.all() and _has_drifted(evidence):
            evidence[:] = 0
            return np.ones_like(in_force)
        of_pairs = evidence[:, HEAD:].reshape(2, -1, 2)
        again = ~in_force & (_z(of_pairs.astype(np.float64).sum(axis=0)) > _AGAIN)
        fresh = evidence[1, WEIGHTS] >= _FRESH
        dropped = np.zeros_like(in_force)
        if fresh and (not in_force.all() or evidence[0, WEIGHTS] >= _BEGIN):
            dropped[self._superfluous(evidence, in_force)] = True
        changed = again | dropped
        if fresh or changed.any():
            evidence[0] = (evidence[0] + evidence[1]) * _KEPT
            evidence[1] = 0
            of_pairs[0, changed] = 0
            if changed.any():  # what leaving others out has cost says nothing of leaving these out
                evidence[0, [COSTS, COSTS_SQUARED]] = 0
        return np.asarray((in_force | again) & ~dropped)

    def _superfluous(self, evidence: NDArray[np.float32], in_force: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Give the pairs to drop."""
        before, since = evidence[:, HEAD:].reshape(2, -1, 2).astype(np.float64)
        z, now = _z(before), int(np.count_nonzero(in_force))
        ranked = np.argsort(z, kind="stable")
        ranked = ranked[(in_force & ~self._of_bias & (z < _NOISE))[ranked]]
        most = max(0, min(len(ranked), now // _PART, now - _fewest(self.fields)))
        # Added up one after the other: how `sum` groups its terms is not written anywhere.
        saved, spread = np.cumsum(since[ranked[:most]], axis=0).T
        budget = _BUDGET * np.float64(evidence[1, LOSSES])
        while most > 0:
            told, size = saved[most - 1], spread[most - 1]
            if told + 2 * size < _TOGETHER * np.sqrt(2 * size + _TINY) and told + size <= budget:
                break
            most = most * 3 // 4
        return np.asarray(ranked[:most])


def _z(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give z of sums [n, 2] of -g c and h c^2 / 2."""
    return np.asarray((sums[:, 0] + 2 * sums[:, 1]) / np.sqrt(2 * sums[:, 1] + _TINY))


def _has_drifted(evidence: NDArray[np.float32]) -> bool:
    """Tell whether the pairs in force save less than they did, or the dropped ones would save something."""
    before, since = evidence[:, :HEAD].astype(np.float64)
    both = before + since
    if both[COSTS] > _DRIFT * np.sqrt(both[COSTS_SQUARED] + _TINY):
        return True
    if not (before[WEIGHTS] > 0 and since[WEIGHTS] > 0):
        return False
    means = [part[SAVINGS] / part[WEIGHTS] for part in (before, since)]
    squares = [part[SAVINGS_SQUARED] / (part[WEIGHTS] * part[WEIGHTS]) for part in (before, since)]
    return bool(means[0] - means[1] > _DRIFT * np.sqrt(squares[0] + squares[1] + _TINY))


@njit(cache=True, nogil=True)
def _sample(count, n, every):
    """Give one event of every so many, drawn by the number of their block alone: no period of a stream matches that."""
    found = np.empty(n // every + 2, np.int64)
    size = 0
    for block in range(count // every, (count + n - 1) // every + 1):
        at = block * every + np.int64(mix(np.uint64(block)) % np.uint64(every)) - count
        if 0 <= at < n:
            found[size] = at
            size += 1
    return found[:size]


@njit(cache=True, nogil=True)
def _set(at, values, words, written, places, counts, digest):
    for i in range(len(at)):
        write(at[i], values[i], words, written, places, counts, digest)
