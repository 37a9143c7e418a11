"""Bytes become columns, keys and losses: what the live worker and a replay do to events, in the same words.

Two steps, so that they can overlap: what `prepare` makes of records depends on nothing but these and where they stand,
so it may run ahead; `take` moves a shard, one batch after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.events.decode import Decoded, Decoder, Rejected
from worker.events.features import Features
from worker.events.intake import Intake, Offered, Source
from worker.events.packed import PackedDecoder
from worker.events.passing import Passing
from worker.learning import Learning
from worker.model.batch import Batch
from worker.quality.progress import Judged
from worker.snapshot.kinds import labelling_of
from worker.snapshot.state import ShardState, Skipped

_EVENTS_A_MESSAGE = 1_000.0  # of a packed message, until some were seen
_FADING = 0.9


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Records as the learner takes them."""

    batches: list[Batch]  # one after the other
    rejected: list[Rejected]
    passed_over: int = 0  # good ones in ranges of offsets that are passed over: in no batch
    offered: list[Offered] = field(default_factory=list)  # by batch, which holds what is kept of it; none: all, no ids

    @property
    def events(self) -> int:
        """Count the good ones."""
        return sum(len(batch) for batch in self.batches)

    @property
    def valid(self) -> int:
        """Count the good ones that may be learned, those too that are in no batch since they are left out."""
        if not self.offered:
            return self.events
        return sum(
            len(batch) if offered.kept is None else len(offered.kept)
            for batch, offered in zip(self.batches, self.offered, strict=True)
        )


class Observer(Protocol):
    """Is told of every batch when it has been learned, and changes nothing."""

    def __call__(  # noqa: PLR0917 - the pipeline alone calls it
        self,
        state: ShardState,
        batch: Batch,
        observed: NDArray[np.float32],
        variances: NDArray[np.float32],
        weights: NDArray[np.float32],
        judged: Judged,
        /,
    ) -> None:
        """Look at n events of a shard.

        Args:
            state: the shard after the batch; its detectors have seen it.
            batch: the events.
            observed: [n] predictions of the labels that are observed, made before learning.
            variances: [n] of their logits, NaN where they are not known.
            weights: [n] of the events in sums.
            judged: how the predictions fared.
        """


