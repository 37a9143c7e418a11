"""How versions follow one another: a state is sealed into records, and records are applied to a state.

Every version carries a delta, the rows touched since the version before. A base, the full copy that bounds what a
restore reads, travels beside the deltas in parts of bounded size: a part sent with version m shows its rows as they
are at m, and any later change of them lies in a later delta. So reading everything from the first part on gives the
whole shard at any version from the last part on, and no commit ever waits for a copy of the whole table.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from worker.config import Learning
from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.model.table import Rows
from worker.snapshot.assembler import Version
from worker.snapshot.contents import Contents, contents_of, pair_columns, progress_columns
from worker.snapshot.manifest import Base, Input, Manifest, RecordSum, State, describe, differences, learning_of
from worker.snapshot.records import Kind, Record, checksum, encode, encode_rows, row_bytes, rows_per_record, split
from worker.snapshot.state import ShardState, Sweep

# Below this a base is not worth its records: a restore reads that much in a few milliseconds.
_SMALLEST_BASE_BYTES = 1_048_576
_FRAME_BYTES = 2_048  # what a record takes beside its value: key, headers, and Kafka's own


class GapError(CorruptSnapshotError):
    """A version does not follow the one before: what is missing is gone, the version itself may be whole."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What a writer of versions needs to know beside the state."""

    learning: Learning
    group: str
    record_limit_bytes: int  # max.message.bytes of the model topic
    keep_bases: int
    base_part_bytes: int


