"""What shards add to one another's shared rows in a replay, and when each of them may fold it in."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from worker.replay.course import Mark
from worker.snapshot.boundary import Folding
from worker.stream.contributions import summed
from worker.stream.tail import TrimmedError

END: Final = 2**63 - 1  # the position of a shard that has ended
_MOST_HELD = 64  # of a peer, for a shard that is silent: beyond, they are summed up


class Exchange(Protocol):
    """How contributions go from shard to shard. All methods may be called from several threads."""

    def begins(self, shard: int, position: int) -> None:
        """Hear that a shard's next version is the one at this position, or, at `END`, that there is none."""
        ...

    def ready(self, shard: int, mark: Mark) -> bool:
        """Tell whether all that a shard folds in at a mark is there."""
        ...

    def take(self, shard: int, mark: Mark) -> list[Folding]:
        """Give what a shard folds in at a mark; it is not given again."""
        ...

    def put(self, mark: Mark, folding: Folding) -> None:
        """Hold what a shard has added up to a mark."""
        ...


class Alone:
    """Shards that are not merged: nothing goes from one to another."""

    def begins(self, shard: int, position: int) -> None:
        """Nobody waits for it."""

    def ready(self, shard: int, mark: Mark) -> bool:  # noqa: ARG002 - as the protocol has it
        """Tell that nothing is lacked."""
        return True

    def take(self, shard: int, mark: Mark) -> list[Folding]:  # noqa: ARG002 - as the protocol has it
        """Give nothing."""
        return []

    def put(self, mark: Mark, folding: Folding) -> None:
        """Nobody takes it."""


class InStep:
    """Shards that go on window by window: each folds in what all others have added in the windows before.

    So within a window nothing that a shard does depends on another one, and at its end only on what is done already.
    Of a shard that has nothing to do for many windows, what it will fold in is summed up, which is the same.
    """

    def __init__(self, shards: Iterable[int]) -> None:
        self._next: dict[int, int | None] = dict.fromkeys(shards)  # None: not known yet
        self._after: dict[int, int] = dict.fromkeys(self._next, -END)  # no version of it will lie before
        self._held: dict[int, dict[int, deque[tuple[int, Folding]]]] = {
            shard: {peer: deque() for peer in self._next if peer != shard} for shard in self._next
        }
        self._lock = threading.Lock()

    def begins(self, shard: int, position: int) -> None:
        """Note the window in which a shard is, or that it has ended."""
        with self._lock:
            self._next[shard] = position
            self._after[shard] = max(self._after[shard], position)
            if position == END:
                for held in self._held[shard].values():
                    held.clear()
            else:
                for peer in self._held[shard]:
                    self._sum_up(shard, peer)

    def ready(self, shard: int, mark: Mark) -> bool:
        """Tell whether all others are past the windows before."""
        with self._lock:
            return all(after >= mark.position for peer, after in self._after.items() if peer != shard)

    def take(self, shard: int, mark: Mark) -> list[Folding]:
        """Give what the others have added in the windows before."""
        with self._lock:
            found = []
            for held in self._held[shard].values():
                while held and held[0][0] < mark.position:
                    found.append(held.popleft()[1])
            return found

    def put(self, mark: Mark, folding: Folding) -> None:
        """Hold it for each of the others that has not ended."""
        with self._lock:
            self._after[folding.shard] = max(self._after[folding.shard], mark.position + 1)
            for shard, held in self._held.items():
                if shard != folding.shard and self._next[shard] != END:
                    held[folding.shard].append((mark.position, folding))
                    self._sum_up(shard, folding.shard)

    def _sum_up(self, shard: int, peer: int) -> None:
        """Make one of all that a shard will fold in at once anyway. The caller holds the lock."""
        held, due = self._held[shard][peer], self._next[shard]
        if due is None or len(held) <= _MOST_HELD:
            return
        now = [entry for entry in held if entry[0] < due]
        if len(now) > 1:
            later = [entry for entry in held if entry[0] >= due]
            one = now[-1][0], summed([folding for _, folding in now])
            self._held[shard][peer] = deque([one, *later])


