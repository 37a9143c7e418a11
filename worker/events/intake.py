"""What of the intake is learned, as far as the events themselves decide it: their ids, and which negatives are kept.

Of an event it is decided by its id, or, where it has none, by its partition, its offset and its number in a packed
message: so a replay keeps the same ones. By the id, an event that was sent twice has the same fate twice.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from worker.events.arrays import present, whole
from worker.events.decode import Decoded
from worker.events.features import hash_categories
from worker.events.hashing import seed_of
from worker.learning import Learning
from worker.model.arithmetic import mix
from worker.model.batch import Batch
from worker.model.window import NO_ID

_OF_IDS = seed_of("event id")
_OF_NEGATIVES = seed_of("negatives kept")  # keeps these draws apart from others of the same seed


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where records stand."""

    shard: int
    offsets: NDArray[np.int64]  # [records]


@dataclass(frozen=True, kw_only=True)
class Offered:
    """Events [m] that may be learned."""

    ids: NDArray[np.uint64] | None  # [m] hashes, `NO_ID` where there is none; None where none is looked for
    kept: NDArray[np.bool_] | None  # [m] False where a negative is left out; None where none is


class Intake:
    """Looks for ids, and leaves out negatives, as the configuration says."""

    def __init__(self, learning: Learning) -> None:
        self._id = learning.events.id
        self._share = learning.events.keep_negatives
        self._seed = np.uint64(mix(np.uint64(learning.model.seed) ^ _OF_NEGATIVES))
        self.takes_all = self._id is None and self._share == 1.0
        self.asks_source = self._share < 1.0

    def judge(self, decoded: Decoded, source: Source | None) -> Offered:
        """Say which of the events are to be learned, as far as they alone decide it.

        Raises:
            ValueError: negatives are left out, and nobody said where the records stand.
        """
        ids = None if self._id is None else ids_of(decoded.table.column(self._id))
        if self._share == 1.0:
            return Offered(ids=ids, kept=None)
        if source is None:
            raise ValueError("which negatives are kept depends on the offsets of their records")
        kept = keep(
            decoded.labels,
            np.zeros(len(decoded.index), np.uint64) if ids is None else ids,
            source.shard,
            source.offsets[decoded.index],
            np.zeros(len(decoded.index), np.int64) if decoded.rows is None else decoded.rows,
            self._seed,
            np.uint64(int(self._share * 2.0**64)),
        )
        return Offered(ids=ids, kept=kept)

    def weigh(self, batch: Batch) -> NDArray[np.float32]:
        """Give the weights [n] of events that were kept, for sums over all: a negative stands for those left out."""
        if self._share == 1.0:
            return batch.weights
        return np.where(batch.labels == 0, batch.weights * np.float32(1.0 / self._share), batch.weights)


def ids_of(column: pa.ChunkedArray | pa.Array) -> NDArray[np.uint64]:
    """Hash n ids, by their text: 123 and "123" are one; `NO_ID` where there is none."""
    array = whole(column)
    return np.where(present(array), hash_categories("event id", array, _OF_IDS), NO_ID)


@njit(cache=True, nogil=True)
def keep(
    labels: NDArray[np.float32],
    ids: NDArray[np.uint64],
    shard: int,
    offsets: NDArray[np.int64],
    rows: NDArray[np.int64],
    seed: np.uint64,
    threshold: np.uint64,
) -> NDArray[np.bool_]:
    """Draw which of n events are kept: those whose label is not 0, and of the others a share of threshold / 2^64."""
    kept = np.ones(len(labels), np.bool_)
    for n in range(len(labels)):
        if labels[n] == 0:
            state = ids[n]
            if state == NO_ID:
                state = mix(mix(np.uint64(shard) ^ seed) + np.uint64(offsets[n])) + np.uint64(rows[n])
            kept[n] = mix(state ^ seed) < threshold
    return kept