class Sealed:
    """The next version of a shard, written down but not yet committed.

    The data records go first; the manifest closes them. Where the version starts a base, the manifest names the offset
    of the first data record, so that has to be known by then.

    Raises:
        IncompatibleDataError: the topic's record limit does not hold a row.
        CorruptSnapshotError: a parameter is not finite; nothing may be published.
    """

    def __init__(self, state: ShardState, writing: Writing) -> None:
        self._state, self._writing = state, writing
        self.version = state.version + 1
        self.data: list[Record] = []
        self._rows: list[int] = []
        touched = state.model.table.touched()
        if not (np.isfinite(touched.parameters).all() and np.isfinite(state.model.pair_means).all()):
            raise CorruptSnapshotError(
                f"shard {state.shard} holds parameters that are not finite: nothing was published"
            )
        self._digest = state.digest()
        self._sweep, part = self._next_part()
        per_record = rows_per_record(writing.learning.model.factors, writing.record_limit_bytes)
        self._add(Kind.PAIRS, encode(pair_columns(state)), 0)
        self._add(Kind.PROGRESS, encode(progress_columns(state.progress)), 0)
        for piece in split(touched, per_record):
            self._add(Kind.ROWS, encode_rows(piece), len(piece))
        for piece in split(part, per_record):
            self._add(Kind.BASE, encode_rows(piece), len(piece))
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
                bases.append(Base(version=self._sweep.version, completed=self.version, offset=self._sweep.offset))
        self._manifest = Manifest(
            model=writing.learning.model.name,
            shard=state.shard,
            version=self.version,
            parent=state.version,
            group=writing.group,
            learning=describe(writing.learning),
            input=Input(topic=writing.learning.events.topic, partition=state.shard, next_offset=state.next_offset),
            watermark=state.watermark,
            peers={},
            records=[
                RecordSum(sequence=it.sequence, kind=it.kind, rows=rows, bytes=len(it.value), checksum=it.checksum)
                for it, rows in zip(self.data, self._rows, strict=True)
            ],
            bases=bases[-writing.keep_bases :],
            state=State(
                rows=len(state.model.table),
                events=state.progress.events,
                unstable=state.model.unstable,
                rejected=dict(sorted(state.rejected.items())),
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
        state.bytes_since_base = (0 if begins else state.bytes_since_base) + delta_bytes(self._manifest)
        state.sweep = None if sweep is None or sweep.done else sweep
        return self._manifest

    def _next_part(self) -> tuple[Sweep | None, Rows]:
        """Decide how much of a base goes with this version."""
        state, table = self._state, self._state.model.table
        if self.version == 1:
            return Sweep(version=1, stop_row=0), table.part(0, 0)  # the first delta is the whole shard
        size_bytes = len(table) * row_bytes(self._writing.learning.model.factors)
        sweep = state.sweep
        if sweep is None:
            if state.bytes_since_base <= max(size_bytes, _SMALLEST_BASE_BYTES):
                return None, table.part(0, 0)
            sweep = Sweep(version=self.version, stop_row=len(table))
        rows = max(1, self._writing.base_part_bytes // row_bytes(self._writing.learning.model.factors))
        part = table.part(sweep.next_row, min(sweep.next_row + rows, sweep.stop_row))
        return replace(sweep, next_row=sweep.next_row + len(part)), part

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


def apply(state: ShardState, version: Version) -> None:
    """Move a state to the next version, or a fresh state to the first version of a base.

    The rows that it carries count as touched until the state is verified.

    Raises:
        GapError: the version does not follow.
        CorruptSnapshotError, IncompatibleDataError: a record cannot be read. The state has not changed.
    """
    _require_next(state, version.manifest)
    _take(state, version, contents_of(version, state))


def advance(state: ShardState, version: Version) -> None:
    """Move a whole state to the next version and verify it.

    Raises:
        GapError, CorruptSnapshotError, IncompatibleDataError: the version is not what its writer made. The state
            predicts as before, and is good for nothing else any more.
    """
    _require_next(state, version.manifest)
    contents = contents_of(version, state)
    model, before = state.model, (state.version, state.chain, state.progress)
    # What a value never seen counts with is its prior, so a row that is set back to it is as good as absent.
    rows = [replace(part, parameters=model.table.gather(part.keys)) for part in contents.rows]
    pairs = model.pair_means.copy(), model.pair_precisions.copy()
    _take(state, version, contents)
    try:
        verify(state, version.manifest)
    except CorruptSnapshotError:
        for part in rows:
            model.table.put(part)
        model.pair_means, model.pair_precisions = pairs
        state.version, state.chain, state.progress = before
        raise


def verify(state: ShardState, manifest: Manifest) -> None:
    """Hold a whole state against the digest that its writer published.

    Raises:
        CorruptSnapshotError: they differ.
    """
    digest = state.digest()
    if digest != manifest.state.digest:
        raise CorruptSnapshotError(
            f"shard {state.shard}: version {manifest.version} has digest {digest} as read, "
            f"{manifest.state.digest} as written"
        )


def require_same_learning(manifest: Manifest, learning: Learning, group: str) -> None:
    """Refuse to go on with a model that was learned in another way, or by another group.

    Raises:
        IncompatibleDataError: saying which settings differ.
    """
    found = differences(describe(learning_of(manifest)), describe(learning))
    if found:
        raise IncompatibleDataError(
            f"the model {manifest.model} in {learning.model.topic} was learned with other settings:\n  "
            + "\n  ".join(found)
            + "\nset them back, or give the new model a topic of its own (`model.topic`) and a group (`kafka.group`)"
        )
    if manifest.group != group:
        raise IncompatibleDataError(
            f"the model {manifest.model} in {learning.model.topic} belongs to the group {manifest.group!r}, "
            f"this worker is of {group!r}: two groups must not write one model (`kafka.group`, `model.topic`)"
        )


def delta_bytes(manifest: Manifest) -> int:
    """Bytes of a version that are not part of a base."""
    return sum(part.bytes for part in manifest.records if part.kind is not Kind.BASE)


def _require_next(state: ShardState, manifest: Manifest) -> None:
    if not state.version:
        return  # fresh: any version may be the first
    if manifest.version != state.version + 1:
        missing = manifest.version - state.version - 1
        raise GapError(
            f"shard {state.shard}: version {manifest.version} came after {state.version}, "
            + (f"{missing} missing between them" if missing > 0 else "the versions do not rise")
        )
    if manifest.parent_chain != state.chain:
        raise GapError(
            f"shard {state.shard}: version {manifest.version} was made from another version {state.version} "
            f"than ours ({manifest.parent_chain} is not {state.chain}): the chain is forked"
        )


def _take(state: ShardState, version: Version, contents: Contents) -> None:
    manifest, model = version.manifest, state.model
    for rows in contents.rows:
        model.table.put(rows)
    for pairs in contents.pairs:
        model.pair_means[pairs.left, pairs.right] = pairs.means
        model.pair_precisions[pairs.left, pairs.right] = pairs.precisions
    for progress in contents.progress:
        state.progress = progress
    model.unstable = manifest.state.unstable
    state.rejected = Counter(manifest.state.rejected)
    state.watermark = manifest.watermark
    state.next_offset = manifest.input.next_offset
    state.version, state.chain, state.bases = manifest.version, version.chain, list(manifest.bases)
    state.sweep = None
    state.bytes_since_base += delta_bytes(manifest)
