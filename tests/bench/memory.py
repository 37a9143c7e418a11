"""What a row takes in memory, against its parameters: 3 + K numbers of 4 bytes.

A table grows in steps, so it takes least for a row just before it grows, and most just after: both are told.
"""

import gc
import resource
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import keys
from tests.bench.ceilings import LEARNING
from tests.bench.size import Size
from tests.support.lineage import Writer
from worker.snapshot.state import ShardState

INCLUDES = {
    "to_raw_parameters": "bytes of a full table with its index, over rows x (3 + K) x 4: just before it grows",
    "to_raw_parameters_after_growth": "the same just after it has grown: the most beyond a million rows",
    "bytes_per_row": "of a full table, local rows",
    "resident_to_raw_parameters": "what the process has become larger by while the table was filled",
    "shared_bytes_per_row": "of a row that shards share: the table and two ledgers",
}
_ROWS = 5_000_000
_CHUNK = 10_000
_SHARED = 500_000


def measure(size: Size) -> dict[str, Any]:
    """Fill a table, and see what it takes."""
    rows, least = size.of(_ROWS, 100_000), size.of(1_000_000, 20_000)
    gc.collect()
    before, state = _resident(), ShardState.fresh(0, LEARNING)
    raw = (3 + LEARNING.model.factors) * 4
    per_row: list[float] = []
    resident = 0.0
    for start in range(0, rows, _CHUNK):
        state.model.table.touch(keys.local(start, min(_CHUNK, rows - start)))
        if len(state.model.table) >= least:
            per_row.append(state.model.nbytes / len(state.model.table))
            if per_row[-1] == min(per_row):
                resident = (_resident() - before) / len(state.model.table)
    found = {
        "rows": len(state.model.table),
        "bytes_per_row": min(per_row),
        "to_raw_parameters": min(per_row) / raw,
        "to_raw_parameters_after_growth": max(per_row) / raw,
        "resident_to_raw_parameters": resident / raw,
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024,
    }
    return found | {"shared_bytes_per_row": _shared(size.of(_SHARED, 10_000))}


def _shared(rows: int) -> float:
    writer = Writer(learning=LEARNING)
    for start in range(0, rows, _CHUNK):
        places = writer.state.model.table.touch(keys.shared(start, min(_CHUNK, rows - start)))
        writer.state.model.table.parameters[places, 1] += np.float32(1)
    writer.commit()
    return writer.state.model.nbytes / len(writer.state.model.table)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
