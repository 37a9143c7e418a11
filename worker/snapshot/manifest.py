"""The manifest: the record that closes a version, and says what the version is and where it comes from."""

from typing import Any

import xxhash
from pydantic import BaseModel, ConfigDict, ValidationError

from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.learning import Learning
from worker.snapshot.records import FORMAT, Kind

# Where a topic is called, or where a shard without a model starts, does not decide what is learned from an event.
# What is skipped does, but may change for events to come: `require_same_learning` looks at that.
_NOT_LEARNING = {"events": {"topic", "format", "start", "skip"}, "model": {"name", "topic"}}


_WATCHING = "quality"  # decides nothing of what is learned unless alarms are answered by learning otherwise
_OF_BASES = (Kind.BASE, Kind.LEDGER, Kind.BASE_CELLS)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a later release may say more


class RecordSum(_Part):
    """One data record of a version."""

    sequence: int
    kind: Kind
    rows: int
    bytes: int
    checksum: str


class Input(_Part):
    """How far the events were learned: all before `next_offset`."""

    topic: str
    partition: int
    next_offset: int


class Peer(_Part):
    """How far another shard is known."""

    version: int
    offset: int  # of the model topic's partition of that shard: the next record
    events: int = 0  # that it had learned by then
    created: int = 0  # milliseconds since 1970, by its writer's clock; 0 where there is no version yet


class Base(_Part):
    """A full copy of the shard: the base parts of the versions from `version` to `completed`.

    Reading everything from `offset` on gives the whole shard at any version from `completed` on.
    """

    version: int
    completed: int
    offset: int
    peers: dict[int, Peer] = {}  # folded before that version: what the ledger in it knows of the others


class Counts(_Part):
    """What has happened to a shard since the beginning."""

    events: int  # learned
    unstable: int  # events scored and not learned
    evicted: int = 0  # rows that had to go because the model is bounded
    admitted: int = 0  # rows of values that were held back at first
    held_back: int = 0  # how often a value stood for a rare one
    loosened: int = 0  # how often an alarm of drift was answered by loosening
    rejected: dict[str, int]  # bad records, by the reason
    skipped: dict[str, int] = {}  # valid events that are not learned, by the reason


class State(Counts):
    """What the shard holds after the version."""

    rows: int
    clock: int | None = None  # the event time by which the past is forgotten, milliseconds since 1970
    pending: list[int] = []  # event times that have not moved the clock yet
    left_out: str = ""  # pairs of fields that take no part in scores (see schemas/model); empty where all do
    view: str = ""  # digest of what all shards are known to have added to shared rows, hexadecimal
    watch: str = ""  # digest of what is known of how well the shard predicts, hexadecimal
    loosened_at: int = 0  # the event, counted as those of alarms are, after which it was loosened last
    digest: str  # of every parameter and sum, hexadecimal: equal exactly when the shards are equal


class Manifest(_Part):
    """What a version is."""

    format: int = FORMAT
    model: str
    shard: int
    version: int
    parent: int  # the version before; 0 before the first
    group: str
    learning: dict[str, Any]  # worker.learning.Learning, so that a reader needs no configuration
    input: Input
    watermark: int | None  # the latest event time learned, milliseconds since 1970
    peers: dict[int, Peer] = {}  # of other shards: what of them is folded in
    records: list[RecordSum]
    began: int = 0  # the version that began the base of which a part is among the records; 0 where none is
    bases: list[Base]  # complete ones that are kept, oldest first; empty before the first is complete
    state: State
    servable: bool = True  # whether followers are to serve it; its worker goes on from it in any case
    reasons: list[str] = []  # why it is not servable, in words; empty where it is
    passed_over: list[tuple[int, int]] = []  # first and last offsets that the breaker refused, since the version before
    last_servable: int = 0  # the last version up to this one that is servable; 0 where there is none
    created: int  # milliseconds since 1970, by the writer's clock
    parent_chain: str  # the parent's link; empty before the first version

    @property
    def delta_bytes(self) -> int:
        """Bytes of the version that are not part of a base."""
        return sum(part.bytes for part in self.records if part.kind not in _OF_BASES)

    @staticmethod
    def link(value: bytes) -> str:
        """Give a version's link of the digest chain: XXH3-128 of its manifest, which names its parent's link."""
        return xxhash.xxh3_128_hexdigest(value)

    def encode(self) -> bytes:
        """Write as JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, value: bytes) -> "Manifest":
        """Read from JSON.

        Raises:
            CorruptSnapshotError: it is no manifest.
        """
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise CorruptSnapshotError(f"a manifest cannot be read: {error}") from error


def describe(learning: Learning) -> dict[str, Any]:
    """Give the learning part of a configuration as it stands in manifests."""
    return learning.model_dump(mode="json", include={"events", "features", "model", "quality"})


def learning_of(manifest: Manifest) -> Learning:
    """Give the settings that a version was learned with.

    Raises:
        IncompatibleDataError: there are some that this release does not know.
    """
    try:
        return Learning.model_validate(manifest.learning)
    except ValidationError as error:
        found = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise IncompatibleDataError(
            f"version {manifest.version} of shard {manifest.shard} was learned with settings that this release does "
            f"not know, upgrade headrace: {'; '.join(found)}"
        ) from error


def differences(written: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """List the settings that decide what is learned and are not the same, as `name: published x, configured y`."""
    found = []
    sections = written.keys() | wanted.keys()
    if not any(settings.get(_WATCHING, {}).get("response", "alarm") != "alarm" for settings in (written, wanted)):
        sections -= {_WATCHING}
    for section in sorted(sections):
        theirs, ours = _flat(written.get(section, {})), _flat(wanted.get(section, {}))
        found += [
            f"{section}.{name}: published {theirs.get(name)!r}, configured {ours.get(name)!r}"
            for name in sorted(theirs.keys() | ours.keys())
            if name not in _NOT_LEARNING.get(section, set()) and theirs.get(name) != ours.get(name)
        ]
    if list(written.get("features", {})) != list(wanted.get("features", {})) and not found:
        found.append("features: the same, in another order")
    return found


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": leaf for inner, leaf in _flat(value).items()})
        else:
            flat[name] = value
    return flat
