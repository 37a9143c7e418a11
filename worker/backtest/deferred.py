"""The pipeline of a backtest: predicts events as they come, and learns their labels when they are known."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backtest.timing import NOTHING_YET, Timing
from worker.events.decode import Decoded
from worker.events.intake import Source
from worker.learning import Learning
from worker.model.batch import Batch
from worker.pipeline import Observer, Pipeline, Prepared
from worker.quality.progress import Progress
from worker.snapshot.state import ShardState


@dataclass(frozen=True, kw_only=True, eq=False)
class Dated(Prepared):
    """Records as the learner takes them, and when each event's was."""

    times: list[NDArray[np.int64]] = field(default_factory=list)  # by batch, [n] the time of the log, rising
    begin_ms: int = NOTHING_YET  # the time of the first of them


@dataclass(frozen=True, kw_only=True)
class _Span:
    """Events in a row that are predicted by one model, known at one time and of one block."""

    first: int
    after: int
    step: int
    tick: int
    block: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Waiting:
    """Events that are predicted, and whose labels are not known yet."""

    batch: Batch
    observed: NDArray[np.float32]  # [n]
    variances: NDArray[np.float32]  # [n]
    known_at: int
    block: int


class Measuring(Observer, Protocol):
    """Looks at what was predicted, and is told before to which block of time it belongs."""

    block: int


class Deferred(Pipeline):
    """decode -> features -> predict, and learn when labels are known; see `worker.backtest.timing`.

    Args:
        learning: what is learned, and how.
        measuring: looks at every event once.
        timing: when labels are known.
        edges: [blocks] when each block of time begins, milliseconds; what is earlier belongs to block -1. What is
            prepared at once lies before the first one, or not: see `worker.replay.fresh.Fresh`.

    Attributes:
        skipped_before: what the shard had skipped before the first block; None as long as that has not begun.
    """

    def __init__(self, learning: Learning, measuring: Measuring, timing: Timing, edges: NDArray[np.int64]) -> None:
        super().__init__(learning, measuring)
        self._logistic = learning.model.loss == "logistic"
        self._measuring, self._timing, self._edges = measuring, timing, edges
        self._waiting: deque[_Waiting] = deque()
        self.skipped_before: Counter[str] | None = None
        self._latest = NOTHING_YET  # timestamp so far
        self._records: list[NDArray[np.int64]] = []  # by batch of what is being prepared: each event's

    def prepare(
        self, values: Sequence[bytes | None] | pa.Array, timestamps: NDArray[np.int64], source: Source | None = None
    ) -> Prepared:
        """Decode records that follow those before, and note their times; as `Pipeline.prepare` otherwise."""
        times = np.maximum.accumulate(np.maximum(timestamps, self._latest))
        if len(times):
            self._latest = int(times[-1])
        self._records = []
        prepared = super().prepare(values, timestamps, source)
        return Dated(
            batches=prepared.batches,
            rejected=prepared.rejected,
            passed_over=prepared.passed_over,
            offered=prepared.offered,
            times=[times[of] for of in self._records],
            begin_ms=int(times[0]) if len(times) else NOTHING_YET,
        )

    def take(self, state: ShardState, prepared: Prepared, next_offset: int) -> None:
        """Learn what is known by now, and predict what was prepared; or do both at once, where no label is late."""
        if not isinstance(prepared, Dated):
            raise TypeError("not what `prepare` gave")
        if self.skipped_before is None and prepared.begin_ms >= self._edges[0]:
            self.skipped_before = state.skipped.copy()
        for number, (batch, times) in enumerate(zip(prepared.batches, prepared.times, strict=True)):
            some = self._admitted(state, prepared.offered[number]) if prepared.offered else None
            self._take(state, batch if some is None else batch.only(some), times if some is None else times[some])
        self._move(state, prepared, prepared.passed_over, next_offset)

    def finish(self, state: ShardState) -> None:
        """Measure what was predicted and is not learned any more, as the recording ends before its labels are known."""
        for one in self._waiting:
            self._measuring.block = one.block
            weights = self._intake.weigh(one.batch)
            judged = Progress(logistic=self._logistic).add(one.observed, one.batch.labels, weights)
            self._measuring(state, one.batch, one.observed, one.variances, weights, judged)
        self._waiting.clear()

    def _predict(self, state: ShardState, batch: Batch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict the labels [n] that will be observed, and give the variances [n] of the logits."""
        scores = state.model.predict(state.standardiser.standardise(batch.entries))
        return self._labelling.observed(scores.predictions), scores.variances

    def _adopt(self, state: ShardState, batch: Batch) -> None:
        """Learn events that were predicted before."""
        state.model.learn(state.standardiser.take(batch))

    def _take(self, state: ShardState, batch: Batch, times: NDArray[np.int64]) -> None:
        for span in self._spans(times):
            events = batch if span.after - span.first == len(batch) else batch.part(span.first, span.after)
            self._measuring.block = span.block
            if self._timing.at_once:
                self._learn_on(state, events)
                continue
            self._absorb(state, self._timing.begins(span.step))
            observed, variances = self._predict(state, events)
            known_at = self._timing.known_at(span.tick)
            self._waiting.append(
                _Waiting(batch=events, observed=observed, variances=variances, known_at=known_at, block=span.block)
            )

    def _absorb(self, state: ShardState, now: int) -> None:
        """Learn all labels that are known by now."""
        while self._waiting and self._waiting[0].known_at <= now:
            one = self._waiting.popleft()
            self._measuring.block = one.block
            done = 0
            for events in state.loosening.parts(one.batch, state.progress.events):
                some = slice(done, done + len(events))
                done = some.stop
                self._adopt(state, events)
                self._judge(state, events, one.observed[some], one.variances[some])
                self._answer(state)

    def _spans(self, times: NDArray[np.int64]) -> Iterator[_Span]:
        """Cut events [n] where a step, a tick or a block ends."""
        if not len(times):
            return
        steps, ticks = np.zeros_like(times), np.zeros_like(times)
        if not self._timing.at_once:
            steps, ticks = times // self._timing.step_ms, times // self._timing.tick_ms
        blocks = np.searchsorted(self._edges, times, side="right") - 1
        differ = (np.diff(steps) != 0) | (np.diff(ticks) != 0) | (np.diff(blocks) != 0)
        for first, after in pairwise([0, *(np.flatnonzero(differ) + 1).tolist(), len(times)]):
            yield _Span(
                first=first, after=after, step=int(steps[first]), tick=int(ticks[first]), block=int(blocks[first])
            )

    def _encode(self, decoded: Decoded) -> Batch:
        self._records.append(decoded.index)
        return super()._encode(decoded)
