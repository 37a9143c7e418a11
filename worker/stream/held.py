"""What the other shards have added lately, held until every shard of this worker has folded it in."""

import threading
from collections import deque
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from worker.snapshot.manifest import Manifest, Peer
from worker.snapshot.sealing import Folding
from worker.stream.contributions import summed

_MOST_HELD = 100  # versions of a shard: beyond, they are summed up. So many are the work of a few milliseconds
_NOTHING = Peer(version=0, offset=0)


@dataclass(frozen=True, kw_only=True)
class Behind:
    """What the least informed shard of this worker lacks of another one."""

    events: int
    seconds: float  # from the last version that it has folded in to the newest one, by the other's clock


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What a shard has added by versions in a row, from the first to the one that the folding names."""

    first: int
    folding: Folding


class Held:
    """What was added, by shard and in the order of versions. One thread adds, another one takes.

    What a silent shard has not folded in for long is summed up: it takes no more room than the rows that it is about.
    """

    def __init__(self, shards: Iterable[int]) -> None:
        self._runs: dict[int, deque[_Run]] = {shard: deque() for shard in shards}
        self._newest: dict[int, Peer] = dict.fromkeys(self._runs, _NOTHING)
        self._bases: dict[int, int] = {}  # by shard: the version with which its last complete base begins
        self._lock = threading.Lock()

    def begin(self, shard: int, newest: Peer) -> None:
        """Note how far a shard is when reading begins."""
        with self._lock:
            self._newest[shard] = newest

    def add(self, manifest: Manifest, folding: Folding) -> None:
        """Hold what a version adds."""
        with self._lock:
            self._runs[folding.shard].append(_Run(first=folding.peer.version, folding=folding))
            self._newest[folding.shard] = folding.peer
            if manifest.bases:
                self._bases[folding.shard] = manifest.bases[-1].version

    def after(self, shard: int, known: Mapping[int, Peer]) -> list[Folding]:
        """Give what the others have added after the versions that a shard knows."""
        found: list[Folding] = []
        with self._lock:
            for peer, held in self._runs.items():
                if peer == shard:
                    continue
                expected = known.get(peer, _NOTHING).version + 1
                for run in held:
                    if run.first == expected:
                        found.append(run.folding)
                        expected = run.folding.peer.version + 1
        return found

    def behind(self, folded: Mapping[int, Mapping[int, Peer]]) -> dict[int, Behind]:
        """Tell how far the least informed of these shards, given with what it has folded in, is behind each other one.

        Events are what counts: a version without any adds nothing that could be lacked. A shard that has folded in
        nothing of another one yet has no time from which it is behind.
        """
        found = {}
        with self._lock:
            for peer, newest in self._newest.items():
                others = [peers.get(peer, _NOTHING) for shard, peers in folded.items() if shard != peer]
                if others:
                    lacking = [it for it in others if it.events < newest.events]
                    ages = [newest.created - it.created for it in lacking if it.version]
                    found[peer] = Behind(
                        events=max([0, *(newest.events - it.events for it in lacking)]),
                        seconds=max([0, *ages]) / 1_000,  # a clock may have been set back
                    )
        return found

    def lost(self, shard: int, known: Mapping[int, Peer]) -> list[int]:
        """Name the shards of which the next version was not to be read, and a base that holds it was published since.

        A shard that knows no more of them has to take its sum anew, as it does when it is restored.
        """
        found = []
        with self._lock:
            for peer, base in self._bases.items():
                expected = known.get(peer, _NOTHING).version + 1
                if peer != shard and base > expected and all(run.first != expected for run in self._runs[peer]):
                    found.append(peer)
        return found

    def forget(self, known: Mapping[int, Mapping[int, Peer]]) -> None:
        """Let go of what every one of these shards, given with what it knows, has folded in."""
        with self._lock:
            for peer, held in self._runs.items():
                marks = {peers.get(peer, _NOTHING).version for shard, peers in known.items() if shard != peer}
                while held and all(held[0].folding.peer.version <= mark for mark in marks):
                    held.popleft()
                if len(held) > _MOST_HELD:
                    self._runs[peer] = _summed(held, marks)


def _summed(held: Iterable[_Run], marks: Container[int]) -> deque[_Run]:
    """Sum up runs that follow one another, but for those that end where a shard has to go on."""
    groups: list[list[_Run]] = []
    for run in held:
        before = groups[-1][-1].folding.peer.version if groups else 0
        if groups and run.first == before + 1 and before not in marks:
            groups[-1].append(run)
        else:
            groups.append([run])
    return deque(
        _Run(first=group[0].first, folding=summed([run.folding for run in group])) if len(group) > 1 else group[0]
        for group in groups
    )
