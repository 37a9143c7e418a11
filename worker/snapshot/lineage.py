"""How versions follow one another: each is held against the one before, applied to a state, and verified."""

from collections import Counter

import numpy as np

from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.learning import Learning
from worker.snapshot.assembler import Version
from worker.snapshot.contents import Contents, contents_of
from worker.snapshot.manifest import Manifest, describe, differences, learning_of
from worker.snapshot.state import ShardState


class GapError(CorruptSnapshotError):
    """A version does not follow the one before: what is missing is gone, the version itself may be whole."""


def apply(state: ShardState, version: Version) -> None:
    """Move a state to the next version, or a fresh state to the first version of a base.

    The rows that it carries count as touched until the state is verified.

    Raises:
        GapError: the version does not follow.
        CorruptSnapshotError, IncompatibleDataError: a record cannot be read. The state has not changed.
    """
    if state.version:  # else any version may be the first
        require_next(state.shard, state.version, state.chain, version.manifest)
    _take(state, version, contents_of(version, state))


def advance(state: ShardState, *versions: Version) -> None:
    """Move a whole state over the next versions, one or more, and verify the last of them: over all, or over none.

    Raises:
        GapError, CorruptSnapshotError, IncompatibleDataError: a version is not what its writer made. The state
            predicts as before, and is good for nothing else any more.
    """
    version, chain = state.version, state.chain
    for one in versions:
        require_next(state.shard, version, chain, one.manifest)
        version, chain = one.manifest.version, one.chain
    every = [contents_of(one, state) for one in versions]
    model, before = state.model, (state.version, state.chain, state.progress, state.watch)
    moved = [part.keys for contents in every for part in contents.rows]
    moved += [keys for contents in every for keys in contents.evicted]
    keys = np.concatenate([np.empty(0, np.uint64), *moved])
    if len(versions) > 1:
        keys = np.unique(keys)
    loosened = state.loosening.times, state.loosening.event
    there = model.table.has(keys)
    rows = model.table.get(keys[there])
    pairs = model.pair_means.copy(), model.pair_precisions.copy()
    clock = model.clock.time, model.clock.pending
    words = [state.cells.get(part.places) for contents in every for part in contents.words]
    for one, contents in zip(versions, every, strict=True):
        _take(state, one, contents)
    try:
        verify(state, versions[-1].manifest)
    except CorruptSnapshotError:
        model.table.remove(keys[~there])
        model.table.put(rows)
        model.pair_means, model.pair_precisions = pairs
        model.clock.set(*clock)
        for words_before in reversed(words):
            state.cells.put(words_before)
        if model.shared is not None:
            for contribution in (part for contents in every for part in contents.contributions):
                model.shared.own.add(-contribution)
                model.shared.merged.add(-contribution)
        state.version, state.chain, state.progress, state.watch = before
        state.loosening.times, state.loosening.event = loosened
        raise


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


def require_next(shard: int, version: int, chain: str, manifest: Manifest) -> None:
    """Refuse a version that does not follow the one with this number and this link of the chain.

    Raises:
        GapError: saying what is missing, or that the chain is forked.
    """
    if manifest.version != version + 1:
        missing = manifest.version - version - 1
        raise GapError(
            f"shard {shard}: version {manifest.version} came after {version}, "
            + (f"{missing} missing between them" if missing > 0 else "the versions do not rise")
        )
    if manifest.parent_chain != chain:
        raise GapError(
            f"shard {shard}: version {manifest.version} was made from another version {version} "
            f"than ours ({manifest.parent_chain} is not {chain}): the chain is forked"
        )


def require_same_learning(manifest: Manifest, learning: Learning, group: str) -> None:
    """Refuse to go on with a model that was learned in another way, or by another group.

    Raises:
        IncompatibleDataError: saying which settings differ.
    """
    found = differences(describe(learning_of(manifest)), describe(learning))
    if found:
        raise IncompatibleDataError(
            f"the model {manifest.model} in {learning.model.topic} was learned with other settings:\n  "
            + "\n  ".join(found)
            + "\nset them back, or give the new model a topic of its own (`model.topic`) and a group (`kafka.group`)"
        )
    learned_to = manifest.input.next_offset
    theirs, ours = (it.events.skipped_before(manifest.shard, learned_to) for it in (learning_of(manifest), learning))
    if theirs != ours:
        raise IncompatibleDataError(
            f"events.skip: shard {manifest.shard} is learned before offset {learned_to}, and of that "
            f"{_as_text(manifest.shard, theirs)} was passed over, {_as_text(manifest.shard, ours)} is configured: what "
            f"is learned cannot be passed over any more, nor the other way round. Set events.skip so that it agrees "
            "before that offset"
        )
    if manifest.group != group:
        raise IncompatibleDataError(
            f"the model {manifest.model} in {learning.model.topic} belongs to the group {manifest.group!r}, "
            f"this worker is of {group!r}: two groups must not write one model (`kafka.group`, `model.topic`)"
        )


def _as_text(shard: int, ranges: list[tuple[int, int]]) -> str:
    return ", ".join(f"{shard}:{first}-{last}" for first, last in ranges) or "nothing"


def _take(state: ShardState, version: Version, contents: Contents) -> None:
    manifest, model = version.manifest, state.model
    state.first = state.first or manifest.version
    for keys in contents.evicted:  # first: so there are never more rows than their writer had
        model.table.remove(keys)
    for rows in contents.rows:
        model.table.put(rows)
    if model.shared is not None:
        for contribution in contents.contributions:
            model.shared.own.add(contribution)
            model.shared.merged.add(contribution)
        # Sums must be added once: those of the base that reading began with, and of no later one.
        for own, merged in contents.ledgers if manifest.began == state.first else ():
            model.shared.own.add(own)
            model.shared.merged.add(merged)
    for pairs in contents.pairs:
        model.pair_means[pairs.left, pairs.right] = pairs.means
        model.pair_precisions[pairs.left, pairs.right] = pairs.precisions
    for words in contents.words:
        state.cells.put(words)
    for progress in contents.progress:
        state.progress = progress
    for watch in contents.watches:
        state.watch = watch
    state.loosening.times, state.loosening.event = manifest.state.loosened, manifest.state.loosened_at
    model.unstable = manifest.state.unstable
    model.room.evicted = manifest.state.evicted
    model.clock.set(manifest.state.clock, manifest.state.pending)
    state.rejected, state.skipped = Counter(manifest.state.rejected), Counter(manifest.state.skipped)
    state.watermark = manifest.watermark
    state.next_offset = manifest.input.next_offset
    state.version, state.chain, state.bases = manifest.version, version.chain, list(manifest.bases)
    state.peers = dict(manifest.peers)
    state.last_servable = manifest.version if manifest.servable else manifest.last_servable
    state.sweep = None
    state.bytes_since_base += manifest.delta_bytes
