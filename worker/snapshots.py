"""What stands in the model topic: which versions are kept, what one of them is, and whether all of it is sound."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Message

from worker.config import Config
from worker.errors import ConfigurationError, CorruptSnapshotError, IncompatibleDataError
from worker.quality.progress import Progress
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.contents import decode_progress
from worker.snapshot.lineage import apply, verify
from worker.snapshot.manifest import Manifest, learning_of
from worker.snapshot.records import Kind, read
from worker.snapshot.state import ShardState
from worker.stream.client import reader_settings
from worker.stream.feed import Feed
from worker.stream.tail import Tail, TrimmedError, despite_trimming


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of one shard."""

    shard: int
    oldest_version: int  # that is still in the topic; 0 where there is none
    last: Manifest | None  # the last version that can be read; None before the first


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One version of a shard."""

    manifest: Manifest
    chain: str
    progress: Progress  # how well each event was predicted before it was learned, up to this version
    offset: int  # of its first record in the partition
    manifest_offset: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether what is kept of a shard is sound: from its oldest base to its last version."""

    shard: int
    first_version: int  # the first and the last version that were found sound; 0 where there is none
    last_version: int
    records: int  # read
    bytes: int
    damage: str | None  # what is wrong with the first version that is damaged
    damaged_version: int | None  # its number, where that can be told


def kept(config: Config, shard: int | None = None) -> list[Kept]:
    """Tell what is kept of every shard, or of one.

    Raises:
        ConfigurationError: there is no such shard.
        IncompatibleDataError: there is no such topic, or no version in it can be read.
        BrokerUnreachableError: no broker answers.
    """
    found = []
    for number in _shards(config, shard):
        with _tail(config, number) as tail:
            last = tail.last_manifest(readable=True)  # `check` tells of damage
            first = despite_trimming(partial(_first_message, tail)) if last else None
        oldest = _version_of(first) if first is not None else 0
        found.append(Kept(shard=number, oldest_version=oldest or 0, last=last[0] if last else None))
    return found


def show(config: Config, shard: int | None = None, version: int | None = None) -> list[Shown]:
    """Give a version of every shard, or of one; the last one unless another is named.

    Raises:
        ConfigurationError: there is no such shard, or no such version of it.
        CorruptSnapshotError, IncompatibleDataError: the version, or one that is read on the way to it, is damaged.
        BrokerUnreachableError: no broker answers.
    """
    return [despite_trimming(partial(_show, config, number, version)) for number in _shards(config, shard)]


def records(config: Config, shard: int | None = None) -> int:
    """Give how many offsets `check` is about to pass, for a progress bar."""
    total = 0
    for number in _shards(config, shard):
        with _tail(config, number) as tail:
            begin, end = tail.bounds()
        total += end - begin
    return total


def check(
    config: Config, shard: int | None = None, progress: Callable[[int], None] = lambda _offsets: None
) -> Iterator[Verdict]:
    """Read all that is kept, and hold every version against its checksums, its parent and its digest.

    Args:
        config: where the model is.
        shard: only this one.
        progress: told how many offsets were passed since it was called last.

    Raises:
        ConfigurationError: there is no such shard.
        BrokerUnreachableError: no broker answers.
    """
    for number in _shards(config, shard):
        yield despite_trimming(partial(_check, config, number, progress))


def _show(config: Config, shard: int, version: int | None) -> Shown:
    with _tail(config, shard) as tail:
        found = tail.last_manifest(readable=version is not None)
        if found is None:
            raise ConfigurationError(f"shard {shard} has no version yet: is a worker running (`headrace run`)?")
        last, manifest_offset = found
        wanted = last.version if version is None else version
        whole = _find(tail, last, manifest_offset, wanted)
    if whole is None:
        raise ConfigurationError(
            f"version {wanted} of shard {shard} is not in {config.model.topic}: "
            "`headrace snapshot list` tells which are"
        )
    (record,) = whole.of_kind(Kind.PROGRESS)
    return Shown(
        manifest=whole.manifest,
        chain=whole.chain,
        progress=decode_progress(record.value, logistic=learning_of(whole.manifest).model.loss == "logistic"),
        offset=whole.offset,
        manifest_offset=whole.manifest_offset,
    )


