"""What a shard has added to the rows that all share, read from its partition of the model topic."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from worker.model.ledger import Contribution, Ledger
from worker.model.rows import FACTORS
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.manifest import Manifest, Peer
from worker.snapshot.records import Kind, Record, decode_contribution, decode_ledger
from worker.snapshot.sealing import Folding
from worker.stream.tail import TrimmedError


class Published(Protocol):
    """A partition of the model topic: in Kafka (`Tail`), or recorded."""

    topic: str
    partition: int

    def bounds(self) -> tuple[int, int]:
        """Give the first offset and the one after the last."""
        ...

    def last_manifest(self) -> tuple[Manifest, int] | None:
        """Find the last manifest and its offset; None where there is none."""
        ...

    def records(self, start: int) -> Iterator[tuple[Record, int]]:
        """Read records and their offsets from `start` to the end."""
        ...


def folding_of(version: Version, factors: int) -> Folding:
    """Give what a version adds, and where the next one is read."""
    parts = [decode_contribution(record.value, factors) for record in version.of_kind(Kind.CONTRIBUTION)]
    return Folding(
        shard=version.manifest.shard,
        peer=reached(version.manifest, version.manifest_offset),
        contribution=joined(parts, factors),
    )


def reached(manifest: Manifest, manifest_offset: int) -> Peer:
    """Tell how far a shard is with a version."""
    return Peer(
        version=manifest.version,
        offset=manifest_offset + 1,
        events=manifest.state.events,
        created=manifest.created,
    )


def since(tail: Published, model: str, factors: int, known: Peer, upto: int | None = None) -> Iterator[Folding]:
    """Read what a shard has added after the version that is known, up to another one or to the end.

    Raises:
        TrimmedError: it is no longer there.
        CorruptSnapshotError: a record is not what was sent, or a version is missing.
    """
    expected = known.version + 1
    if upto is not None and expected > upto:
        return
    # What lies between two versions, a transaction's marker, may be trimmed: that is no loss.
    for version in versions(tail, model, max(known.offset, tail.bounds()[0])):
        if version.manifest.version < expected:
            continue  # a version that was known before it had an offset
        if version.manifest.version != expected:
            raise TrimmedError(f"shard {tail.partition}: version {expected} is gone from {tail.topic}")
        yield folding_of(version, factors)
        if expected == upto:
            return
        expected += 1
    if upto is not None:
        raise TrimmedError(f"shard {tail.partition}: version {expected} is gone from {tail.topic}")


def ever(tail: Published, model: str, factors: int, upto: int | None = None) -> list[Folding]:
    """Read all that a shard has ever added, up to a version or to the last one: one by one where it is all there.

    Else as a sum, which says the same; only where the past is forgotten, the last bits of it may differ.

    Raises:
        TrimmedError: that version is older than the bases that are kept, or is no longer there.
    """
    try:
        found = list(since(tail, model, factors, Peer(version=0, offset=0), upto))
    except TrimmedError:
        found = []
    return found or [total(tail, model, factors, upto)]


def total(tail: Published, model: str, factors: int, upto: int | None = None) -> Folding:
    """Read all that a shard has ever added, up to a version or to the last one; nothing of version 0, if it has none.

    Raises:
        TrimmedError: that version is older than the bases that are kept, or is no longer there.
    """
    found = tail.last_manifest()
    if found is None:
        if upto is not None:
            raise TrimmedError(f"shard {tail.partition}: version {upto} is gone from {tail.topic}")
        start = Peer(version=0, offset=tail.bounds()[0])
        return Folding(shard=tail.partition, peer=start, contribution=joined([], factors))
    last, _ = found
    bases = [base for base in last.bases if upto is None or base.completed <= upto]
    if not bases:
        raise TrimmedError(f"shard {tail.partition}: version {upto} is older than the bases kept in {tail.topic}")
    ledger, wanted = Ledger(FACTORS + factors), last.version if upto is None else upto
    for version in versions(tail, model, bases[-1].offset):
        for record in version.of_kind(Kind.LEDGER) if version.manifest.began == bases[-1].version else ():
            ledger.add(decode_ledger(record.value, factors)[0])
        if version.manifest.version <= wanted:
            folding = folding_of(version, factors)
            ledger.add(folding.contribution)
        if version.manifest.version == wanted:
            return Folding(shard=folding.shard, peer=folding.peer, contribution=ledger.all())
    raise TrimmedError(f"shard {tail.partition}: version {wanted} is gone from {tail.topic}")


def summed(foldings: Sequence[Folding]) -> Folding:
    """Sum up what a shard has added by versions in a row."""
    ledger = Ledger(foldings[0].contribution.amounts.shape[1])
    for folding in foldings:
        ledger.add(folding.contribution)
    return Folding(shard=foldings[-1].shard, peer=foldings[-1].peer, contribution=ledger.all())


def joined(parts: list[Contribution], factors: int) -> Contribution:
    """Put the contributions of a version one after the other."""
    if not parts:
        width = FACTORS + factors
        return Contribution(
            keys=np.empty(0, np.uint64), seen=np.empty(0, np.int64), amounts=np.empty((0, width), np.int64)
        )
    return Contribution(
        keys=np.concatenate([part.keys for part in parts]),
        seen=np.concatenate([part.seen for part in parts]),
        amounts=np.concatenate([part.amounts for part in parts]),
        tick=parts[0].tick,
    )


def versions(tail: Published, model: str, offset: int) -> Iterator[Version]:
    """Read the versions of a shard from an offset on.

    Raises:
        TrimmedError: it is no longer there.
        CorruptSnapshotError: a record is not what was sent.
    """
    assembler = Assembler(model, tail.partition)
    for record, place in tail.records(offset):
        version = assembler.feed(record, place)
        if version is not None:
            yield version
    if offset < tail.bounds()[0]:
        raise TrimmedError(f"partition {tail.partition} of {tail.topic} begins after offset {offset}")
