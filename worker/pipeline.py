"""Bytes become columns, keys and losses: what the live worker and a replay do to events, in the same words."""

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
class Learned:
    """What became of some records."""

    events: int
    rejected: list[Rejected]


class Pipeline:
    """decode -> features -> predict -> learn, for the records of one partition in offset order."""

    def __init__(self, learning: Learning) -> None:
        self._decoder = Decoder(learning)
        self._features = Features(learning)

    def learn(
        self, state: ShardState, values: Sequence[bytes | None], timestamps: NDArray[np.int64], next_offset: int
    ) -> Learned:
        """Learn from records, and move the state past them.

        Args:
            state: the shard; it changes.
            values: the records' values [n].
            timestamps: the records' timestamps [n], milliseconds since 1970, -1 where there is none.
            next_offset: the offset after the last of them.
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
        scores = state.model.learn(batch)  # predicts each event before it learns from it
        state.progress.add(scores.predictions, batch.labels, batch.weights)

        state.rejected.update(str(bad.reason) for bad in decoded.rejected)
        if len(batch):
            latest = int(batch.times.max())
            state.watermark = latest if state.watermark is None else max(state.watermark, latest)
        state.next_offset = next_offset
        return Learned(events=len(batch), rejected=decoded.rejected)
