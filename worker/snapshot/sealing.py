"""A state is sealed into the records of its next version.

Every version carries a delta, the rows touched since the version before. A base, the full copy that bounds what a
restore reads, travels beside the deltas in parts of bounded size: a part sent with version m shows its rows as they
are at m, and any later change of them lies in a later delta. So reading everything from the first part on gives the
whole shard at any version from the last part on, and no commit ever waits for a copy of the whole table.

What was added to shared rows are sums, which a reader adds up: those of a base are as they were before its first part,
and every contribution from that version on comes on top.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import pyarrow as pa

from worker.config import Config
from worker.errors import IncompatibleDataError
from worker.learning import Learning
from worker.model.batch import SHARED
from worker.model.cells import Words
from worker.model.ledger import Contribution
from worker.model.rows import Rows
from worker.snapshot.boundary import Folded, Folding, fold, require_finite, told
from worker.snapshot.columns import encode
from worker.snapshot.contents import pair_columns, progress_columns, watch_columns
from worker.snapshot.kinds import gate_of
from worker.snapshot.manifest import Base, Input, Manifest, RecordSum, describe
from worker.snapshot.records import (
    KEY_BYTES,
    WORD_BYTES,
    Kind,
    Record,
    checksum,
    contribution_bytes,
    encode_contribution,
    encode_keys,
    encode_ledger,
    encode_rows,
    encode_words,
    entry_bytes,
    row_bytes,
    rows_per_record,
    split,
)
from worker.snapshot.state import ShardState, Sweep

__all__ = ["Folded", "Folding", "Sealed", "Writing"]

# A base begins when what came since is so many times its size: a restore reads no more than that and the base itself,
# and where most of the rows move all the time, no more than a third of what is written are bases.
_BASES_WORTH = 2
# While what is learned may not be served, so many more bases are kept, so that a follower that starts finds the last
# version that may: the topic grows to some five times its usual size at most.
_SPARE_BASES = 8
_FRAME_BYTES = 2_048  # what a record takes beside its value: key, headers, and Kafka's own


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What a writer of versions needs to know beside the state."""

    learning: Learning
    group: str
    record_limit_bytes: int  # max.message.bytes of the model topic
    keep_bases: int
    base_part_bytes: int
    base_after_bytes: int

    @classmethod
    def of(cls, config: Config, record_limit_bytes: int) -> Self:
        """Write as a configuration says, to a topic whose `max.message.bytes` is the limit."""
        return cls(
            learning=config.learning,
            group=config.kafka.group,
            record_limit_bytes=record_limit_bytes,
            keep_bases=config.snapshots.keep_bases,
            base_part_bytes=config.snapshots.base_part_bytes,
            base_after_bytes=config.snapshots.base_after_bytes,
        )


