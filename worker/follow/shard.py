"""One shard as a follower sees it: versions applied whole, damage refused, healed from the next base."""

import logging
import threading
from dataclasses import dataclass

from confluent_kafka import Message

from worker.config import Learning
from worker.errors import CorruptSnapshotError
from worker.model.batch import Entries
from worker.model.gaussian import Scores
from worker.quality.progress import Progress
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.lineage import apply, verify
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import read
from worker.snapshot.state import ShardState

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Resync:
    """Ask for the records from an offset on once more: a base lies there."""

    offset: int


class FollowedShard:
    """The live copy of a shard. One thread takes records, any thread scores."""

    def __init__(self, model: str, shard: int, learning: Learning) -> None:
        self.shard = shard
        self.damage: str | None = None  # why the last version read is not served
        self.gaps = self.corruptions = self.resyncs = 0
        self._learning = learning
        self._assembler = Assembler(model, shard)
        self._lock = threading.Lock()
        self._serving: tuple[ShardState, Manifest] | None = None
        self._building: ShardState | None = ShardState.fresh(shard, learning)
        self._prior = ShardState.fresh(shard, learning)
        self._damaged_at = -1

    @property
    def manifest(self) -> Manifest | None:
        """The version that is served."""
        serving = self._serving
        return serving[1] if serving else None

    def take(self, message: Message) -> Resync | None:
        """Take the next record of the partition.

        Raises:
            IncompatibleDataError: it is of a format that this release does not know.
        """
        try:
            version = self._assembler.feed(read(message.value(), message.headers()), message.offset())
        except CorruptSnapshotError as error:
            self._assembler.drop()
            self._refuse(error, message.offset())
            return None
        if version is None:
            return None
        if self.damage is not None:
            return self._heal(version)
        try:
            self._apply(version)
        except CorruptSnapshotError as error:
            self._refuse(error, version.manifest_offset)
        return None

    def restart(self) -> None:
        """Begin anew, at a base; what is served goes on being served until the new copy is whole."""
        self.damage = None
        self._assembler.drop()
        self._building = ShardState.fresh(self.shard, self._learning)

    def predict(self, entries: Entries) -> tuple[Scores, int]:
        """Score entries with the version served now; gives it too, 0 where none is yet."""
        with self._lock:
            state, version = (self._serving[0], self._serving[0].version) if self._serving else (self._prior, 0)
            return state.model.predict(entries), version

    def progress(self) -> Progress:
        """Give the progressive evaluation of the version served now."""
        with self._lock:
            state = self._serving[0] if self._serving else self._prior
            return state.progress.copy()

    def _apply(self, version: Version) -> None:
        manifest = version.manifest
        building = self._building
        if building is None and self._serving is not None:
            state = self._serving[0]
            if manifest.version <= state.version:
                return  # read again after a resync
            with self._lock:  # readers see the version before or after, never between
                apply(state, version)
                verify(state, manifest)
                self._serving = state, manifest
        elif building is not None:
            apply(building, version)
            if manifest.bases and manifest.version >= manifest.bases[-1].completed:
                verify(building, manifest)
                with self._lock:
                    self._serving, self._building = (building, manifest), None

    def _heal(self, version: Version) -> Resync | None:
        bases = version.manifest.bases
        if not bases or bases[-1].offset <= self._damaged_at:
            return None  # no base lies wholly after the damage yet
        _LOG.info(
            "shard %d: healing from the base at version %d", self.shard, bases[-1].version,
            extra={"action": "heal", "shard": self.shard},
        )  # fmt: skip
        self.resyncs += 1
        self.restart()
        return Resync(offset=bases[-1].offset)

    def _refuse(self, error: CorruptSnapshotError, offset: int) -> None:
        served = self.manifest.version if self.manifest else 0
        if "missing" in str(error):
            self.gaps += 1
        else:
            self.corruptions += 1
        self.damage, self._damaged_at = str(error), offset
        _LOG.error(
            "%s. Serving version %d until the next base", error, served, extra={"action": "refuse", "shard": self.shard}
        )
