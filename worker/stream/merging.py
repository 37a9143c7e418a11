"""Where a restored shard gets back what it knew of the others, and what they have added since.

A version's manifest says which versions of the other shards were folded in. The ledger of the shard's last base already
holds what they had added before that base; so a restore reads, of each other shard, only what it published between that
base and that manifest. A base is renewed when what was folded since outweighs it, as it is for a shard's own deltas:
that bounds it. Where a part of that is trimmed already, each other shard's own base, and what follows it up to that
version, gives the same sum. Only where those are gone too, because this shard was away for long, is the sum taken from
what the others have added by now: it is then newer than it was, and a warning says so.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

from worker.config import Config
from worker.errors import CorruptSnapshotError
from worker.model.shared import Shared
from worker.snapshot.manifest import Manifest, Peer
from worker.snapshot.records import entry_bytes
from worker.snapshot.sealing import Folding
from worker.snapshot.state import ShardState
from worker.stream.contributions import Published, ever, since, summed, total

_LOG = logging.getLogger(__name__)

Reader = Callable[[int], Published]  # of a shard's partition of the model topic; one reads at a time


def recall(
    config: Config, state: ShardState, manifest: Manifest | None, others: Iterable[int], reader: Reader
) -> list[Folding]:
    """Fold in what the manifest says was folded in, and give what came after: a folding for each other shard.

    Raises:
        CorruptSnapshotError: what is read is not what was written.
        BrokerUnreachableError: no answer in time.
    """
    shared = state.model.shared
    if shared is None:
        return []
    others = list(others)
    try:
        if manifest is not None:
            _recall(config, state, shared, manifest, reader)
        backlog = [folding for other in others for folding in _after(config, state, reader(other))]
    except CorruptSnapshotError as error:  # trimmed, or damaged: a base of theirs may lie after that
        _LOG.warning(
            "shard %d: %s; the others' bases serve instead", state.shard, error,
            extra={"action": "peers_trimmed", "shard": state.shard},
        )  # fmt: skip
        state.peers = _sum_anew(config, state, shared, dict.fromkeys(others), reader)
        backlog = []
    else:
        _require_view(state, manifest)
    state.model.recall()
    state.model.table.settle()
    return backlog


def recall_as_of(config: Config, state: ShardState, manifest: Manifest, reader: Reader) -> None:
    """Fold in what the manifest says was folded in, and no more.

    Raises:
        TrimmedError: some of it is no longer there.
        CorruptSnapshotError: what is read is not what was written.
        BrokerUnreachableError: no answer in time.
    """
    shared = state.model.shared
    if shared is None:
        return
    _recall(config, state, shared, manifest, reader)
    _require_view(state, manifest)
    state.model.recall()
    state.model.table.settle()


def _recall(config: Config, state: ShardState, shared: Shared, manifest: Manifest, reader: Reader) -> None:
    folded = {shard: peer for shard, peer in manifest.peers.items() if peer.version}  # else there was nothing yet
    try:
        for shard, peer in folded.items():
            for folding in _between(config, reader(shard), manifest.bases[-1].peers.get(shard), peer.version):
                _add(state, shared, folding, config.model.factors)
    except CorruptSnapshotError:
        _sum_anew(config, state, shared, {shard: peer.version for shard, peer in folded.items()}, reader)


def _require_view(state: ShardState, manifest: Manifest | None) -> None:
    if manifest is not None and state.view() != manifest.state.view:
        raise CorruptSnapshotError(
            f"shard {state.shard}: at version {manifest.version} the shared rows have digest {state.view()} as read, "
            f"{manifest.state.view} as written"
        )


def _between(config: Config, tail: Published, before: Peer | None, upto: int) -> Iterator[Folding]:
    name, factors = config.model.name, config.model.factors
    if before is not None:
        yield from since(tail, name, factors, before, upto)
    else:
        yield from ever(tail, name, factors, upto)


def _sum_anew(
    config: Config, state: ShardState, shared: Shared, upto: dict[int, int | None], reader: Reader
) -> dict[int, Peer]:
    """Take the sum from the bases of these shards, each up to a version or to its last one; gives those versions."""
    factors = config.model.factors
    shared.merged = shared.merged.empty()
    shared.merged.add(shared.own.all())
    peers = {}
    for shard, version in upto.items():
        folding = total(reader(shard), config.model.name, factors, version)
        _add(state, shared, folding, factors)
        peers[shard] = folding.peer
    return peers


def _add(state: ShardState, shared: Shared, folding: Folding, factors: int) -> None:
    shared.merged.add(folding.contribution)
    state.bytes_since_base += len(folding.contribution) * entry_bytes(factors)  # the next restore would read it too


def _after(config: Config, state: ShardState, tail: Published) -> list[Folding]:
    name, factors = config.model.name, config.model.factors
    if tail.partition in state.peers:
        found = list(since(tail, name, factors, state.peers[tail.partition]))
    else:
        found = ever(tail, name, factors)
    return [summed(found)] if found else []
