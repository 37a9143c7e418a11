"""How versions follow one another: a state is sealed into records, and records are applied to a state.

Every version carries a delta, the rows touched since the version before. A base, the full copy that bounds what a
restore reads, travels beside the deltas in parts of bounded size: a part sent with version m shows its rows as they
are at m, and any later change of them lies in a later delta. So reading everything from the first part on gives the
whole shard at any version from the last part on, and no commit ever waits for a copy of the whole table.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from worker.config import Learning
from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.model.table import Rows
from worker.quality.progress import BINS
from worker.snapshot.assembler import Version
from worker.snapshot.manifest import Base, Input, Manifest, RecordSum, State, describe, differences
from worker.snapshot.records import (
    Kind,
    Record,
    checksum,
    decode,
    decode_rows,
    encode,
    encode_rows,
    row_bytes,
    rows_per_record,
    split,
)
from worker.snapshot.state import ShardState, Sweep

# Below this a base is not worth its records: a restore reads that much in a few milliseconds.
_SMALLEST_BASE_BYTES = 1_048_576


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
        if not np.isfinite(touched.parameters).all():
            raise CorruptSnapshotError(
                f"shard {state.shard} holds parameters that are not finite: nothing was published"
            )
        self._digest = state.digest()
        self._sweep, part = self._next_part()
        per_record = rows_per_record(writing.learning.model.factors, writing.record_limit_bytes)
        self._add(Kind.PAIRS, encode(_pairs(state)), 0)
        self._add(Kind.PROGRESS, encode(_progress(state)), 0)
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
            if self._sweep.next_row >= len(state.model.table):
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
        state.sweep = None if sweep is None or sweep.next_row >= len(state.model.table) else sweep
        return self._manifest

    def _next_part(self) -> tuple[Sweep | None, Rows]:
        """Decide how much of a base goes with this version."""
        state, table = self._state, self._state.model.table
        if self.version == 1:
            return Sweep(version=1, next_row=len(table)), table.part(0, 0)  # the first delta is the whole shard
        size_bytes = len(table) * row_bytes(self._writing.learning.model.factors)
        sweep = state.sweep
        if sweep is None:
            if state.bytes_since_base <= max(size_bytes, _SMALLEST_BASE_BYTES):
                return None, table.part(0, 0)
            sweep = Sweep(version=self.version)
        rows = max(1, self._writing.base_part_bytes // row_bytes(self._writing.learning.model.factors))
        part = table.part(sweep.next_row, sweep.next_row + rows)
        return replace(sweep, next_row=sweep.next_row + len(part)), part

    def _add(self, kind: Kind, value: bytes, rows: int) -> None:
        self.data.append(self._record(kind, value))
        self._rows.append(rows)

    def _record(self, kind: Kind, value: bytes) -> Record:
        return Record(
            kind=kind, model=self._writing.learning.model.name, shard=self._state.shard, version=self.version,
            sequence=len(self.data), value=value, checksum=checksum(value),
        )  # fmt: skip


def apply(state: ShardState, version: Version) -> None:
    """Move a state to the next version, or a fresh state to the first version of a base.

    Raises:
        CorruptSnapshotError: the version does not follow, or a record cannot be read.
    """
    manifest = version.manifest
    if state.version:
        if manifest.version != state.version + 1:
            raise CorruptSnapshotError(
                f"shard {state.shard}: version {manifest.version} follows {state.version}, "
                f"{manifest.version - state.version - 1} are missing between them"
            )
        if manifest.parent_chain != state.chain:
            raise CorruptSnapshotError(
                f"shard {state.shard}: version {manifest.version} was made from another version {state.version} "
                f"than ours ({manifest.parent_chain} is not {state.chain}): the chain is forked"
            )
    factors = state.model.settings.prior.factors
    for record in version.data:
        if record.kind in (Kind.ROWS, Kind.BASE):
            state.model.table.put(decode_rows(record.value, factors))
        elif record.kind is Kind.PAIRS:
            _take_pairs(state, record)
        elif record.kind is Kind.PROGRESS:
            _take_progress(state, record)
    state.model.unstable = manifest.state.unstable
    state.rejected.clear()
    state.rejected.update(manifest.state.rejected)
    state.watermark = manifest.watermark
    state.next_offset = manifest.input.next_offset
    state.version, state.chain, state.bases = manifest.version, version.chain, list(manifest.bases)
    state.sweep = None
    state.bytes_since_base += delta_bytes(manifest)


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
    found = differences(manifest.learning, describe(learning))
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


def _pairs(state: ShardState) -> dict[str, pa.Array]:
    left, right = np.triu_indices(len(state.model.pair_means), 1)
    return {
        "left": pa.array(left.astype(np.int32)),  # field numbers: 0 is the bias, then the features in their order
        "right": pa.array(right.astype(np.int32)),
        "weight": pa.array(state.model.pair_means[left, right]),
        "weight_precision": pa.array(state.model.pair_precisions[left, right]),
    }


def _take_pairs(state: ShardState, record: Record) -> None:
    columns = decode(record.value, ["left", "right", "weight", "weight_precision"])
    left, right = columns["left"].to_numpy(), columns["right"].to_numpy()
    state.model.pair_means[left, right] = columns["weight"].to_numpy()
    state.model.pair_precisions[left, right] = columns["weight_precision"].to_numpy()


def _progress(state: ShardState) -> dict[str, pa.Array]:
    sums = pa.FixedSizeListArray.from_arrays(pa.array(state.progress.sums), len(state.progress.sums))
    histogram = pa.FixedSizeListArray.from_arrays(pa.array(state.progress.histogram.ravel()), 2 * BINS)
    return {"sums": sums, "histogram": histogram}


def _take_progress(state: ShardState, record: Record) -> None:
    columns = decode(record.value, ["sums", "histogram"])
    state.progress.sums = columns["sums"].flatten().to_numpy(zero_copy_only=False).copy()
    state.progress.histogram = columns["histogram"].flatten().to_numpy(zero_copy_only=False).reshape(2, BINS).copy()
