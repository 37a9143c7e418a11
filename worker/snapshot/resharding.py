"""A trained model is carried to another number of shards, without learning anything again.

Events of a partition key go to another partition once their topic has another number of them. So each local row goes
where its key goes: a row says to which key's hash it belongs, and the partition is the remainder of that. What all
shards share is a sum, and stays one: new shard s mod M takes over what old shard s has added. Local rows that belong to
no single key, and pair weights where shards are not merged, are learned by each shard for itself: new shard q begins
with those of old shard q mod N. What is known of the scale of numbers is put together: every new shard knows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.errors import IncompatibleDataError
from worker.learning import Learning
from worker.model.batch import NOWHERE, SHARED
from worker.model.forgetting import NEVER
from worker.model.ledger import Contribution
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION, Rows
from worker.model.selection import REGION
from worker.model.shared import carried
from worker.model.table import Table
from worker.snapshot.state import ShardState


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A new shard before its first version."""

    state: ShardState  # its local rows count as touched; of shared rows it knows nothing yet
    contribution: Contribution | None  # what its first version adds to shared rows; None where shards are not merged


def reshard(old: Sequence[ShardState], partitions: int, learning: Learning) -> list[Moved]:
    """Carry the states of all N shards, by number, to M = `partitions` new ones.

    Raises:
        IncompatibleDataError: rows are not in the shards that the partitioner of the configuration says.
    """
    _require_partitioned(old)
    new = [ShardState.fresh(shard, learning) for shard in range(partitions)]
    latest = max(state.model.clock.tick if state.model.clock.runs else int(NEVER) for state in old)
    for state in old:
        _move_rows(state, len(old), new, latest)
        _move_counts(state, new[state.shard % partitions])
    for state in new:
        origin = old[state.shard % len(old)]
        state.standardiser.pool([it.standardiser for it in old], otherwise=origin.standardiser)
        _set_clock(state, [origin, *(it for it in old if it.shard % partitions == state.shard)])
        if not learning.model.merge:
            state.model.pair_means = origin.model.pair_means.copy()
            state.model.pair_precisions = origin.model.pair_precisions.copy()
        if REGION in state.cells.starts:
            start = state.cells.starts[REGION]
            state.cells.put(origin.cells.part(start, start + state.cells.sizes[REGION]))
    return [Moved(state=state, contribution=_contribution(state, old, partitions)) for state in new]


def _contribution(state: ShardState, old: Sequence[ShardState], partitions: int) -> Contribution | None:
    if state.model.shared is None:
        return None
    origins = [it.model.shared for it in old if it.shard % partitions == state.shard and it.model.shared is not None]
    width = state.model.shared.own.amounts.shape[1]
    return carried(origins, width, fades=state.model.clock.runs)


def _require_partitioned(old: Sequence[ShardState]) -> None:
    """Refuse rows of which so many are not where the partitioner sends their keys that it must be another one."""
    routed = astray = 0
    for state in old:
        _, routes = _local_rows(state)
        routed += int(np.count_nonzero(routes != NOWHERE))
        astray += int(np.count_nonzero((routes != NOWHERE) & (routes % len(old) != state.shard)))
    if astray > routed * (1 - 1 / len(old)) / 2:  # by another partitioner 1 - 1 / N of them are astray
        raise IncompatibleDataError(
            f"{astray} of {routed} local rows belong to keys of another partition: the producers partition in another "
            "way than `events.partitioner` says, or the topic has grown while this model was learned. Nothing was "
            "written"
        )


def _local_rows(state: ShardState) -> tuple[Rows, NDArray[np.int64]]:
    """Give the local rows of a shard, and their routes [n]."""
    rows = state.model.table.part(0, len(state.model.table))
    rows = rows[(rows.keys & SHARED) == 0]
    if rows.routes is None:
        raise ValueError("a table gives every row its route")
    return rows, rows.routes


def _move_rows(state: ShardState, shards: int, new: Sequence[ShardState], latest: int) -> None:
    rows, routes = _local_rows(state)
    for heir in new:
        mine = np.where(routes != NOWHERE, routes % len(new) == heir.shard, heir.shard % shards == state.shard)
        _put(heir.model.table, rows[mine], latest)


def _put(table: Table, rows: Rows, latest: int) -> None:
    """Put rows into a table; add up what was learned of a key that is there already."""
    there = np.isin(rows.keys, table.keys[: len(table)])
    twice, other = rows[there], Table(table.prior)
    table.put(rows[~there])
    other.put(twice)
    parts = [it.gather(twice.keys, latest).astype(np.float64) for it in (table, other, Table(table.prior))]
    table.put(
        Rows(
            keys=twice.keys,
            seen=np.maximum(table.get(twice.keys).seen, twice.seen),
            parameters=_sum(*parts),
            as_of=np.full(len(twice), latest),
            routes=twice.routes,
        )
    )


def _sum(one: NDArray[np.float64], more: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float32]:
    """Add up parameters [n, 3 + K]: precisions, and means by their precision, less the prior that both began with."""
    found = one + more - prior
    for precision, means in ((WEIGHT_PRECISION, slice(WEIGHT, WEIGHT + 1)), (FACTOR_PRECISION, slice(FACTORS, None))):
        sums = [part[:, means] * part[:, precision, None] for part in (one, more, prior)]
        found[:, means] = (sums[0] + sums[1] - sums[2]) / found[:, precision, None]
    return found.astype(np.float32)


def _move_counts(state: ShardState, heir: ShardState) -> None:
    heir.progress = heir.progress + state.progress
    heir.rejected.update(state.rejected)
    heir.skipped.update(state.skipped)
    heir.model.unstable += state.model.unstable
    if state.watermark is not None:
        heir.watermark = state.watermark if heir.watermark is None else max(heir.watermark, state.watermark)


def _set_clock(state: ShardState, origins: Sequence[ShardState]) -> None:
    times = [time for origin in origins if (time := origin.model.clock.time) is not None]
    state.model.clock.set(max(times, default=None), [])
