"""How long a worker takes to get a large model back from the broker: 10 million rows, K = 16, in 4 shards.

The rows are made up, published by the code that carries a model to other shards (one transaction, a complete base for
each shard, checksums, digests), and read back by the worker's own restore, two shards at a time, as a worker does. It
ends with every digest verified. The broker holds what it reads in the page cache: it was just written.
"""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.broker import broker
from tests.bench import keys, rig
from tests.bench.size import Size, tell
from worker.config import Config
from worker.model.rows import Rows
from worker.snapshot.resharding import Moved
from worker.snapshot.sealing import Writing
from worker.snapshot.state import ShardState
from worker.stream import client, topics
from worker.stream.handover import publish
from worker.stream.restore import restore

INCLUDES = {
    "seconds": "from the call to the last verified digest: fetch, decode, rows into the table, fold what is shared; "
    "4 shards, two at a time; median",
    "rows": "of all shards, K = 16, one in fifty of them shared by all",
    "build_seconds": "making and publishing them, not part of the restore",
}
_ROWS = 10_000_000
_SHARED = 50  # one in so many
_AT_ONCE = 2  # as worker/stream/assignment.py does
_CHUNK = 500_000
_ROUNDS = 5


def measure(size: Size) -> dict[str, Any]:
    """Publish a large model, and restore it again and again."""
    rows = size.of(_ROWS, 20_000)
    with broker() as kafka:
        config = rig.configure(kafka, rig.fresh_topic(), "large")
        rig.create(config)
        began = time.monotonic()
        written = _publish(config, rows // rig.PARTITIONS)
        build = time.monotonic() - began
        tell(f"{rows:,} rows, {written:,} bytes published in {build:.1f} s")
        seconds = []
        for _ in range(max(1, min(_ROUNDS, size.rounds))):
            found, took = _restore(config)
            seconds.append(took)
            tell(f"restored {found:,} rows in {took:.2f} s")
        rig.drop(config, events=True)
    return {
        "rows": found,
        "seconds": median(seconds),
        "rows_per_second": found / median(seconds),
        "bytes": written,
        "build_seconds": build,
        "rounds": len(seconds),
    }


def _publish(config: Config, rows: int) -> int:
    required = topics.require(client.administer(config), config)
    writing = Writing.of(config, required.model_record_limit_bytes)
    moved = []
    for shard in range(rig.PARTITIONS):
        state = ShardState.fresh(shard, config.learning)
        shared = rows // _SHARED
        _put(state, keys.shared(0, shared), shard)
        for start in range(shared, rows, _CHUNK):
            _put(state, keys.local(start + (shard + 1) * 2**40, min(_CHUNK, rows - start)), shard)
        state.next_offset = 0
        moved.append(Moved(state=state, contribution=None))
    return publish(config, moved, writing, lambda _: None)


def _put(state: ShardState, of: NDArray[np.uint64], shard: int) -> None:
    """Put rows that have learned something into a shard; they count as touched, so its first version has them."""
    rng = np.random.default_rng(shard)
    parameters = rng.normal(0, 0.3, (len(of), 3 + state.model.settings.prior.factors)).astype(np.float32)
    parameters[:, 1:3] = 5 + rng.random((len(of), 2))
    state.model.table.put(Rows(keys=of, seen=np.full(len(of), 1_735_689_600_000), parameters=parameters))


def _restore(config: Config) -> tuple[int, float]:
    gc.collect()
    began = time.perf_counter()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        restored = [
            pool.submit(restore, config, shard, rig.PARTITIONS, threading.Event()) for shard in range(rig.PARTITIONS)
        ]
        rows = sum(len(one.result().state.model.table) for one in restored)
    return rows, time.perf_counter() - began
