"""Where the time of a worker goes: processor time an event, stage by stage, in one thread and without Kafka.

Four shards that are merged learn a stream, commit as a worker does with so many events a second, and fold one another's
versions in. What a worker spends beside this, the Kafka client spends: on reading messages, on sending versions, and on
reading those of the other shards.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa

from tests.bench.ceilings import LEARNING
from tests.bench.lockstep import Shard
from tests.bench.size import Size
from worker.events.partition import partition_of
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.sealing import Folding

INCLUDES = (
    "microseconds of processor time an event, one thread, no Kafka: `prepare` decodes and hashes, `learn` predicts and "
    "learns, `seal` copies versions out and folds in the others' (4 merged shards, a commit every 300,000 events), "
    "`write` encodes records, `read` decodes those of the others"
)
_SHARDS = 4
_EVENTS_A_COMMIT = 300_000
_COMMITS, _WARM = 6, 2  # rows are new in the first ones, and seen again later
_BATCH = 2_500  # of a shard: a poll of 10,000


def measure(size: Size) -> dict[str, float]:
    """Give the microseconds of processor time that each stage takes an event."""
    events, seconds = size.of(_EVENTS_A_COMMIT, 20_000), Counter[str]()

    @contextmanager
    def spent(stage: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        seconds[stage] += time.thread_time() - began

    shards = [Shard(number, LEARNING, spent) for number in range(_SHARDS)]
    added: list[Folding] = []  # by the last versions
    for number, batch in enumerate(Planted(events=events * _COMMITS).batches(events)):
        if number == _WARM:
            seconds.clear()
        values = encode(batch)
        where = partition_of(pa.array([f"u{user}" for user in batch.user.tolist()]), _SHARDS, "murmur2")
        for shard in shards:
            mine = np.flatnonzero(where == shard.state.shard)
            for start in range(0, len(mine), _BATCH):
                shard.learn([values[at] for at in mine[start : start + _BATCH].tolist()])
        added = [shard.commit([it for it in added if it.shard != shard.state.shard]) for shard in shards]
    return {stage: each / (events * (_COMMITS - _WARM)) * 1e6 for stage, each in seconds.items()}
