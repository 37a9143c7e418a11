"""Bytes become columns, keys and losses: what the live worker and a replay do to events, in the same words.

Two steps, so that they can overlap: what `prepare` makes of records depends on nothing but these, so it may run ahead;
`take` moves a shard, one batch after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.config import Learning
from worker.events.decode import Decoder, Rejected
from worker.events.features import Features
from worker.model.batch import Batch
from worker.snapshot.state import ShardState


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Records as the learner takes them."""

    batch: Batch
    rejected: list[Rejected]


class Pipeline:
    """decode -> features -> predict -> learn, for the records of one partition in offset order."""

    def __init__(self, learning: Learning) -> None:
        self._decoder = Decoder(learning)
        self._features = Features(learning)

    def prepare(self, values: Sequence[bytes | None], timestamps: NDArray[np.int64]) -> Prepared:
        """Decode records, and encode the features of the good ones.

        Args:
            values: the records' values [n].
            timestamps: the records' timestamps [n], milliseconds since 1970, -1 where there is none.
        """
        decoded = self._decoder.decode(values, timestamps)
        entries = self._features.encode(decoded.table)
        batch = Batch(
            entries=entries,
            labels=decoded.labels,
            weights=decoded.weights,
            times=decoded.times,
            routes=self._features.routes(decoded.table, entries),
        )
        return Prepared(batch=batch, rejected=decoded.rejected)

    def take(self, state: ShardState, prepared: Prepared, next_offset: int) -> None:
        """Predict and learn what was prepared, and move the state past it.

        Args:
            state: the shard; it changes.
            prepared: the records that follow those that it has learned.
            next_offset: the offset after the last of them.
        """
        batch = prepared.batch
        scores = state.model.learn(batch)  # predicts each event before it learns from it
        state.progress.add(scores.predictions, batch.labels, batch.weights)

        state.rejected.update(str(bad.reason) for bad in prepared.rejected)
        if len(batch):
            latest = int(batch.times.max())
            state.watermark = latest if state.watermark is None else max(state.watermark, latest)
        state.next_offset = next_offset

    def learn(
        self, state: ShardState, values: Sequence[bytes | None], timestamps: NDArray[np.int64], next_offset: int
    ) -> None:
        """Do both, one after the other."""
        self.take(state, self.prepare(values, timestamps), next_offset)
