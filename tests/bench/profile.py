"""Where the time of a worker goes: processor time an event, stage by stage, in one thread and without Kafka.

Four shards that are merged learn a stream, commit as a worker does with so many events a second, and fold one another's
versions in. What a worker spends beside this, the Kafka client spends: on reading messages, on sending versions, and on
reading those of the other shards.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa

from tests.bench.ceilings import LEARNING, NOW
from tests.bench.size import Size
from worker.events.partition import partition_of
from worker.pipeline import Pipeline
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.assembler import Assembler
from worker.snapshot.records import Record
from worker.snapshot.sealing import Folding, Sealed, Writing
from worker.snapshot.state import ShardState
from worker.stream.contributions import folding_of

INCLUDES = (
    "microseconds of processor time an event, one thread, no Kafka: `prepare` decodes and hashes, `learn` predicts and "
    "learns, `seal` copies versions out and folds in the others' (4 merged shards, a commit every 300,000 events), "
    "`write` encodes records, `read` decodes those of the others"
)
SHARDS = 4
_EVENTS_A_COMMIT = 300_000
_COMMITS, _WARM = 6, 2  # rows are new in the first ones, and seen again later
_BATCH = 2_500  # of a shard: a poll of 10,000


class _Spent:
    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        self.seconds[stage] += time.thread_time() - began


class _Shard:
    def __init__(self, number: int) -> None:
        self.state = ShardState.fresh(number, LEARNING)
        self.added: Folding | None = None  # by its last version
        self._assembler = Assembler(LEARNING.model.name, number)
        self._writing = Writing(
            learning=LEARNING,
            group="bench",
            record_limit_bytes=1_048_588,
            keep_bases=2,
            base_part_bytes=33_554_432,
            base_after_bytes=33_554_432,
        )
        self._offset = 0

    def commit(self, others: Sequence[Folding], spent: _Spent) -> Folding:
        with spent.on("seal"):
            sealed = Sealed(self.state, self._writing, others)
        with spent.on("write"):
            records: list[Record] = sealed.data
            records = [*records, sealed.close(self._offset if sealed.needs_offset else None, 0)]
            sealed.settle()
        with spent.on("read"):
            for record in records:
                version = self._assembler.feed(record, self._offset)
                self._offset += 1
            if version is None:
                raise RuntimeError("a manifest closes a version")
            return folding_of(version, LEARNING.model.factors)


def measure(size: Size) -> dict[str, float]:
    """Give the microseconds of processor time that each stage takes an event."""
    events = size.of(_EVENTS_A_COMMIT, 20_000)
    stream = Planted(events=events * _COMMITS)
    values, wheres = list[bytes](), []
    for batch in stream.batches():
        values += encode(batch)
        wheres.append(partition_of(pa.array([f"u{user}" for user in batch.user.tolist()]), SHARDS, "murmur2"))
    where, shards, pipeline, spent = (
        np.concatenate(wheres),
        [_Shard(it) for it in range(SHARDS)],
        Pipeline(LEARNING),
        _Spent(),
    )
    for commit in range(_COMMITS):
        if commit == _WARM:
            spent.seconds.clear()
        for shard in shards:
            mine = np.flatnonzero(where[commit * events : (commit + 1) * events] == shard.state.shard) + commit * events
            for start in range(0, len(mine), _BATCH):
                records = [values[number] for number in mine[start : start + _BATCH].tolist()]
                with spent.on("prepare"):
                    prepared = pipeline.prepare(records, np.full(len(records), NOW))
                with spent.on("learn"):
                    pipeline.take(shard.state, prepared, shard.state.next_offset + len(records))
        before = [shard.added for shard in shards]
        for number, shard in enumerate(shards):
            others = [it for it in before[:number] + before[number + 1 :] if it is not None]
            shard.added = shard.commit(others, spent)
    learned = events * (_COMMITS - _WARM)
    return {stage: seconds / learned * 1e6 for stage, seconds in spent.seconds.items()}
