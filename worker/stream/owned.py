"""A shard that this worker learns."""

from dataclasses import dataclass, field

from confluent_kafka import Message

from worker.snapshot.manifest import Peer
from worker.snapshot.sealing import Folded, Folding
from worker.snapshot.state import ShardState
from worker.stream.held import Held


@dataclass(kw_only=True)
class Owned:
    """A shard that is being learned, and what its commits carry beside its model."""

    state: ShardState
    committed_offset: int
    backlog: list[Folding] = field(default_factory=list)  # of other shards, from before this worker read them
    dead_letters: list[tuple[Message, str, str]] = field(default_factory=list)  # record, reason, detail
    folded: Folded = field(default_factory=Folded)  # by its last commit
    idle_since: float | None = None  # by the loop's clock: its last commit; None until the loop has looked

    @property
    def known(self) -> dict[int, Peer]:
        """How far the other shards are folded in once it is committed: by itself, and by its backlog."""
        return self.state.peers | {folding.shard: folding.peer for folding in self.backlog}

    def foldings(self, held: Held) -> list[Folding]:
        """Give what the other shards have added since the last commit of this one."""
        return [*self.backlog, *held.after(self.state.shard, self.known)]

    def lacks(self, held: Held) -> bool:
        """Tell whether others have learned what this shard does not know.

        A version that only folds has no contribution, and is not lacked: two silent shards would fold for ever.
        """
        return any(len(folding.contribution) for folding in self.foldings(held))

    @property
    def moved(self) -> bool:
        """Tell whether there is something to commit."""
        return self.state.next_offset != self.committed_offset