def _find(tail: Tail, last: Manifest, manifest_offset: int, wanted: int) -> Version | None:
    """Read no more than it takes to come by a version."""
    if wanted == last.version:
        # Its records stand together, unless those of an aborted transaction stand between them.
        with suppress(CorruptSnapshotError):
            return _first(tail, last, manifest_offset - len(last.records), wanted)
    bases = [base.offset for base in last.bases if base.version <= wanted]
    return _first(tail, last, bases[-1] if bases else tail.bounds()[0], wanted)


def _first(tail: Tail, last: Manifest, start: int, wanted: int) -> Version | None:
    assembler = Assembler(last.model, last.shard)
    for record, offset in tail.records(start):
        version = assembler.feed(record, offset)
        if version is not None and version.manifest.version == wanted:
            return version
    return None


def _check(config: Config, shard: int, progress: Callable[[int], None]) -> Verdict:
    inspection = _Inspection(shard, progress)
    try:
        with _tail(config, shard) as tail:
            inspection.read(tail)
    except TrimmedError:
        raise  # no damage: the reading begins again, at a newer base
    except IncompatibleDataError as error:
        return inspection.verdict(str(error))
    return inspection.verdict(None)


class _Inspection:
    """One reading of a shard, and how far it came."""

    def __init__(self, shard: int, progress: Callable[[int], None]) -> None:
        self._shard, self._progress = shard, progress
        self._first = self._last = self._records = self._bytes = 0
        self._at: int | None = None  # the version whose records are being read

    def read(self, tail: Tail) -> None:
        """Read all that is kept.

        Raises:
            IncompatibleDataError: what is wrong with the first version that is damaged.
            TrimmedError: a worker trimmed what was to be read next.
        """
        found = tail.last_manifest(readable=True)
        begin, end = tail.bounds()
        if found is None:
            if begin < end and any(True for _ in tail.messages(begin)):
                raise CorruptSnapshotError(f"shard {self._shard} has records, and no version is closed by a manifest")
            return
        # What lies before the oldest base that is kept is about to be trimmed: nobody reads it any more.
        last, start = found[0], found[0].bases[0].offset
        state = ShardState.fresh(self._shard, learning_of(last))
        assembler = Assembler(last.model, self._shard)
        passed = begin
        for message in tail.messages(start):
            self._at = _version_of(message)
            version = assembler.feed(read(message.value(), message.headers()), message.offset())
            self._records, self._bytes = self._records + 1, self._bytes + len(message.value() or b"")
            self._progress(message.offset() + 1 - passed)
            passed = message.offset() + 1
            if version is not None:
                self._judge(state, version, last)
        if assembler.begun is not None:
            raise CorruptSnapshotError(f"version {assembler.begun} of shard {self._shard} has no manifest")
        self._progress(max(0, end - passed))

    def verdict(self, damage: str | None) -> Verdict:
        """Give what was found."""
        return Verdict(
            shard=self._shard, first_version=self._first, last_version=self._last, records=self._records,
            bytes=self._bytes, damage=damage, damaged_version=self._at if damage else None,
        )  # fmt: skip

    def _judge(self, state: ShardState, version: Version, last: Manifest) -> None:
        apply(state, version)
        if version.manifest.version >= last.bases[0].completed:
            verify(state, version.manifest)
        self._first, self._last = self._first or version.manifest.version, version.manifest.version


def _shards(config: Config, shard: int | None) -> range:
    with _feed(config) as feed:
        partitions = feed.partitions()
    if shard is None:
        return range(partitions)
    if not 0 <= shard < partitions:
        raise ConfigurationError(f"{config.model.topic} has the shards 0 to {partitions - 1}, not {shard}")
    return range(shard, shard + 1)


@contextmanager
def _feed(config: Config) -> Iterator[Feed]:
    feed = Feed(reader_settings(config.kafka), config.model.topic)
    try:
        yield feed
    finally:
        feed.close()


def _tail(config: Config, shard: int) -> Tail:
    return Tail(reader_settings(config.kafka), config.model.topic, shard)


def _first_message(tail: Tail) -> Message | None:
    return next(tail.messages(tail.bounds()[0]), None)


def _version_of(message: Message) -> int | None:
    """Read the version that a record says it belongs to; None where it says none."""
    said = dict(message.headers() or [])
    try:
        return int(said["headrace-version"])
    except (KeyError, ValueError, TypeError):
        return None