class Pipeline:
    """decode -> features -> predict -> learn, for the records of one partition in offset order.

    Args:
        learning: what is learned, and how.
        observer: who looks at every batch of events beside the shard's own sums; a replay's evaluation does.
    """

    def __init__(self, learning: Learning, observer: Observer | None = None) -> None:
        self._observer = observer
        self._packed = learning.events.format == "arrow"
        self._decoder = PackedDecoder(learning) if self._packed else Decoder(learning)
        self._features = Features(learning)
        self._intake = Intake(learning)
        self._passing = Passing(learning.events)
        self._labelling = labelling_of(learning)
        self.asks_source = (
            self._intake.asks_source or self._passing.asks_source
        )  # whether it must be told where records stand
        self.events_a_record = _EVENTS_A_MESSAGE if self._packed else 1.0  # going by those seen so far

    def records(self, events: int) -> int:
        """Tell how many records hold about so many events."""
        return max(1, int(events / self.events_a_record))

    def prepare(
        self, values: Sequence[bytes | None] | pa.Array, timestamps: NDArray[np.int64], source: Source | None = None
    ) -> Prepared:
        """Decode records, and encode the features of the good ones.

        Args:
            values: the records' values [n]; of a binary array of them no objects are made.
            timestamps: the records' timestamps [n], milliseconds since 1970, -1 where there is none.
            source: where they stand, if that is asked for (`asks_source`).
        """
        batches, offered, rejected = list[Batch](), list[Offered](), list[Rejected]()
        events = passed_over = 0
        for decoded in self._decoder.pieces(values, timestamps):
            events += len(decoded.index)
            rejected += decoded.rejected
            before, decoded = len(decoded.index), self._passing.leave_out(decoded, source)  # noqa: PLW2901 - what is left
            passed_over += before - len(decoded.index)
            if not self._intake.takes_all:
                offered.append(self._intake.judge(decoded, source))
                decoded = decoded.only(offered[-1].kept)  # noqa: PLW2901 - features of what is left out are not needed
            batches.append(self._encode(decoded))
        if self._packed and len(values):
            mean = (events + sum(bad.events for bad in rejected)) / len(values)
            # Large ones count at once and fade slowly: a poll must not hold many more events than it was meant to.
            self.events_a_record = max(1.0, mean, self.events_a_record * _FADING)
        return Prepared(batches=batches, rejected=rejected, passed_over=passed_over, offered=offered)

    def take(self, state: ShardState, prepared: Prepared, next_offset: int) -> None:
        """Predict and learn what was prepared, and move the state past it.

        Args:
            state: the shard; it changes.
            prepared: the records that follow those that it has learned.
            next_offset: the offset after the last of them.
        """
        for number, offered in enumerate(prepared.batches):
            some = self._admitted(state, prepared.offered[number]) if prepared.offered else None
            self._learn_on(state, offered if some is None else offered.only(some))
        self._move(state, prepared, prepared.passed_over, next_offset)

    def pass_over(self, state: ShardState, prepared: Prepared, first_offset: int, next_offset: int) -> None:
        """Move the state past what was prepared, as if none of its good events had been sent.

        Args:
            state: the shard; it changes.
            prepared: the records that follow those that it has learned.
            first_offset: the offset of the first of them.
            next_offset: the offset after the last of them.
        """
        state.passed_over.append((first_offset, next_offset - 1))
        self._move(state, prepared, prepared.passed_over + prepared.valid, next_offset)

    @staticmethod
    def _move(state: ShardState, prepared: Prepared, poison: int, next_offset: int) -> None:
        if poison:
            state.skipped[Skipped.POISON] += poison
        for bad in prepared.rejected:
            state.rejected[str(bad.reason)] += bad.events
        state.next_offset = next_offset

    def learn(
        self, state: ShardState, values: Sequence[bytes | None], timestamps: NDArray[np.int64], next_offset: int
    ) -> Prepared:
        """Do both, one after the other, to records without a gap between their offsets."""
        offsets = np.arange(next_offset - len(values), next_offset)
        prepared = self.prepare(values, timestamps, Source(shard=state.shard, offsets=offsets))
        self.take(state, prepared, next_offset)
        return prepared

    def _learn_on(self, state: ShardState, batch: Batch) -> None:
        """Learn events, and answer alarms where that is due."""
        for events in state.loosening.parts(batch, state.progress.events):
            self._learn(state, events)
            self._answer(state)

    @staticmethod
    def _answer(state: ShardState) -> None:
        limit = state.loosening.answer(state.watch, state.progress.events)
        if limit is not None:
            state.model.loosen(limit)

    def _learn(self, state: ShardState, batch: Batch) -> None:
        scores = state.model.learn(state.standardiser.take(batch))  # predicts each event before it learns from it
        self._judge(state, batch, self._labelling.observed(scores.predictions), scores.variances)

    def _judge(
        self, state: ShardState, batch: Batch, observed: NDArray[np.float32], variances: NDArray[np.float32]
    ) -> None:
        """Hold predictions [n] of the labels that are observed, made before learning, against the labels."""
        weights = self._intake.weigh(batch)
        judged = state.progress.add(observed, batch.labels, weights)
        state.watch.observe(batch, observed, variances, weights, judged)
        if self._observer is not None:
            self._observer(state, batch, observed, variances, weights, judged)
        if len(batch):
            latest = int(batch.times.max())
            state.watermark = latest if state.watermark is None else max(state.watermark, latest)

    @staticmethod
    def _admitted(state: ShardState, offered: Offered) -> NDArray[np.bool_] | None:
        """Tell which events of a batch [n] were not sent before, and count all that are left out; None where all stay.

        Ids of negatives that are left out are remembered too: what is left out is a sample of what would be learned.
        """
        kept, some = offered.kept, None
        if offered.ids is not None and state.window is not None:
            fresh = state.window.admit(offered.ids)
            if not fresh.all():
                state.skipped[Skipped.DUPLICATE] += int(np.count_nonzero(~fresh))
                some = fresh if kept is None else fresh[kept]
                kept = None if kept is None else kept[fresh]
        if kept is not None and not kept.all():
            state.skipped[Skipped.NEGATIVE] += int(np.count_nonzero(~kept))
        return some

    def _encode(self, decoded: Decoded) -> Batch:
        entries = self._features.encode(decoded.table)
        return Batch(
            entries=entries,
            labels=decoded.labels,
            weights=decoded.weights,
            times=decoded.times,
            routes=self._features.routes(decoded.table, entries),
        )
