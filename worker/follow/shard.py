"""One shard as a follower sees it: versions applied whole, damage refused, healed from the next base."""

import logging
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from worker.errors import IncompatibleDataError
from worker.follow.explanation import Behind
from worker.follow.moved import mark_of, newest
from worker.follow.whole import Whole
from worker.follow.withheld import Withheld
from worker.learning import Learning
from worker.model.batch import Entries
from worker.model.learner import Scores
from worker.quality.progress import Progress
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.lineage import GapError, advance, apply, verify
from worker.snapshot.manifest import Manifest, describe, differences, learning_of
from worker.snapshot.records import Kind, decode_keys, read
from worker.snapshot.state import ShardState

_LOG = logging.getLogger(__name__)
_REMEMBERED = 1_000_000  # keys, 8 bytes each, before it is looked which of them are moved twice


@dataclass(frozen=True, kw_only=True)
class Resync:
    """Ask for the records from an offset on once more: a base lies there."""

    offset: int


class FollowedShard:
    """The live copy of a shard. One thread takes records, any thread scores.

    A version that is damaged, does not follow, or is of a format or of settings that this follower does not know, is
    refused: the last good one goes on being served, `damage` says why, and the next base heals it. One that its worker
    calls not servable is withheld: the last servable one goes on being served, `withheld` says why, and it is caught up
    with once a servable version comes.
    """

    def __init__(self, model: str, shard: int, learning: Learning, whole: Whole) -> None:
        self.shard = shard
        self.damage: str | None = None  # why the last version read is not served
        self.withheld: Manifest | None = None  # the last version read, where it is not to be served
        self.gaps = self.corruptions = self.resyncs = 0
        self._learning = learning
        self._described = describe(learning)
        self._assembler = Assembler(model, shard)
        self._whole = whole
        self._lock = whole.lock  # the shard's own rows and the shared ones change together
        self._serving: tuple[ShardState, Manifest] | None = None
        self._building: ShardState | None = self._fresh()
        self._built_from = 0  # the first version that `_building` took
        self._built_whole = False  # whether that is the whole shard by now
        self._built_beyond = 0  # it is not served before it has come so far
        self._most_added = _REMEMBERED
        self._held = Withheld()
        self._added: list[tuple[int, NDArray[np.uint64]]] = []  # its versions since, and the shared rows they add to
        self._prior = self._fresh()
        self._damaged_at = -1  # a base that begins after this offset has nothing of the damage in it

    @property
    def manifest(self) -> Manifest | None:
        """The version that is served."""
        serving = self._serving
        return serving[1] if serving else None

    def take(self, message: Message) -> Resync | None:
        """Take the next record of the partition; where the answer is a `Resync`, go on reading from there."""
        try:
            version = self._assembler.feed(read(message.value(), message.headers()), message.offset())
        except IncompatibleDataError as error:
            self._assembler.drop()
            self._refuse(error, message.offset())
            return None
        if version is None:
            return None
        if self.damage is None:
            try:
                return self._apply(version)
            except GapError as error:
                self._refuse(error, version.offset - 1)
            except IncompatibleDataError as error:
                self._refuse(error, version.manifest_offset)
        return self._heal(version)

    def restart(self, beyond: int = 0) -> None:
        """Begin anew, at a base; what is served goes on being served until the copy is whole, and has come so far."""
        self.damage = None
        self._assembler.drop()
        self._held.clear()
        self._building, self._built_from, self._added, self._most_added = self._fresh(), 0, [], _REMEMBERED
        self._built_whole, self._built_beyond = False, beyond

    def predict(self, entries: Entries, seed: int | None = None) -> tuple[Scores, NDArray[np.float32], int]:
        """Score entries with the version served now.

        Gives the scores, the predictions of a model drawn by the seed (those of the scores without one), and the
        version, 0 where none is yet.
        """
        with self._lock:
            state, version = self._now()
            entries = state.standardiser.standardise(entries)
            scores = self._whole.predict(state.model, entries)
            drawn = scores.predictions if seed is None else self._whole.sample(state.model, entries, seed)
            return scores, drawn, version

    def behind(self, entries: Entries) -> Behind:
        """Copy what the score of one event is made of, by the version served now."""
        with self._lock:
            state, version = self._now()
            return self._whole.behind(state.model, state.standardiser.standardise(entries), version)

    def progress(self) -> Progress:
        """Give the progressive evaluation of the version served now."""
        with self._lock:
            state = self._serving[0] if self._serving else self._prior
            return state.progress.copy()

    def _apply(self, version: Version) -> Resync | None:
        manifest = version.manifest
        found = differences(describe(learning_of(manifest)), self._described)
        if found:
            raise IncompatibleDataError(
                f"shard {self.shard}: version {manifest.version} was learned with other settings, start the follower "
                "anew: " + "; ".join(found)
            )
        if self._building is not None:
            self._build(self._building, version)
        elif self._serving is not None:
            return self._advance(self._serving[0], version)
        return None

    def _advance(self, state: ShardState, version: Version) -> Resync | None:
        """Serve the next version, and with it those that were withheld before; or withhold it too."""
        manifest, held = version.manifest, self._held
        held.require_next(self.shard, (state.version, state.chain), version)
        if not manifest.servable:
            held.add(version)
            self._withhold(manifest)
            return None
        if not held.whole:
            return self._read_anew(manifest, beyond=state.version)
        versions = [*held.versions, version]
        with self._lock:  # readers see the version before or after, never between
            advance(state, *versions)
            for one in versions:
                self._whole.add(state, one)
                _mark(state, one)
            self._serving = state, manifest
        held.clear()
        self._release()
        return None

    def _build(self, building: ShardState, version: Version) -> None:
        apply(building, version)
        _mark(building, version)
        self._added += [
            (version.manifest.version, decode_keys(record.value)) for record in version.of_kind(Kind.CONTRIBUTION)
        ]
        manifest = version.manifest
        self._built_from = self._built_from or manifest.version
        self._built_whole |= any(base.version == self._built_from for base in manifest.bases)
        if not self._built_whole:
            return
        verify(building, manifest)
        if not manifest.servable:
            self._forget_overtaken()
            self._withhold(manifest)
        elif manifest.version >= self._built_beyond:
            with self._lock:
                self._whole.replace(self._serving[0] if self._serving else None, building, self._added)
                self._serving, self._building, self._added = (building, manifest), None, []
            self._release()

    def _forget_overtaken(self) -> None:
        """Bound what is remembered of the versions that build a copy: it may be long until one is to be served."""
        if sum(len(keys) for _, keys in self._added) > self._most_added:
            self._added = newest(self._added)
            self._most_added = _REMEMBERED + 2 * sum(len(keys) for _, keys in self._added)

    def _withhold(self, manifest: Manifest) -> None:
        """Note that a version is not to be served; say so of the first."""
        first, self.withheld = self.withheld is None, manifest
        if first:
            _LOG.warning(
                "shard %d: version %d is not servable: %s. Serving version %d until one is",
                self.shard, manifest.version, "; ".join(manifest.reasons),
                self.manifest.version if self.manifest else 0, extra={"action": "hold_back", "shard": self.shard},
            )  # fmt: skip

    def _release(self) -> None:
        if self.withheld is not None and self.manifest is not None:
            _LOG.info(
                "shard %d: version %d is servable, and served",
                self.shard, self.manifest.version, extra={"action": "hold_back", "shard": self.shard},
            )  # fmt: skip
        self.withheld = None

    def _read_anew(self, manifest: Manifest, beyond: int) -> Resync:
        """Begin at the newest base, since not all that was withheld is there; serve nothing older than before."""
        _LOG.info(
            "shard %d: reading anew from the base at version %d: too much was held back to be kept",
            self.shard, manifest.bases[-1].version, extra={"action": "resync", "shard": self.shard},
        )  # fmt: skip
        self.resyncs += 1
        self.restart(beyond)
        return Resync(offset=manifest.bases[-1].offset)

    def _now(self) -> tuple[ShardState, int]:
        """Give what is served, and its version. The caller holds the lock."""
        return (self._serving[0], self._serving[1].version) if self._serving else (self._prior, 0)

    def _fresh(self) -> ShardState:
        state = ShardState.fresh(self.shard, self._learning, reserve=False)
        state.model.table.keep_marks()
        return state

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

    def _refuse(self, error: IncompatibleDataError, offset: int) -> None:
        self._damaged_at = offset
        if self.damage is not None:
            return  # told and counted already: until a base heals the first damage, nothing new is served
        self.damage = str(error)
        self._held.clear()
        if isinstance(error, GapError):
            self.gaps += 1
        else:
            self.corruptions += 1
        _LOG.error(
            "%s. Serving version %d until the next base",
            error, self.manifest.version if self.manifest else 0, extra={"action": "refuse", "shard": self.shard},
        )  # fmt: skip


def _mark(state: ShardState, version: Version) -> None:
    """Mark the rows that a version moved; and those of a base that no version since the one it began with moved."""
    table, moved_by = state.model.table, version.manifest.version
    for record in version.of_kind(Kind.ROWS):
        table.mark(decode_keys(record.value), mark_of(state.shard, moved_by, exactly=True))
    for record in version.of_kind(Kind.BASE):
        table.mark(decode_keys(record.value), mark_of(state.shard, state.first, exactly=False), over=False)
