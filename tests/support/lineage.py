"""A writer of versions without Kafka: what a worker learns, sealed into records that stand in a partition of a list."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import orjson

from worker.config import Config
from worker.learning import Learning
from worker.model.ledger import Contribution
from worker.pipeline import Pipeline
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, Record, checksum
from worker.snapshot.sealing import Folding, Sealed, Writing
from worker.snapshot.state import ShardState
from worker.stream.tail import TrimmedError

NOW = 1_735_689_600_000


def learning_of(*, admit_after: int = 0, **model: Any) -> Learning:
    """Two features and few factors, unless told otherwise."""
    few = {"factors": 4} if model.get("kind", "gaussian") == "gaussian" else {}
    model = few | {"merge": False} | model
    return Learning.model_validate(
        {"features": {name: {"admit_after": admit_after} for name in ("user", "item")}, "model": model}
    )


def events(n: int, seed: int, *, users: int = 300, items: int = 100, start: int = NOW) -> list[bytes]:
    """Make events whose label depends on the user and the item, a millisecond apart from `start` on."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(users, size=n), rng.integers(items, size=n)
    label = (user + item + rng.integers(2, size=n)) % 3 == 0
    return [
        orjson.dumps({"user": f"u{u}", "item": f"i{i}", "label": int(y), "time": start + number})
        for number, (u, i, y) in enumerate(zip(user.tolist(), item.tolist(), label.tolist(), strict=True))
    ]


def writing_of(learning: Learning, **changes: Any) -> Writing:
    """How versions are written: as by default, unless told otherwise."""
    return replace(Writing.of(Config.model_validate(learning.model_dump()), 1_048_588), **changes)


@dataclass
class Writer:
    """One shard being learned, and the partition of the model topic that it writes."""

    learning: Learning = field(default_factory=learning_of)
    shard: int = 0
    group: str = "group"
    record_limit_bytes: int = 1_048_588
    keep_bases: int = 2
    base_part_bytes: int = 65_536
    base_after_bytes: ClassVar[int] = 1_048_576
    now: int = NOW  # the timestamp of the events' records
    log: list[tuple[int, Record]] = field(default_factory=list)  # offset, record
    manifests: list[Manifest] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)  # of the state at each version, by its own account
    next_offset: int = 0  # of the partition
    first_offset: int = 0  # of it: what came before was trimmed

    def __post_init__(self):
        self.state = ShardState.fresh(self.shard, self.learning)
        self._pipeline = Pipeline(self.learning)

    def learn(self, values: list[bytes | None]) -> None:
        timestamps = np.full(len(values), self.now)
        self._pipeline.learn(self.state, values, timestamps, self.state.next_offset + len(values))

    def seal(self, foldings: Sequence[Folding] = (), carried: Contribution | None = None) -> Sealed:
        return Sealed(
            self.state,
            writing_of(
                self.learning,
                group=self.group,
                record_limit_bytes=self.record_limit_bytes,
                keep_bases=self.keep_bases,
                base_part_bytes=self.base_part_bytes,
                base_after_bytes=self.base_after_bytes,
            ),
            foldings,
            carried,
        )

    def commit(self, foldings: Sequence[Folding] = (), carried: Contribution | None = None) -> Manifest:
        """Seal what was learned, put it into the log, and move on to the next version."""
        sealed = self.seal(foldings, carried)
        first = self.next_offset
        records = [*sealed.data, sealed.close(first if sealed.needs_offset else None, NOW + sealed.version)]
        self.log += enumerate(records, first)
        self.next_offset = first + len(records) + 1  # the marker of the transaction takes an offset too
        manifest = sealed.settle()
        self.manifests.append(manifest)
        self.digests[manifest.version] = self.state.digest()
        return manifest

    def advance(self, n: int = 50, **kind: int) -> Manifest:
        """Learn some more events, and commit."""
        self.learn(events(n, seed=self.state.version + 1, **kind))
        return self.commit()

    def trim(self) -> None:
        """Delete what lies before the oldest base that is kept."""
        self.first_offset = self.manifests[-1].bases[0].offset
        self.log = [(offset, record) for offset, record in self.log if offset >= self.first_offset]


class Partition:
    """A reader of the partition that a writer writes: what `worker.stream.tail.Tail` shows of one in Kafka."""

    topic = "interactions.model"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.partition = writer.shard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def bounds(self) -> tuple[int, int]:
        return self._writer.first_offset, self._writer.next_offset

    def last_manifest(self) -> tuple[Manifest, int] | None:
        manifests = [(offset, record) for offset, record in self._writer.log if record.kind is Kind.MANIFEST]
        if not manifests:
            return None
        offset, record = manifests[-1]
        return Manifest.decode(record.value), offset

    def records(self, start: int) -> Iterator[tuple[Record, int]]:
        if not self._writer.first_offset <= start <= self._writer.next_offset:
            raise TrimmedError(f"offset {start} is gone")
        for offset, record in self._writer.log:
            if offset >= start:
                yield record, offset


def versions(log: list[tuple[int, Record]], learning: Learning, *, shard: int = 0, start: int = 0) -> list[Version]:
    """Read the versions of a partition from an offset on."""
    assembler = Assembler(learning.model.name, shard)
    fed = [assembler.feed(record, offset) for offset, record in log if offset >= start]
    return [version for version in fed if version is not None]


def tampered(record: Record, value: bytes) -> Record:
    """A record with another value and a checksum that fits it: damage that only a digest finds."""
    return replace(record, value=value, checksum=checksum(value))


def manifest_of(record: Record, **changes: Mapping[str, Any] | int | str) -> Record:
    """A manifest record that says something else."""
    assert record.kind is Kind.MANIFEST
    return tampered(record, Manifest.decode(record.value).model_copy(update=changes).encode())
