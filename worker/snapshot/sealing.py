"""A state is sealed into the records of its next version.

Every version carries a delta, the rows touched since the version before. A base, the full copy that bounds what a
restore reads, travels beside the deltas in parts of bounded size: a part sent with version m shows its rows as they
are at m, and any later change of them lies in a later delta. So reading everything from the first part on gives the
whole shard at any version from the last part on, and no commit ever waits for a copy of the whole table.

What was added to shared rows are sums, which a reader adds up: those of a base are as they were before its first part,
and every contribution from that version on comes on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.config import Learning
from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.model.batch import SHARED
from worker.model.ledger import Contribution
from worker.model.table import WEIGHT, WEIGHT_PRECISION
from worker.snapshot.contents import pair_columns, progress_columns
from worker.snapshot.manifest import Base, Input, Manifest, Peer, RecordSum, State, describe
from worker.snapshot.records import (
    Kind,
    Record,
    checksum,
    encode,
    encode_contribution,
    encode_ledger,
    encode_rows,
    entry_bytes,
    row_bytes,
    rows_per_record,
    split,
)
from worker.snapshot.state import ShardState, Sweep

# Below this a base is not worth its records: a restore reads that much in a few milliseconds.
_SMALLEST_BASE_BYTES = 1_048_576
_FRAME_BYTES = 2_048  # what a record takes beside its value: key, headers, and Kafka's own


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What a writer of versions needs to know beside the state."""

    learning: Learning
    group: str
    record_limit_bytes: int  # max.message.bytes of the model topic
    keep_bases: int
    base_part_bytes: int


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
    distance: float | None = None  # how far that moved shared rows; None where it holds none


