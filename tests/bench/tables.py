"""What a large table costs: the pipeline's rate, from memory, on shards that hold ever more rows."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from tests.bench.ceilings import LEARNING, NOW
from tests.bench.size import Size, medians, ratio, rounds, tell
from worker.events.features import Features
from worker.pipeline import Pipeline
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.state import ShardState

INCLUDES = (
    "decode, features, predict, learn in one thread, from memory, on a table of so many rows (nine in ten of users): "
    "users by Zipf's law with exponent 0.8, items with 1.0; `largest_to_smallest` is the median of the rounds' ratios"
)
ROWS = (100_000, 1_000_000, 20_000_000)
EVENTS = 300_000
_CHUNK = 500_000
_BATCH = 10_000


def measure(size: Size) -> dict[str, Any]:
    """Measure with tables of growing size."""
    candidates = {str(rows): _candidate(size.of(rows, 5_000), size) for rows in ROWS}
    found = rounds(candidates, size.rounds)
    smallest, largest = str(ROWS[0]), str(ROWS[-1])
    return {name: {"eps": rate} for name, rate in medians(found, "").items()} | {
        "largest_to_smallest": ratio(found, largest, smallest)
    }


def _candidate(rows: int, size: Size) -> Callable[[], float]:
    users, items = rows * 9 // 10, rows // 10
    state, pipeline = ShardState.fresh(0, LEARNING), Pipeline(LEARNING)
    _fill(state, users, items)
    events = Planted(events=size.of(EVENTS, _BATCH), users=users, items=items, dimensions=0, drift_at=None)
    batches = [encode(batch) for batch in events.batches(_BATCH)]
    stamps = np.full(_BATCH, NOW)
    tell(f"a table of {len(state.model.table):,} rows")

    def run() -> float:
        began = time.perf_counter()
        for batch in batches:
            pipeline.learn(state, batch, stamps[: len(batch)], state.next_offset + len(batch))
        return sum(map(len, batches)) / (time.perf_counter() - began)

    run()  # rows of the contexts, and caches as they are in the long run
    return run


def _fill(state: ShardState, users: int, items: int) -> None:
    """Put the rows of all users and items into the table, as their first event would."""
    features = Features(LEARNING)
    for start in range(0, users, _CHUNK):
        user = np.arange(start, min(start + _CHUNK, users))
        columns = {"user": _names("u", user), "item": _names("i", user % items)}
        constant = {name: pa.array(["0"] * len(user)) for name in ("hour", "device", "slot")}
        state.model.table.touch(features.encode(pa.table(columns | constant)).keys)


def _names(prefix: str, numbers: np.ndarray) -> pa.Array:  # type: ignore[type-arg]
    return pa.array([f"{prefix}{number}" for number in numbers.tolist()])