@dataclass(frozen=True, kw_only=True)
class _Kept:
    position: int
    folding: Folding


class AsPublished:
    """Shards that fold in what their manifests say they did.

    Args:
        known: by shard, how far each other one is folded in where the replay begins.
        begun: by shard, the version that it begins with; what it added before is read from where it was published.
        published: gives what a shard has added after one version and up to another one.
        taken: by shard that is not replayed itself, its last version: all that it has added is taken as published,
        stream: which gives what such a shard has added after a version, version by version.
    """

    def __init__(
        self,
        known: Mapping[int, Mapping[int, int]],
        begun: Mapping[int, int],
        published: Callable[[int, int, int], Iterator[Folding]],
        taken: Mapping[int, int] | None = None,
        stream: Callable[[int, int], Iterator[Folding]] = lambda _shard, _after: iter(()),
    ) -> None:
        self._known = {shard: dict(peers) for shard, peers in known.items()}
        self._begun, self._published = dict(begun), published
        self._taken, self._stream = dict(taken or {}), stream
        self._streams: dict[tuple[int, int], Iterator[Folding]] = {}  # by who folds in, and what is taken
        self._reached = self._begun | self._taken
        self._held: dict[int, deque[_Kept]] = {shard: deque() for shard in begun}
        self._ended: set[int] = set()
        self._lock = threading.Lock()

    def begins(self, shard: int, position: int) -> None:
        """Note that a shard has ended: nothing is held for it any more."""
        if position == END:
            with self._lock:
                self._ended.add(shard)
                self._forget()

    def ready(self, shard: int, mark: Mark) -> bool:
        """Tell whether the others have come to the versions that are folded in."""
        with self._lock:
            return all(self._reached.get(peer, 0) >= version for peer, version in mark.peers.items() if peer != shard)

    def lacked(self, shard: int, mark: Mark) -> dict[int, int]:
        """Name the others' versions that a shard waits for."""
        with self._lock:
            return {
                peer: version
                for peer, version in mark.peers.items()
                if peer != shard and self._reached.get(peer, 0) < version
            }

    def take(self, shard: int, mark: Mark) -> list[Folding]:
        """Give what the manifest says, version by version."""
        found: list[Folding] = []
        before = self._known[shard]
        for peer, version in mark.peers.items():
            after = before.get(peer, 0)
            if peer in self._taken:
                found += self._next(shard, peer, after, version) if version > after else ()
                continue
            if version > after < self._begun[peer]:
                found += self._published(peer, after, min(version, self._begun[peer]))
            with self._lock:
                found += [it.folding for it in self._held[peer] if after < it.position <= version]
        with self._lock:
            before.update(mark.peers)
            self._forget()
        return found

    def put(self, mark: Mark, folding: Folding) -> None:
        """Hold what a shard has added, until all others have folded it in."""
        with self._lock:
            self._held[folding.shard].append(_Kept(position=mark.position, folding=folding))
            self._reached[folding.shard] = mark.position

    def _next(self, shard: int, peer: int, after: int, version: int) -> Iterator[Folding]:
        with self._lock:
            stream = self._streams.setdefault((shard, peer), self._stream(peer, after))
        for folding in stream:
            yield folding
            if folding.peer.version == version:
                return
        raise TrimmedError(f"shard {peer}: version {version} is gone from the model topic")

    def _forget(self) -> None:
        """Let go of what all have folded in. The caller holds the lock."""
        for peer, held in self._held.items():
            marks = [
                known.get(peer, 0) for shard, known in self._known.items() if shard != peer and shard not in self._ended
            ]
            least = min(marks, default=END)
            while held and held[0].position <= least:
                held.popleft()