class Sealed:
    """The next version of a shard, on its way: copied out of the state, then written down, then committed.

    Making it takes what the version says out of the state, and no longer than copying that takes: learning can go on
    as soon as it is made. Encoding (`data`, `close`) needs nothing of the state but what only `settle` changes, so it
    may happen in another thread; the next version is sealed after this one is settled.

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
        moved = state.model.table.moved(apart=state.model.shared is not None)
        require_finite(state, *moved)
        self._sweep: Sweep | None = state.sweep
        self._begin_base()
        self._local, self._contribution = (
            state.model.boundary(moved) if carried is None else state.model.take_over(carried)
        )
        self.folded = fold(state, self._contribution, foldings)
        self._base_rows, self._base_entries, self._base_words = self._take_base_part()
        self._words = state.cells.touched()
        self._evicted = state.model.table.dropped()
        self._pairs = pair_columns(state) if self._contribution is None and len(state.model.pair_means) else None
        self.progress, self.watch = state.progress.copy(), state.watch.copy()
        self._faults = gate_of(writing.learning).faults(self.watch)
        self._last_servable = state.last_servable if self._faults else self.version
        self._passed_over, state.passed_over = state.passed_over, []
        self._input = Input(topic=writing.learning.events.topic, partition=state.shard, next_offset=state.next_offset)
        self._watermark, self._peers = state.watermark, dict(sorted(state.peers.items()))
        self.told = told(state)
        self._rows: list[int] = []
        self._manifest: Manifest | None = None

    @cached_property
    def data(self) -> list[Record]:
        """The data records, in their order; encoded when first asked for."""
        records = []
        for sequence, (kind, value, rows) in enumerate(self._values()):
            records.append(self._record(kind, value, sequence))
            self._rows.append(rows)
        return records

    def encode(self) -> None:
        """Encode the data records now."""
        _ = self.data

    def _values(self) -> Iterator[tuple[Kind, bytes, int]]:
        """Encode what was copied out: kind, value, and how many rows are in it."""
        limit, factors = self._writing.record_limit_bytes, self._writing.learning.model.factors
        added, entries = (rows_per_record(each(factors), limit) for each in (contribution_bytes, entry_bytes))
        rows, words = rows_per_record(self._row_bytes, limit), rows_per_record(WORD_BYTES, limit)
        yield self._compressed(Kind.PROGRESS, progress_columns(self.progress))
        if self._pairs is not None:
            yield Kind.PAIRS, encode(self._pairs), 0
        for of_pairs, contribution in self._contributions():
            for some in split(contribution, added):
                yield Kind.CONTRIBUTION, encode_contribution(some, compressed=of_pairs), len(some)
        keys = rows_per_record(KEY_BYTES, limit)
        for start in range(0, len(self._evicted), keys):
            gone = self._evicted[start : start + keys]
            yield Kind.EVICTED, encode_keys(gone), len(gone)
        for piece in split(self._local, rows):
            yield Kind.ROWS, encode_rows(piece), len(piece)
        for part in split(self._words, words):
            yield Kind.CELLS, encode_words(part), 0
        for piece in split(self._base_rows, rows):
            yield Kind.BASE, encode_rows(piece), len(piece)
        for some_own, some_merged in zip(*(split(it, entries) for it in self._base_entries), strict=True):
            yield Kind.LEDGER, encode_ledger(some_own, some_merged), len(some_own)
        for part in split(self._base_words, words):
            yield Kind.BASE_CELLS, encode_words(part), 0
        yield self._compressed(Kind.WATCH, watch_columns(self.watch))

    def _contributions(self) -> Iterator[tuple[bool, Contribution]]:
        """Give what was added to rows, and apart from it what was added to pairs: of K + 3 amounts theirs are two."""
        if self._contribution is None or self._state.model.shared is None:
            return
        are_pairs = self._state.model.shared.are_pairs(self._contribution.keys)
        yield False, self._contribution[~are_pairs]
        yield True, self._contribution[are_pairs]

    @property
    def needs_offset(self) -> bool:
        """Tell whether the manifest has to name the offset of the first data record."""
        return self._sweep is not None and self._sweep.offset is None

    def close(self, first_offset: int | None, now: int) -> Record:
        """Write the manifest. `now` is in milliseconds since 1970."""
        state, writing, bases, data = self._state, self._writing, list(self._state.bases), self.data
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
            input=self._input,
            watermark=self._watermark,
            peers=self._peers,
            records=[
                RecordSum(sequence=it.sequence, kind=it.kind, rows=rows, bytes=len(it.value), checksum=it.checksum)
                for it, rows in zip(data, self._rows, strict=True)
            ],
            began=self._sweep.version if self._sweep is not None else 0,
            bases=_kept(bases, writing.keep_bases, self._last_servable),
            state=self.told,
            servable=not self._faults,
            reasons=self._faults,
            last_servable=self._last_servable,
            passed_over=_joined(self._passed_over),
            created=now,
            parent_chain=state.chain,
        )
        return self._record(Kind.MANIFEST, self._manifest.encode(), len(data))

    def settle(self) -> Manifest:
        """Move the state to this version: its transaction is committed."""
        if self._manifest is None:
            raise ValueError("a version is closed before it is settled")
        state, sweep = self._state, self._sweep
        state.version = self.version
        state.chain = Manifest.link(self._manifest.encode())
        state.bases, state.last_servable = list(self._manifest.bases), self._last_servable
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
            size_bytes += len(state.cells) * WORD_BYTES
            if state.bytes_since_base > max(_BASES_WORTH * size_bytes, self._writing.base_after_bytes):
                own, merged = model.shared.frozen() if model.shared is not None else (None, None)
                self._sweep = Sweep(
                    version=self.version, stop_row=len(model.table), own=own, merged=merged, peers=dict(state.peers),
                    stop_word=len(state.cells),
                )  # fmt: skip

    def _take_base_part(self) -> tuple[Rows, tuple[Contribution, ...], Words]:
        """Copy the part of a base that this version carries: rows, entries of both ledgers, and cells."""
        sweep, table, cells = self._sweep, self._state.model.table, self._state.cells
        if sweep is None:
            return table.part(0, 0), (), cells.part(0, 0)
        budget_bytes, factors = self._writing.base_part_bytes, self._writing.learning.model.factors
        # Where rows were dropped, the last ones have moved into places before the end.
        sweep = replace(sweep, stop_row=min(sweep.stop_row, len(table)))
        stop = min(sweep.next_row + max(1, budget_bytes // self._row_bytes), sweep.stop_row)
        stop = max(stop, sweep.next_row)
        part = table.part(sweep.next_row, stop)
        entries, ledgers = sweep.next_entry, tuple[Contribution, ...]()
        if stop >= sweep.stop_row and sweep.own is not None and sweep.merged is not None:
            entries = min(len(sweep.merged), entries + max(1, budget_bytes // entry_bytes(factors)))
            some = slice(sweep.next_entry, entries)
            ledgers = sweep.own[some], sweep.merged[some]
        word = sweep.next_word
        if stop >= sweep.stop_row and entries == (len(sweep.merged) if sweep.merged else 0):
            word = min(sweep.stop_word, word + budget_bytes // WORD_BYTES)
        words = cells.part(sweep.next_word, word)
        self._sweep = replace(sweep, next_row=stop, next_entry=entries, next_word=word)
        table.swept = 0 if self._sweep.done else stop
        return part[(part.keys & SHARED) == 0], ledgers, words

    def _compressed(self, kind: Kind, columns: dict[str, pa.Array]) -> tuple[Kind, bytes, int]:
        """Encode sums that stand in every version: zeros at first, so a topic has to hold them as they are, too."""
        self._require_room(kind, sum(column.nbytes for column in columns.values()))
        return kind, encode(columns, compressed=True), 0

    def _record(self, kind: Kind, value: bytes, sequence: int) -> Record:
        self._require_room(kind, len(value))
        return Record(
            kind=kind, model=self._writing.learning.model.name, shard=self._state.shard, version=self.version,
            sequence=sequence, value=value, checksum=checksum(value),
        )  # fmt: skip

    def _require_room(self, kind: Kind, size_bytes: int) -> None:
        if size_bytes + _FRAME_BYTES > self._writing.record_limit_bytes:
            raise IncompatibleDataError(
                f"max.message.bytes = {self._writing.record_limit_bytes} of the model topic does not hold a record of "
                f"{size_bytes} bytes ({kind}): raise it"
            )


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Make one of ranges that follow one another."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        joined.append((joined.pop()[0] if joined and joined[-1][1] + 1 == first else first, last))
    return joined


def _kept(bases: list[Base], count: int, last_servable: int) -> list[Base]:
    """Keep the newest bases, and those from which the last version that may be served can be read."""
    first = len(bases) - count
    ways = [place for place, base in enumerate(bases) if base.completed <= last_servable]
    if ways:
        first = max(min(first, ways[-1]), first - _SPARE_BASES)
    return bases[max(first, 0) :]
