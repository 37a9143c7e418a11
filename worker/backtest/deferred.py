"""The pipeline of a backtest: predicts events as they come, and learns their labels when they are known."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.backtest.timing import NOTHING_YET, Timing
from worker.events.intake import Source
from worker.learning import Learning
from worker.model.batch import Batch
from worker.pipeline import Observer, Pipeline, Prepared
from worker.quality.progress import Progress
from worker.snapshot.state import ShardState


@dataclass(frozen=True, kw_only=True)
class Part:
    """Records of one step, one tick and one block."""

    prepared: Prepared
    step: int
    tick: int
    block: int


@dataclass(frozen=True, kw_only=True)
class Parted(Prepared):
    """Records as the learner takes them, cut by time."""

    parts: list[Part] = field(default_factory=list)


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
        edges: [blocks] when each block of time begins, milliseconds; what is earlier belongs to block -1.
    """

    def __init__(self, learning: Learning, measuring: Measuring, timing: Timing, edges: NDArray[np.int64]) -> None:
        super().__init__(learning, measuring)
        self._logistic = learning.model.loss == "logistic"
        self._measuring, self._timing, self._edges = measuring, timing, edges
        self._waiting: deque[_Waiting] = deque()
        self._latest = NOTHING_YET  # timestamp so far

    def prepare(
        self, values: Sequence[bytes | None] | pa.Array, timestamps: NDArray[np.int64], source: Source | None = None
    ) -> Prepared:
        """Decode records that follow those before, and cut them by time; as `Pipeline.prepare` otherwise."""
        parts = []
        for begin, end, of in self._spans(timestamps):
            where = None if source is None else Source(shard=source.shard, offsets=source.offsets[begin:end])
            parts.append(Part(prepared=super().prepare(values[begin:end], timestamps[begin:end], where), **of))
        every = [part.prepared for part in parts]
        return Parted(
            batches=[batch for one in every for batch in one.batches],
            rejected=[bad for one in every for bad in one.rejected],
            passed_over=sum(one.passed_over for one in every),
            offered=[offered for one in every for offered in one.offered],
            parts=parts,
        )

    def take(self, state: ShardState, prepared: Prepared, next_offset: int) -> None:
        """Learn what is known by now, and predict what was prepared; or do both at once, where no label is late."""
        if not isinstance(prepared, Parted):
            raise TypeError("not what `prepare` gave")
        for part in prepared.parts:
            self._measuring.block = part.block
            if self._timing.at_once:
                super().take(state, part.prepared, next_offset)
            else:
                self._absorb(state, self._timing.begins(part.step))
                self._await(state, part)
                self._move(state, part.prepared, part.prepared.passed_over, next_offset)

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

    def _await(self, state: ShardState, part: Part) -> None:
        known_at = self._timing.known_at(part.tick)
        for number, offered in enumerate(part.prepared.batches):
            every = part.prepared.offered
            batch = self._admit(state, offered, every[number]) if every else offered
            if not len(batch):
                continue
            observed, variances = self._predict(state, batch)
            self._waiting.append(
                _Waiting(batch=batch, observed=observed, variances=variances, known_at=known_at, block=part.block)
            )

    def _absorb(self, state: ShardState, now: int) -> None:
        """Learn all labels that are known by now."""
        block = self._measuring.block
        while self._waiting and self._waiting[0].known_at <= now:
            one = self._waiting.popleft()
            self._measuring.block = one.block
            done = 0
            for events in state.loosening.parts(one.batch, state.progress.events):
                some = slice(done, done + len(events))
                done = some.stop
                self._adopt(state, events)
                self._judge(state, events, one.observed[some], one.variances[some])
                limit = state.loosening.answer(state.watch, state.progress.events)
                if limit is not None:
                    state.model.loosen(limit)
        self._measuring.block = block

    def _spans(self, timestamps: NDArray[np.int64]) -> Iterator[tuple[int, int, dict[str, int]]]:
        """Cut records where a step, a tick or a block ends: first record, the one after the last, and of which it is."""
        if not len(timestamps):
            return
        times = np.maximum.accumulate(np.maximum(timestamps, self._latest))
        self._latest = int(times[-1])
        steps, ticks = times // max(1, self._timing.step_ms), times // max(1, self._timing.tick_ms)
        if self._timing.at_once:
            steps = ticks = np.zeros_like(times)
        blocks = np.searchsorted(self._edges, times, side="right") - 1
        differ = (np.diff(steps) != 0) | (np.diff(ticks) != 0) | (np.diff(blocks) != 0)
        cuts = [0, *(np.flatnonzero(differ) + 1).tolist(), len(times)]
        for begin, end in zip(cuts, cuts[1:], strict=False):
            yield begin, end, {"step": int(steps[begin]), "tick": int(ticks[begin]), "block": int(blocks[begin])}
