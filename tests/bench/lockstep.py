"""Shards side by side without Kafka: each learns its share of a stream with the worker's own pipeline, then all merge.

A merge is this here: every shard seals a version with what it has added, then another one in which it folds in what all
others have just sealed, and nobody learns on before. All of it goes through the records that a worker would publish. A
worker folds in what it has read by the time of its commit: there shards are further behind one another.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tests.bench.ceilings import NOW
from tests.support.lineage import writing_of
from worker.events.partition import partition_of
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.quality.progress import LOSS, WEIGHT
from worker.snapshot.assembler import Assembler
from worker.snapshot.sealing import Folding, Sealed
from worker.snapshot.state import ShardState
from worker.stream.contributions import folding_of

_THREADS = 2  # between two merges shards have nothing to do with one another: threads change no bit


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Events in their order."""

    keys: pa.Array  # [n] strings: what partitions are made from
    values: Sequence[bytes]  # [n] JSON


class Shard:
    """A shard that is learned, and sealed version by version.

    Args:
        shard: its number.
        learning: how it is learned.
        stage: entered around each of "prepare", "learn", "seal", "write" and "read", by that name.
    """

    def __init__(
        self,
        shard: int,
        learning: Learning,
        stage: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        self.state = ShardState.fresh(shard, learning)
        self._stage = stage
        self._pipeline = Pipeline(learning)
        self._factors = learning.model.factors
        self._writing = writing_of(learning)
        self._assembler = Assembler(learning.model.name, shard)
        self._offset = 0

    def learn(self, values: list[bytes]) -> None:
        """Learn events, after those before."""
        with self._stage("prepare"):
            prepared = self._pipeline.prepare(values, np.full(len(values), NOW))
        with self._stage("learn"):
            self._pipeline.take(self.state, prepared, self.state.next_offset + len(values))

    def commit(self, foldings: Sequence[Folding] = ()) -> Folding:
        """Seal what was learned and fold in what others have sealed; gives what they have to fold in of this one."""
        with self._stage("seal"):
            sealed = Sealed(self.state, self._writing, foldings)
        with self._stage("write"):
            records = [*sealed.data, sealed.close(self._offset if sealed.needs_offset else None, 0)]
            sealed.settle()
        with self._stage("read"):
            fed = [self._assembler.feed(record, offset) for offset, record in enumerate(records, self._offset)]
            self._offset += len(records)
            (version,) = [version for version in fed if version is not None]
            return folding_of(version, self._factors)


def log_loss(stream: Stream, learning: Learning, shards: int, *, every: int | None, start: int = 0) -> float:
    """Give the progressive log loss of all shards together.

    Args:
        stream: the events; each is learned by the shard of its key.
        learning: how, with `model.merge` on.
        shards: how many.
        every: how many events each of them learns from one merge to the next, in the mean; None is never.
        start: the events before this one are learned, and not counted.

    Raises:
        RuntimeError: the loss is not a number.
    """
    events = len(stream.values)
    step = every * shards if every else events
    of = partition_of(stream.keys, shards, learning.events.partitioner)
    crew = [Shard(shard, learning) for shard in range(shards)]
    before = np.zeros(2)
    with ThreadPoolExecutor(_THREADS) as threads:
        for begin, end in pairwise(sorted({*range(0, events, step), start, events})):
            if begin == start:
                before = _sums(crew)
            parts = [(begin + np.flatnonzero(of[begin:end] == shard)).tolist() for shard in range(shards)]
            each = [[stream.values[number] for number in part] for part in parts]
            list(threads.map(Shard.learn, crew, each))
            if every and end % step == 0:
                _merge(threads, crew)
        loss, weight = _sums(crew) - before
    if not np.isfinite(loss / weight):
        raise RuntimeError(f"{shards} shards that merge every {every} events: the log loss is {loss / weight}")
    return float(loss / weight)


def _merge(threads: ThreadPoolExecutor, crew: list[Shard]) -> None:
    sealed = list(threads.map(Shard.commit, crew))
    others = [[folding for folding in sealed if folding.shard != it.state.shard] for it in crew]
    list(threads.map(Shard.commit, crew, others))  # nothing is added by these versions: there is nothing to fold in


def _sums(crew: list[Shard]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = sum((it.state.progress.sums[[LOSS, WEIGHT]] for it in crew), np.zeros(2))
    return found
