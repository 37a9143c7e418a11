"""The published chain of a model: its versions, from the model topic or from a recording of it."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Self

from worker.config import Config
from worker.errors import IncompatibleDataError
from worker.quality.watch import Watch
from worker.recording.reading import Recording
from worker.snapshot.assembler import Version
from worker.snapshot.boundary import Folding
from worker.snapshot.kinds import watching_of
from worker.snapshot.lineage import apply, verify
from worker.snapshot.manifest import Base, Manifest, Peer, describe, differences, learning_of
from worker.snapshot.records import Kind, Record, read
from worker.snapshot.state import ShardState
from worker.stream.client import reach, reader_settings
from worker.stream.contributions import Published, since, versions
from worker.stream.feed import Feed
from worker.stream.merging import recall_as_of
from worker.stream.tail import Tail, TrimmedError, look_back

_READ_AHEAD = {"queued.max.messages.kbytes": 16_384}  # of a reader: there are several for each shard


class RecordedPartition:
    """A partition of a model topic that was recorded; what `worker.stream.tail.Tail` shows of one in Kafka."""

    def __init__(self, recording: Recording, partition: int) -> None:
        self.topic, self.partition = recording.topic, partition
        self._recording = recording

    def bounds(self) -> tuple[int, int]:
        """Give the first offset and the one after the last."""
        return self._recording.ranges.get(self.partition, (0, 0))

    def records(self, start: int) -> Iterator[tuple[Record, int]]:
        """Read records and their offsets from `start` on.

        Raises:
            TrimmedError: the recording begins later.
            CorruptSnapshotError, IncompatibleDataError: a record is not what its writer sent.
        """
        first, after = self.bounds()
        if start < first:
            raise TrimmedError(
                f"partition {self.partition} of {self.topic}: the recording begins at offset {first}, and {start} is "
                "needed"
            )
        for some in self._recording.partition(self.partition, start, after) if start < after else ():
            for offset, value, headers in zip(
                some.offsets.tolist(), some.values.to_pylist(), some.headers.to_pylist(), strict=True
            ):
                yield read(value, [(header["key"], header["value"]) for header in headers or []]), offset

    def last_manifest(self) -> tuple[Manifest, int] | None:
        """Find the last manifest and its offset; None where there is none."""

        def look(start: int) -> tuple[Manifest, int] | None:
            manifests = ((record, offset) for record, offset in self.records(start) if record.kind is Kind.MANIFEST)
            last = deque(manifests, maxlen=1)
            return (Manifest.decode(last[0][0].value), last[0][1]) if last else None

        return look_back(*self.bounds(), look)


Open = Callable[[int], "AbstractContextManager[Published]"]  # a reader of a shard's partition, of its own


class Chain:
    """The versions of all shards of a model.

    Args:
        config: of the model.
        shards: how many partitions its topic has.
        open_: gives a reader of one of them; each call one that may be used beside the others.
        topic: names where it is, for people.

    Raises:
        IncompatibleDataError: there is no version of any shard, or it was learned by other settings than the
            configuration's.
    """

    def __init__(self, config: Config, shards: int, open_: Open, topic: str) -> None:
        self.config, self.shards, self.topic = config, shards, topic
        self._open, self._readers = open_, ExitStack()
        self._shared: dict[int, Published] = {}  # for what is read here and there
        self._offsets: dict[tuple[int, int], int] = {}  # by shard and version: where what follows it is read
        self._lock = threading.Lock()
        try:
            found = {shard: self._reader(shard).last_manifest() for shard in range(shards)}
            self.last = {shard: it[0] for shard, it in found.items() if it is not None}
            self.model = next((manifest.model for manifest in self.last.values()), config.model.name)
            self._require_same_learning()
        except BaseException:
            self.close()
            raise

    @classmethod
    def recorded(cls, config: Config, recording: Recording) -> Self:
        """Read a recording of the model topic.

        Raises:
            IncompatibleDataError, CorruptSnapshotError: as above.
        """
        return cls(
            config, recording.shards, lambda shard: nullcontext(RecordedPartition(recording, shard)),
            str(recording.location),
        )  # fmt: skip

    @classmethod
    def published(cls, config: Config) -> Self:
        """Read the model topic of a configuration.

        Raises:
            BrokerUnreachableError: no broker answers.
            IncompatibleDataError, CorruptSnapshotError: as above.
        """
        reach(config)  # which says what stands in the way
        settings, topic = reader_settings(config.kafka) | _READ_AHEAD, config.model.topic
        feed = Feed(settings, topic)
        try:
            shards = feed.partitions()
        finally:
            feed.close()
        return cls(config, shards, lambda shard: Tail(settings, topic, shard), topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all readers."""
        self._readers.close()

    def first(self, shard: int) -> Version | None:
        """Give the first version of a shard that is whole; None where there is none."""
        with self._lock:
            reader = self._reader(shard)
            return next(versions(reader, self.model, reader.bounds()[0]), None)

    def after(self, shard: int, start: int) -> Iterator[Manifest]:
        """Give the manifests of a shard from an offset of its partition on; reads beside all else.

        Raises:
            CorruptSnapshotError, IncompatibleDataError: a record is not what its writer sent.
        """
        reader = self._readers.enter_context(self._open(shard))
        for version in versions(reader, self.model, start):
            yield version.manifest

    def start(self, shard: int) -> int:
        """Give the first offset that is there of a shard's partition."""
        with self._lock:
            return self._reader(shard).bounds()[0]

    def bases(self, shard: int) -> list[Base]:
        """Give the bases that are kept and still there, oldest first."""
        last, start = self.last.get(shard), self.start(shard)
        return [base for base in last.bases if base.offset >= start] if last is not None else []

    def restore(self, shard: int, base: Base, version: int, *, own: bool = False) -> tuple[ShardState, Manifest, int]:
        """Rebuild a shard as it was at a version.

        Args:
            shard: which.
            base: to read from.
            version: not before the base is complete.
            own: leave out what the others have added: shared rows are not made then.

        Returns:
            The state, its manifest, and the offset behind that.

        Raises:
            CorruptSnapshotError: it is not what was published, or some of it is gone.
        """
        with self._lock:
            state: ShardState | None = None
            for found in versions(self._reader(shard), self.model, base.offset):
                learning = learning_of(found.manifest)
                if state is None:
                    state = ShardState.fresh(shard, learning)
                watching = watching_of(learning)
                if state.watch.watching.settings != watching.settings:  # what was watched by others was forgotten then
                    state.watch = Watch.fresh(watching)
                apply(state, found)
                if state.version == version:
                    verify(state, found.manifest)
                    if not own:
                        learned = learning_of(found.manifest)
                        config = self.config.model_copy(update={"model": learned.model})
                        recall_as_of(config, state, found.manifest, self._reader)
                    return state, found.manifest, found.manifest_offset + 1
        raise TrimmedError(f"version {version} of shard {shard} is gone from {self.topic}")

    def note(self, manifest: Manifest) -> None:
        """Remember where what follows the versions that a manifest names is read."""
        with self._lock:
            for shard, peer in manifest.peers.items():
                self._offsets[shard, peer.version] = peer.offset

    def added(self, shard: int, after: int, upto: int) -> Iterator[Folding]:
        """Give what a shard has added after one version and up to another one, as it was published.

        Raises:
            TrimmedError: it is no longer there.
        """
        with self._lock:
            known = Peer(version=after, offset=self._offsets.get((shard, after), 0))
            yield from since(self._reader(shard), self.model, self.config.model.factors, known, upto)

    def adding(self, shard: int, after: int) -> Iterator[Folding]:
        """Give what a shard has added after a version, as it was published, to the last one; reads beside all else.

        Raises:
            TrimmedError: it is no longer there.
        """
        with self._lock:
            reader = self._readers.enter_context(self._open(shard))
            known = Peer(version=after, offset=self._offsets.get((shard, after), 0))
        yield from since(reader, self.model, self.config.model.factors, known)

    def _reader(self, shard: int) -> Published:
        if shard not in self._shared:
            self._shared[shard] = self._readers.enter_context(self._open(shard))
        return self._shared[shard]

    def _require_same_learning(self) -> None:
        if not self.last:
            raise IncompatibleDataError(
                f"{self.topic} holds no version of a model: was it published elsewhere (model.topic)?"
            )
        ours = describe(self.config.learning)
        found = {one for manifest in self.last.values() for one in differences(describe(learning_of(manifest)), ours)}
        if found:
            raise IncompatibleDataError(
                f"the model {self.model} in {self.topic} was learned by other settings than the configuration's:\n  "
                + "\n  ".join(sorted(found))
                + "\nset them as they were, or replay --fresh to see what these would have made of the events"
            )
