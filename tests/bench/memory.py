"""What rows take in memory: against their parameters, 3 + K numbers of 4 bytes, and against `model.max_bytes`.

A table without a bound grows in steps, so it takes least for a row just before it grows, and most just after: both are
told. What a bounded shard takes of the machine is measured in a process of its own, from before the shard is made: it
learns values that never come again, and commits, until three times as many rows as it holds were evicted.
"""

import gc
import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench import keys
from tests.bench.ceilings import LEARNING
from tests.bench.size import Size
from tests.support.lineage import Writer
from worker.learning import Learning
from worker.model.batch import NOWHERE, Batch, Entries
from worker.snapshot.state import ShardState

INCLUDES = {
    "to_raw_parameters": "bytes of a table that is full by `max_rows`, committed, over rows x (3 + K) x 4: parameters, "
    "key, event time, route, flags, index",
    "to_raw_parameters_before_growth": "the same without a bound, just before it grows",
    "to_raw_parameters_after_growth": "just after it has grown: the most beyond a million rows",
    "bytes_per_row": "of the full table, local rows",
    "shared_bytes_per_row": "of a row that shards share: the table, and two ledgers of 8 bytes an amount",
    "shared_to_raw_parameters": "the same over (3 + K) x 4",
    "local_held_to_max_bytes": "`headrace_table_bytes` of a full shard over `model.max_bytes`, the most; local rows",
    "local_resident_to_max_bytes": "what the process has become larger by, after a commit, the most: with buffers that "
    "the C library keeps, some 30 MB, and an array of 4 bytes a row while rows are looked for that are to go",
    "merged_held_to_max_bytes": "as above, every other row shared",
    "merged_resident_to_max_bytes": "as above: with what was evicted, kept until the next commit",
    "peak_resident_bytes": "of the process that fills the tables without a bound by bytes",
}
_ROWS = 5_000_000
_CHUNK = 10_000
_SHARED = 500_000
_MAX_MIB = 1_024
_WARM_TURNS = 20
_RAW_BYTES = (3 + LEARNING.model.factors) * 4


def measure(size: Size) -> dict[str, Any]:
    """Fill tables, and see what they take."""
    rows, least = size.of(_ROWS, 100_000), size.of(1_000_000, 20_000)
    full = _filled(rows, ShardState.fresh(0, _bounded(max_rows=rows)))[-1]
    found: dict[str, Any] = {"rows": rows, "bytes_per_row": full, "to_raw_parameters": full / _RAW_BYTES}
    growing = _filled(rows, ShardState.fresh(0, LEARNING), least)
    found["to_raw_parameters_before_growth"] = min(growing) / _RAW_BYTES
    found["to_raw_parameters_after_growth"] = max(growing) / _RAW_BYTES
    found["peak_resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
    found["shared_bytes_per_row"] = _shared(size.of(_SHARED, 10_000))
    found["shared_to_raw_parameters"] = found["shared_bytes_per_row"] / _RAW_BYTES
    found["max_mib"] = size.of(_MAX_MIB, 64)
    for name, merge in (("local", False), ("merged", True)):
        with multiprocessing.get_context("spawn").Pool(1) as process:
            held, resident = process.apply(bounded, (found["max_mib"],), {"merge": merge})
        found |= {f"{name}_held_to_max_bytes": held, f"{name}_resident_to_max_bytes": resident}
    return found


def bounded(mib: int, *, merge: bool) -> tuple[float, float]:
    """Fill a shard that may take so much, and go on; gives what it says it holds, and what it took, over the bound."""
    learn = _strangers(merge=merge)
    warm = ShardState.fresh(0, _bounded(max_bytes="2MiB", merge=merge))
    for turn in range(_WARM_TURNS):
        learn(warm, turn)
    del warm
    gc.collect()
    before, state = _resident(), ShardState.fresh(0, _bounded(max_bytes=f"{mib}MiB", merge=merge))
    held = resident = turn = 0
    while state.model.room.evicted <= 3 * len(state.model.table):
        learn(state, turn)
        turn += 1
        held, resident = max(held, state.model.nbytes), max(resident, _resident() - before)
    return held / (mib << 20), resident / (mib << 20)


def _strangers(*, merge: bool) -> Callable[[ShardState, int], None]:
    """Give what learns events of two values that never come again, a local and a shared one, and commits."""
    second = keys.shared if merge else keys.local

    def learn(state: ShardState, turn: int) -> None:
        wanted, routes = np.empty((_CHUNK, 2), np.uint64), np.full((_CHUNK, 2), NOWHERE)
        wanted[:, 0], wanted[:, 1] = keys.local(turn * _CHUNK, _CHUNK), second(2**40 + turn * _CHUNK, _CHUNK)
        routes[:, 0] = np.arange(_CHUNK)
        ones = np.ones(_CHUNK, np.float32)
        # the bias is missing: its field is the first of three
        starts = np.concatenate([[0], (np.arange(_CHUNK)[:, None] * 2 + [0, 1, 2]).ravel()])
        entries = Entries(fields=3, keys=wanted.ravel(), values=np.ones(2 * _CHUNK, np.float32), starts=starts)
        state.model.learn(
            Batch(entries=entries, labels=ones, weights=ones, times=np.arange(_CHUNK), routes=routes.ravel())
        )
        state.model.boundary()
        state.digest()

    return learn


def _bounded(**model: Any) -> Learning:
    return Learning.model_validate({"features": {"user": {}, "item": {}}, "model": {"merge": False} | model})


def _filled(rows: int, state: ShardState, least: int = 0) -> list[float]:
    """Fill a table with so many rows, committing now and then; gives the bytes of a row, from so many rows on."""
    table, per_row = state.model.table, list[float]()
    for start in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - start)
        table.touch(keys.local(start, count), _routes(count))
        state.digest()
        if len(table) >= least:
            per_row.append(state.model.nbytes / len(table))
    return per_row


def _routes(count: int) -> NDArray[np.int64]:
    return np.arange(count)


def _shared(rows: int) -> float:
    writer = Writer(learning=LEARNING)
    for start in range(0, rows, _CHUNK):
        places = writer.state.model.table.touch(keys.shared(start, min(_CHUNK, rows - start)))
        writer.state.model.table.parameters[places, 1] += np.float32(1)
    writer.commit()
    return writer.state.model.nbytes / len(writer.state.model.table)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
