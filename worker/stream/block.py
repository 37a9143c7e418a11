"""The poison breaker at work: records of a shard are held back, block by block, until they may be learned.

A block is learned once it is within bounds, and the one after it too: where poison begins within a block, it may be too
little of it to show. A block that is refused takes the one before it with it, since nothing of that is learned yet;
where learning resumes by itself, the one after it too.

Blocks are cut by the count of events, from the offset on with which a shard was restored. So what is learned depends
neither on polls nor on the clock, as long as nothing is refused, and as long as a block is complete in time. Of a shard
that is too slow for that, what is there is judged as it is, by wider bounds, and learned before its block is complete.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from worker.pipeline import Prepared
from worker.quality.breaker import Breaker, Fault, Tally
from worker.snapshot.state import ShardState

_LEARNED_BLOCKS = 10  # before that, most values are new to the shard


Held = TypeVar("Held")  # records as whoever hands them over wants them back


@dataclass(frozen=True, kw_only=True)
class Piece(Generic[Held]):
    """Some records of a shard, without a gap."""

    held: Held
    prepared: Prepared
    first_offset: int
    last_offset: int
    came: float  # by the block's clock


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A block that is not to be learned, with the one before it."""

    faults: list[Fault]
    first_offset: int
    last_offset: int


@dataclass(frozen=True, kw_only=True)
class Judged(Generic[Held]):
    """What is to be done with records, now that their block is judged."""

    learn: list[Piece[Held]]
    pass_over: list[Piece[Held]]


class Block(Generic[Held]):
    """The open block of a shard, and the one before it.

    One thread, the loop's, cuts (`cuts`), and asks what became of it; whoever learns the shard adds and judges.

    Args:
        breaker: the bounds.
        packed: whether a record may hold many events.
        clock: seconds that only ever rise.
    """

    def __init__(self, breaker: Breaker, *, packed: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.refused: Refused | None = None  # the last block that was judged, where it was
        self._breaker, self._packed, self._clock = breaker, packed, clock
        self._room = breaker.events  # until the next cut, as handed over
        self._asked = False  # to judge what is there
        self._before: list[Piece[Held]] = []  # a block within bounds
        self._open: list[Piece[Held]] = []
        self._tally = Tally()  # of the open block, and what of it was learned already
        self._told: object = self  # what the loop knows of `refused`
        self._oldest: float | None = None  # when the first record that is held back came

    @property
    def frozen(self) -> bool:
        """Tell whether nothing more is to be learned until the worker is started anew."""
        return self.refused is not None and self._breaker.resume == "command"

    @property
    def news(self) -> bool:
        """Tell, once, that `refused` is another one."""
        told, self._told = self._told, self.refused
        return told is not self._told

    @property
    def overdue(self) -> bool:
        """Tell, once, that records were held back for too long: what is there is to be judged as it is."""
        late = self._oldest is not None and self._clock() - self._oldest >= self._breaker.seconds
        if not late or self._asked:
            return False
        self._asked = True
        return True

    def cuts(self, count: int) -> Iterator[tuple[int, int]]:
        """Cut so many records where blocks end: the position of the first, and the one after the last, of each part.

        Packed ones each by itself: how many events it holds is not known yet.
        """
        start = 0
        while start < count:
            stop = start + 1 if self._packed else min(start + self._room, count)
            yield start, stop
            self._room -= stop - start
            if self._room <= 0:
                self._room = self._breaker.events
            start = stop

    def add(self, state: ShardState, held: Held, offsets: tuple[int, int], prepared: Prepared) -> Judged[Held]:
        """Hold records back that follow; judge their block once it is complete.

        Args:
            state: their shard.
            held: the records.
            offsets: of the first and the last one.
            prepared: the same records.
        """
        first, last = offsets
        self._open.append(Piece(held=held, prepared=prepared, first_offset=first, last_offset=last, came=self._clock()))
        self._tally += self._count(state, prepared)
        judged = self._judge() if self._tally.events >= self._breaker.events else Judged[Held](learn=[], pass_over=[])
        self._note_oldest()
        return judged

    def cut(self) -> Judged[Held]:
        """Judge what is there of a block, as it is."""
        judged = self._judge()
        self._asked = False
        self._note_oldest()
        return judged

    def _judge(self) -> Judged[Held]:
        whole = self._tally.events >= self._breaker.events
        faults = self._breaker.faults(self._tally)
        before, opened = self._before, self._open
        self._before, self._open = [], []
        if whole:
            self._tally = Tally()
        if faults and before + opened:
            first, last = (before + opened)[0].first_offset, (before + opened)[-1].last_offset
            self.refused = Refused(faults=faults, first_offset=first, last_offset=last)
            return Judged(learn=[], pass_over=[] if self.frozen else before + opened)
        if self.refused is not None:  # the end of the poison may stand in it
            if whole:
                self.refused = None
            return Judged(learn=[], pass_over=before + opened)
        if whole:
            self._before = opened
            return Judged(learn=before, pass_over=[])
        return Judged(learn=before + opened, pass_over=[])

    def _note_oldest(self) -> None:
        held = self._before or self._open
        self._oldest = held[0].came if held else None

    def _count(self, state: ShardState, prepared: Prepared) -> Tally:
        """Count what the breaker judges by; values are unknown that have no row in the shard by now."""
        rejected = sum(bad.events for bad in prepared.rejected)
        values = unknown = 0
        if self._breaker.unknown_share is not None and state.progress.events >= _LEARNED_BLOCKS * self._breaker.events:
            for batch in prepared.batches:
                keys = batch.entries.keys
                known = state.model.table.has(keys)
                if state.model.shared is not None:
                    known |= state.model.shared.merged.has(keys)
                values += len(keys) - len(batch)  # the bias is no value
                unknown += int(np.count_nonzero(~known))
        return Tally(
            events=prepared.valid + prepared.passed_over + rejected,
            valid=prepared.valid,
            labels=float(sum(batch.labels.sum(dtype=np.float64) for batch in prepared.batches)),
            rejected=rejected,
            values=values,
            unknown=unknown,
        )
