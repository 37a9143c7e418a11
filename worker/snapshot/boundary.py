"""The boundary between two versions of a shard: where shards meet, and where a version's state is told.

What a shard has added since its last version becomes its contribution, then the contributions of the others are folded
in, by shard and version, and the shared rows are made anew from the sums. A version that is published is this and the
records that say so (`sealing.Sealed`); a replay that publishes nothing needs no more (`Boundary`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.errors import CorruptSnapshotError
from worker.model.index import distinct
from worker.model.ledger import Contribution
from worker.model.rows import Rows
from worker.snapshot.manifest import Peer, State
from worker.snapshot.records import entry_bytes
from worker.snapshot.state import ShardState

_MEASURED_ROWS = 2_048  # at least, where there are as many: how far these moved stands for all


@dataclass(frozen=True, kw_only=True)
class Folding:
    """What another shard has added by one of its versions: to be folded in at a commit."""

    shard: int
    peer: Peer  # the version, and where the next one is read
    contribution: Contribution


@dataclass(frozen=True, kw_only=True)
class Folded:
    """What a version has folded in of the other shards."""

    rows: int = 0
    bytes: int = 0  # that they take in records
    distance: float | None = None  # how far that moved shared rows, of many a part; None where it holds none


class Boundary:
    """A version that nobody publishes: the state is settled at it as soon as this is made.

    Args:
        state: the shard; it has moved on from its last version.
        foldings: what the other shards have added since.

    Raises:
        CorruptSnapshotError: a parameter is not finite.
    """

    def __init__(self, state: ShardState, foldings: Sequence[Folding] = ()) -> None:
        moved = state.model.table.moved(apart=state.model.shared is not None)
        require_finite(state, *moved)
        _, self.contribution = state.model.boundary(moved)
        self.folded = fold(state, self.contribution, foldings)
        self.passed_over, state.passed_over = state.passed_over, []
        self.told = told(state)
        state.version += 1


def require_finite(state: ShardState, *moved: Rows) -> None:
    """Refuse to go on with what nobody can score with.

    Args:
        state: the shard.
        moved: the rows that have moved since its last version.

    Raises:
        CorruptSnapshotError: a parameter is not finite.
    """
    if not all(np.isfinite(it).all() for it in (*(rows.parameters for rows in moved), state.model.pair_means)):
        raise CorruptSnapshotError(f"shard {state.shard} holds parameters that are not finite: nothing was published")


def fold(state: ShardState, contribution: Contribution | None, foldings: Sequence[Folding]) -> Folded:
    """Add what the other shards have added, in their canonical order, and make the shared rows anew.

    Args:
        state: the shard.
        contribution: what it has added itself; None where shards are not merged.
        foldings: what the others have added.
    """
    shared = state.model.shared
    if shared is None or contribution is None:
        return Folded()
    theirs = distinct(np.concatenate([contribution.keys[:0], *(it.contribution.keys for it in foldings)]))
    theirs = theirs[~shared.are_pairs(theirs)]
    if shared.bounded:
        theirs = theirs[state.model.table.has(theirs)]
    measured = theirs[:: max(1, len(theirs) // _MEASURED_ROWS)]
    weights = state.model.table.weights(measured)
    for folding in sorted(foldings, key=lambda it: (it.shard, it.peer.version)):
        shared.merged.add(folding.contribution)
        state.peers[folding.shard] = folding.peer
    state.model.renew(distinct(np.concatenate([contribution.keys, theirs])))
    rows = sum(len(folding.contribution) for folding in foldings)
    return Folded(
        rows=rows,
        bytes=rows * entry_bytes(shared.prior.factors),
        distance=_distance(weights, state.model.table.weights(measured)) if len(measured) else None,
    )


def told(state: ShardState) -> State:
    """Tell what a shard holds at a version. Settles table and cells: no row counts as touched any more."""
    return State(
        **dict(state.counts()),
        rows=len(state.model.table),
        clock=state.model.clock.time,
        pending=state.model.clock.pending,
        view=state.view(),
        left_out=state.model.pairs.left_out(),
        watch=state.watch.digest(),
        loosened_at=state.loosening.event,
        digest=state.digest(),
    )


def _distance(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Root mean square of how far weights [n] moved, in posterior deviations; each with its precision, [2, n]."""
    moved = after[0].astype(np.float64) - before[0]
    return float(np.sqrt(np.mean(moved * moved * after[1])))
