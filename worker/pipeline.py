"""Bytes become columns, keys and losses: what the live worker and a replay do to events, in the same words.

Two steps, so that they can overlap: what `prepare` makes of records depends on nothing but these, so it may run ahead;
`take` moves a shard, one batch after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.config import Learning
from worker.events.decode import Decoded, Decoder, Rejected
from worker.events.features import Features
from worker.events.packed import PackedDecoder
from worker.model.batch import Batch
from worker.snapshot.state import ShardState

_EVENTS_A_MESSAGE = 1_000.0  # of a packed message, until some were seen
_FADING = 0.9


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Records as the learner takes them."""

    batches: list[Batch]  # one after the other
    rejected: list[Rejected]

    @property
    def events(self) -> int:
        """Count the good ones."""
        return sum(len(batch) for batch in self.batches)


class Pipeline:
    """decode -> features -> predict -> learn, for the records of one partition in offset order."""

    def __init__(self, learning: Learning) -> None:
        self._packed = learning.events.format == "arrow"
        self._decoder = PackedDecoder(learning) if self._packed else Decoder(learning)
        self._features = Features(learning)
        self.events_a_record = _EVENTS_A_MESSAGE if self._packed else 1.0  # going by those seen so far

    def records(self, events: int) -> int:
        """Tell how many records hold about so many events."""
        return max(1, int(events / self.events_a_record))

    def prepare(self, values: Sequence[bytes | None], timestamps: NDArray[np.int64]) -> Prepared:
        """Decode records, and encode the features of the good ones.

        Args:
            values: the records' values [n].
            timestamps: the records' timestamps [n], milliseconds since 1970, -1 where there is none.
        """
        batches, rejected = list[Batch](), list[Rejected]()
        for decoded in self._decoder.pieces(values, timestamps):
            batches.append(self._encode(decoded))
            rejected += decoded.rejected
        if self._packed and values:
            mean = (sum(len(batch) for batch in batches) + sum(bad.events for bad in rejected)) / len(values)
            # Large ones count at once and fade slowly: a poll must not hold many more events than it was meant to.
            self.events_a_record = max(1.0, mean, self.events_a_record * _FADING)
        return Prepared(batches=batches, rejected=rejected)

    def take(self, state: ShardState, prepared: Prepared, next_offset: int) -> None:
        """Predict and learn what was prepared, and move the state past it.

        Args:
            state: the shard; it changes.
            prepared: the records that follow those that it has learned.
            next_offset: the offset after the last of them.
        """
        for batch in prepared.batches:
            scores = state.model.learn(state.standardiser.take(batch))  # predicts each event before it learns from it
            state.progress.add(scores.predictions, batch.labels, batch.weights)
            if len(batch):
                latest = int(batch.times.max())
                state.watermark = latest if state.watermark is None else max(state.watermark, latest)
        for bad in prepared.rejected:
            state.rejected[str(bad.reason)] += bad.events
        state.next_offset = next_offset

    def learn(
        self, state: ShardState, values: Sequence[bytes | None], timestamps: NDArray[np.int64], next_offset: int
    ) -> Prepared:
        """Do both, one after the other."""
        prepared = self.prepare(values, timestamps)
        self.take(state, prepared, next_offset)
        return prepared

    def _encode(self, decoded: Decoded) -> Batch:
        entries = self._features.encode(decoded.table)
        return Batch(
            entries=entries,
            labels=decoded.labels,
            weights=decoded.weights,
            times=decoded.times,
            routes=self._features.routes(decoded.table, entries),
        )