class Sealed:
    """The next version of a shard, written down but not yet committed.

    The data records go first; the manifest closes them. Where the version starts a base, the manifest names the offset
    of the first data record, so that has to be known by then.

    Shards meet here and nowhere else: what this one has added since its last version becomes its contribution, then the
    contributions of the others are folded in, by shard and version, and the shared rows are made anew from the sums.

    Args:
        state: the shard; it has moved on from its last version.
        writing: how versions are written.
        foldings: what the other shards have added.
        carried: what a shard that begins with a model adds by its first version, in place of what it has learned.

    Raises:
        IncompatibleDataError: the topic's record limit does not hold a row.
        CorruptSnapshotError: a parameter is not finite; nothing may be published.
    """

    def __init__(
        self,
        state: ShardState,
        writing: Writing,
        foldings: Sequence[Folding] = (),
        carried: Contribution | None = None,
    ) -> None:
        self._state, self._writing = state, writing
        self._row_bytes = row_bytes(writing.learning.model.factors, fades=state.model.clock.runs)
        self.version = state.version + 1
        self.data: list[Record] = []
        self._rows: list[int] = []
        touched = state.model.table.touched()
        if not (np.isfinite(touched.parameters).all() and np.isfinite(state.model.pair_means).all()):
            raise CorruptSnapshotError(
                f"shard {state.shard} holds parameters that are not finite: nothing was published"
            )
        self._sweep: Sweep | None = state.sweep
        self._begin_base()
        local, contribution = state.model.boundary() if carried is None else state.model.take_over(carried)
        self._fold(contribution, foldings)
        self._digest, self._view = state.digest(), state.view()

        factors, limit = writing.learning.model.factors, writing.record_limit_bytes
        self._add(Kind.PROGRESS, encode(progress_columns(state.progress)), 0)
        if contribution is None:
            self._add(Kind.PAIRS, encode(pair_columns(state)), 0)
        else:
            for some in split(contribution, rows_per_record(entry_bytes(factors), limit)):
                self._add(Kind.CONTRIBUTION, encode_contribution(some), len(some))
        for piece in split(local, rows_per_record(self._row_bytes, limit)):
            self._add(Kind.ROWS, encode_rows(piece), len(piece))
        self._add_base_part()
        self._manifest: Manifest | None = None

    @property
    def needs_offset(self) -> bool:
        """Tell whether the manifest has to name the offset of the first data record."""
        return self._sweep is not None and self._sweep.offset is None

    def close(self, first_offset: int | None, now: int) -> Record:
        """Write the manifest. `now` is in milliseconds since 1970."""
        state, writing, bases = self._state, self._writing, list(self._state.bases)
        if self._sweep is not None:
            if self.needs_offset:
                self._sweep = replace(self._sweep, offset=first_offset)
            if self._sweep.offset is None:
                raise ValueError("a version that starts a base names the offset of its first record")
            if self._sweep.done:
                bases.append(
                    Base(
                        version=self._sweep.version,
                        completed=self.version,
                        offset=self._sweep.offset,
                        peers=self._sweep.peers,
                    )
                )
        self._manifest = Manifest(
            model=writing.learning.model.name,
            shard=state.shard,
            version=self.version,
            parent=state.version,
            group=writing.group,
            learning=describe(writing.learning),
            input=Input(topic=writing.learning.events.topic, partition=state.shard, next_offset=state.next_offset),
            watermark=state.watermark,
            peers=dict(sorted(state.peers.items())),
            records=[
                RecordSum(sequence=it.sequence, kind=it.kind, rows=rows, bytes=len(it.value), checksum=it.checksum)
                for it, rows in zip(self.data, self._rows, strict=True)
            ],
            began=self._sweep.version if self._sweep is not None else 0,
            bases=bases[-writing.keep_bases :],
            state=State(
                rows=len(state.model.table),
                events=state.progress.events,
                unstable=state.model.unstable,
                rejected=dict(sorted(state.rejected.items())),
                clock=state.model.clock.time,
                pending=state.model.clock.pending,
                view=self._view,
                digest=self._digest,
            ),
            created=now,
            parent_chain=state.chain,
        )
        return self._record(Kind.MANIFEST, self._manifest.encode())

    def settle(self) -> Manifest:
        """Move the state to this version: its transaction is committed."""
        if self._manifest is None:
            raise ValueError("a version is closed before it is settled")
        state, sweep = self._state, self._sweep
        state.version = self.version
        state.chain = Manifest.link(self._manifest.encode())
        state.bases = list(self._manifest.bases)
        begins = sweep is not None and sweep.version == self.version
        since = 0 if begins else state.bytes_since_base
        state.bytes_since_base = since + self._manifest.delta_bytes + self.folded.bytes
        state.sweep = None if sweep is None or sweep.done else sweep
        return self._manifest

    def _begin_base(self) -> None:
        """Decide whether this version carries a part of a base; a new one remembers the ledger as it is by now."""
        state, model = self._state, self._state.model
        if self.version == 1:
            self._sweep = Sweep(version=1, stop_row=0)  # the first delta is the whole shard
        elif state.sweep is None:
            factors = self._writing.learning.model.factors
            size_bytes = len(model.table) * self._row_bytes
            if model.shared is not None:
                size_bytes += len(model.shared.merged) * entry_bytes(factors)
            if state.bytes_since_base > max(size_bytes, _SMALLEST_BASE_BYTES):
                merged = model.shared.merged.all() if model.shared is not None else None
                own = model.shared.own.get(merged.keys) if model.shared is not None and merged is not None else None
                self._sweep = Sweep(
                    version=self.version, stop_row=len(model.table), own=own, merged=merged, peers=dict(state.peers)
                )

    def _add_base_part(self) -> None:
        sweep, writing = self._sweep, self._writing
        if sweep is None:
            return
        factors, limit = writing.learning.model.factors, writing.record_limit_bytes
        rows = max(1, writing.base_part_bytes // self._row_bytes)
        stop = min(sweep.next_row + rows, sweep.stop_row)
        part = self._state.model.table.part(sweep.next_row, stop)
        part = part[(part.keys & SHARED) == 0]
        for piece in split(part, rows_per_record(self._row_bytes, limit)):
            self._add(Kind.BASE, encode_rows(piece), len(piece))
        entries = sweep.next_entry
        if stop == sweep.stop_row and sweep.own is not None and sweep.merged is not None:
            entries = min(len(sweep.merged), entries + max(1, writing.base_part_bytes // entry_bytes(factors)))
            each = rows_per_record(entry_bytes(factors), limit)
            for start in range(sweep.next_entry, entries, each):
                some = slice(start, min(start + each, entries))
                self._add(Kind.LEDGER, encode_ledger(sweep.own[some], sweep.merged[some]), some.stop - start)
        self._sweep = replace(sweep, next_row=stop, next_entry=entries)

    def _fold(self, contribution: Contribution | None, foldings: Sequence[Folding]) -> None:
        """Add what the other shards have added, in their canonical order, and make the shared rows anew."""
        state, shared = self._state, self._state.model.shared
        self.folded = Folded()
        if shared is None or contribution is None:
            return
        theirs = np.unique(np.concatenate([contribution.keys[:0], *(it.contribution.keys for it in foldings)]))
        theirs = theirs[~np.isin(theirs, shared.pair_keys)]
        before = state.model.table.gather(theirs)
        for folding in sorted(foldings, key=lambda it: (it.shard, it.peer.version)):
            shared.merged.add(folding.contribution)
            state.peers[folding.shard] = folding.peer
        state.model.renew(np.unique(np.concatenate([contribution.keys, theirs])))
        rows = sum(len(folding.contribution) for folding in foldings)
        self.folded = Folded(
            rows=rows,
            bytes=rows * entry_bytes(self._writing.learning.model.factors),
            distance=_distance(before, state.model.table.gather(theirs)) if len(theirs) else None,
        )

    def _add(self, kind: Kind, value: bytes, rows: int) -> None:
        self.data.append(self._record(kind, value))
        self._rows.append(rows)

    def _record(self, kind: Kind, value: bytes) -> Record:
        if len(value) + _FRAME_BYTES > self._writing.record_limit_bytes:
            raise IncompatibleDataError(
                f"max.message.bytes = {self._writing.record_limit_bytes} of the model topic does not hold a record of "
                f"{len(value)} bytes ({kind}): raise it"
            )
        return Record(
            kind=kind, model=self._writing.learning.model.name, shard=self._state.shard, version=self.version,
            sequence=len(self.data), value=value, checksum=checksum(value),
        )  # fmt: skip


def _distance(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Root mean square of how far the weights of rows [n, 3 + K] moved, in posterior standard deviations."""
    moved = after[:, WEIGHT].astype(np.float64) - before[:, WEIGHT]
    return float(np.sqrt(np.mean(moved * moved * after[:, WEIGHT_PRECISION])))
