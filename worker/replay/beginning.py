"""Where a replay of a published model begins: with nothing, or with a version that is restored."""

from contextlib import suppress
from dataclasses import dataclass

from worker.errors import IncompatibleDataError
from worker.model.shared import Shared
from worker.replay.chain import Chain
from worker.replay.recorded import MissingEventsError, start_of
from worker.replay.source import Source
from worker.snapshot.manifest import Base, Manifest, Peer, learning_of
from worker.snapshot.state import ShardState
from worker.stream.tail import TrimmedError


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A shard before the first version that is replayed."""

    state: ShardState
    manifest: Manifest | None  # of the version that it is at; None where that is none
    offset: int  # of the model topic's partition: where the versions after that are read

    @property
    def known(self) -> dict[int, int]:
        """The versions of the others that are folded in."""
        peers = self.manifest.peers if self.manifest is not None else {}
        return {shard: peer.version for shard, peer in peers.items()}


def begin(chain: Chain, source: Source, shard: int, before: int | None = None) -> Beginning | None:
    """Find where the replay of a shard begins; None where it has no version.

    Args:
        chain: what was published.
        source: the events.
        shard: which.
        before: restore the newest base that is complete by this version. Without, or where there is none: begin with
            nothing if the first version is still there, else with the oldest base that the events go on from.

    Raises:
        MissingEventsError: the events do not reach back to anything that could be gone on from.
        CorruptSnapshotError: a version is not what was published.
    """
    first = chain.first(shard)
    if first is None:
        return None
    bases = chain.bases(shard)
    early = [base for base in bases if before is not None and base.completed <= before]
    if early:
        with suppress(TrimmedError):
            return _restored(chain, shard, early[-1])
    lacks: MissingEventsError | None = None
    if first.manifest.version == 1:
        try:
            start = start_of(first.manifest, source)
        except MissingEventsError as error:
            start, lacks = None, error
        if start is not None:
            state = ShardState.fresh(shard, learning_of(first.manifest))
            state.next_offset = start
            return Beginning(state=state, manifest=None, offset=first.offset)
        # The delta of a first version is the whole shard.
        bases = [Base(version=1, completed=1, offset=first.offset), *(base for base in bases if base.version > 1)]
    return _oldest(chain, source, shard, bases, lacks)


def _oldest(chain: Chain, source: Source, shard: int, bases: list[Base], lacks: MissingEventsError | None) -> Beginning:
    """Restore the oldest base; the oldest that the events go on from, where they do not reach back to the beginning.

    Of the oldest that is kept, what it knew of the others may be trimmed already. The last version is no beginning
    where events are missing: nothing would be learned again.
    """
    trimmed: TrimmedError | None = None
    for base in bases:
        if lacks is not None and base.completed >= chain.last[shard].version:
            break
        try:
            restored = _restored(chain, shard, base)
        except TrimmedError as error:
            trimmed = error
            continue
        if lacks is None or restored.state.next_offset >= source.ranges.get(shard, (0, 0))[0]:
            return restored
    if lacks is not None or trimmed is not None:
        raise lacks or trimmed  # type: ignore[misc]  # one of them there is
    raise IncompatibleDataError(
        f"shard {shard}: {chain.topic} keeps neither its first version nor a whole base to begin with"
    )


def begin_at(chain: Chain, shard: int, version: int | None, created: int | None) -> ShardState | None:
    """Restore a shard at a version, or at the newest one that was made by a time; None where it had none by then.

    What the others have added is left out: see `put_in_step`.

    Raises:
        IncompatibleDataError: that version is not there any more.
    """
    first = chain.first(shard)
    if first is None:
        return None
    last = chain.last[shard]
    if version is None:
        version = 0
        for manifest in chain.after(shard, first.offset):
            if created is not None and manifest.created > created:
                break
            version = manifest.version
        if not version and first.manifest.version == 1:
            return None
        if not version:
            raise IncompatibleDataError(
                f"shard {shard}: the first version that is kept in {chain.topic}, {first.manifest.version}, was made "
                "later than that: name a later time"
            )
    if version > last.version:
        raise IncompatibleDataError(
            f"shard {shard} has the versions {first.manifest.version} to {last.version} in {chain.topic}, not {version}"
        )
    bases = [base for base in chain.bases(shard) if base.completed <= version]
    if first.manifest.version == 1:
        bases = [Base(version=1, completed=1, offset=first.offset), *bases]
    if not bases:
        raise IncompatibleDataError(
            f"version {version} of shard {shard} is older than the bases kept in {chain.topic}: the first that can be "
            f"restored is {min((base.completed for base in chain.bases(shard)), default=last.version)}"
        )
    state, _, _ = chain.restore(shard, bases[-1], version, own=True)
    return state


def put_in_step(states: list[ShardState]) -> None:
    """Let restored shards know all that the others have added up to their versions, and no more.

    What a version knew of its peers lies before or after the versions of theirs that are restored here. Events after
    these are learned again, so nothing of them may be known yet.
    """
    ledgers = {state.shard: state.model.shared for state in states}
    own = {shard: shared.own.all() for shard, shared in ledgers.items() if shared is not None}
    for state in states:
        shared: Shared | None = state.model.shared
        if shared is None:
            continue
        shared.merged = shared.merged.empty()
        for shard in sorted(own):
            shared.merged.add(own[shard])
        state.peers = {it.shard: Peer(version=it.version, offset=0) for it in states if it is not state}
        state.model.recall()
        state.model.table.settle()


def _restored(chain: Chain, shard: int, base: Base) -> Beginning:
    state, manifest, offset = chain.restore(shard, base, base.completed)
    return Beginning(state=state, manifest=manifest, offset=offset)
