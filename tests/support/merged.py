"""What merged shards should be: replays that fold in the peers' versions as recorded, and sums of all contributions."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tests.support.stage import Stage
from tests.support.verdict import last_manifests, messages, versions
from worker.model.gaussian import Gaussian
from worker.model.ledger import Ledger
from worker.model.rows import FACTORS
from worker.pipeline import Pipeline
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.manifest import Manifest, Peer
from worker.snapshot.records import Kind, decode_rows, read
from worker.snapshot.sealing import Folding, Sealed, Writing
from worker.snapshot.state import ShardState
from worker.stream.client import reader_settings
from worker.stream.contributions import folding_of
from worker.stream.feed import Feed

_POLL_SECONDS = 0.1

Foldings = dict[int, dict[int, Folding]]  # by shard and version


class Replays:
    """Learns each partition once more, without a worker, a restart or a consumer group.

    Everything that was ever published has to be there still. What is learned between two versions of a shard is
    learned in one batch; where a version ends, the peers' versions that its manifest names are folded in.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._versions = {shard: list(versions(stage, shard)) for shard in range(stage.partitions)}
        self.foldings = foldings_of((version for all_ in self._versions.values() for version in all_), stage)

    def manifests(self, shard: int) -> list[Manifest]:
        return [version.manifest for version in self._versions[shard]]

    def replay(self, _: Stage, shard: int) -> ShardState:
        """Learn a partition, and hold the state at each version against the manifest."""
        stage, learning = self._stage, self._stage.config.learning
        records = messages(stage, stage.config.events.topic, shard)
        offsets = [record.offset() for record in records]
        state, pipeline = ShardState.fresh(shard, learning), Pipeline(learning)
        writing = Writing.of(stage.config, 1_048_588)
        for manifest in self.manifests(shard):
            stop = manifest.input.next_offset
            some = records[bisect_left(offsets, state.next_offset) : bisect_left(offsets, stop)]
            timestamps = np.array([record.timestamp()[1] for record in some], np.int64)
            pipeline.learn(state, [record.value() for record in some], timestamps, stop)
            sealed = Sealed(state, writing, self._between(state.peers, manifest.peers))
            sealed.close(0, 0)
            should = sealed.settle()
            where = f"shard {shard}, version {manifest.version}"
            assert should.version == manifest.version, where
            assert should.peers == manifest.peers, where
            assert should.state == manifest.state, where
        return state

    def _between(self, before: Mapping[int, Peer], after: Mapping[int, Peer]) -> list[Folding]:
        """Give what was folded in: of no peer did a shard ever know more than it does later."""
        found = []
        for shard, peer in after.items():
            known = before[shard].version if shard in before else 0
            assert peer.version >= known
            found += [self.foldings[shard][version] for version in range(known + 1, peer.version + 1)]
        # A peer without a version is known too: as one that has added nothing.
        width = FACTORS + self._stage.config.model.factors
        nothing = Ledger(width).all()
        return [
            *(Folding(shard=it, peer=peer, contribution=nothing) for it, peer in after.items() if not peer.version),
            *found,
        ]


class Listener:
    """Keeps what shards add as they publish it, before anybody trims it: a thread that reads the model topic."""

    def __init__(self, stage: Stage) -> None:
        self.foldings: Foldings = {shard: {} for shard in range(stage.partitions)}
        self._stage = stage
        self._feed = Feed(reader_settings(stage.config.kafka), stage.config.model.topic)
        self._assemblers = {shard: Assembler(stage.config.model.name, shard) for shard in range(stage.partitions)}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def __enter__(self) -> Self:
        for shard in self.foldings:
            self._feed.start(shard, 0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._feed.close()

    def heard_all(self) -> bool:
        """Tell whether it has what is committed now."""
        assert self._thread.is_alive()
        assert not self._feed.trimmed, "trimmed before it was heard"
        return all(manifest.version in self.foldings[shard] for shard, manifest in last_manifests(self._stage).items())

    def _listen(self) -> None:
        while not self._stopped.is_set():
            for message in self._feed.poll(_POLL_SECONDS):
                shard = message.partition()
                version = self._assemblers[shard].feed(read(message.value(), message.headers()), message.offset())
                if version is not None:
                    folding = folding_of(version, self._stage.config.model.factors)
                    self.foldings[shard][version.manifest.version] = folding


def foldings_of(found: Iterable[Version], stage: Stage) -> Foldings:
    """Give what each version adds."""
    foldings: Foldings = {shard: {} for shard in range(stage.partitions)}
    for version in found:
        foldings[version.manifest.shard][version.manifest.version] = folding_of(version, stage.config.model.factors)
    return foldings


def sum_of(foldings: Foldings, stage: Stage) -> Ledger:
    """Add up all that all shards have ever added, each version once."""
    ledger = Ledger(FACTORS + stage.config.model.factors)
    for shard in foldings.values():
        assert sorted(shard) == list(range(1, len(shard) + 1)), "a version is missing"
        for folding in shard.values():
            ledger.add(folding.contribution)
    return ledger


def view_of(ledger: Ledger) -> str:
    """Give the digest of a ledger as manifests write it."""
    return f"{ledger.digest:016x}"


def knows_all(manifests: Mapping[int, Manifest], shard: int) -> bool:
    """Tell whether the last version of a shard has folded in the last versions of all others."""
    others = {other: manifest.version for other, manifest in manifests.items() if other != shard}
    return {other: peer.version for other, peer in manifests[shard].peers.items()} == others


def assembled(stage: Stage, ledger: Ledger, shard: int | None) -> Gaussian:
    """Put a model together by hand: the shared rows of a sum, and the local rows that a shard has published."""
    model = ShardState.fresh(-1, stage.config.learning).model
    assert model.shared is not None
    model.shared.own = model.shared.merged = ledger
    model.renew(ledger.all().keys)
    for version in versions(stage, shard) if shard is not None else ():
        for record in version.of_kind(Kind.ROWS):
            model.table.put(decode_rows(record.value, stage.config.model.factors))
    return model


def shared_keys(model: Gaussian, ledger: Ledger) -> NDArray[np.uint64]:
    """Give the keys of the shared rows that somebody has added to; those of pairs are no rows."""
    assert model.shared is not None
    keys = ledger.all().keys
    return keys[~np.isin(keys, model.shared.pair_keys)]
