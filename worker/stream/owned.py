"""A shard that this worker learns, and a version of it on its way."""

from dataclasses import dataclass, field

from confluent_kafka import Message

from worker.events.rejects import Rejected
from worker.snapshot.manifest import Peer
from worker.snapshot.sealing import Folding, Sealed, Writing
from worker.snapshot.state import ShardState
from worker.stream.block import Block
from worker.stream.held import Held

DeadLetter = tuple[Message, Rejected]
MessageBlock = Block[list[Message]]


@dataclass(kw_only=True, eq=False)
class Owned:
    """A shard that is being learned, and what its versions carry beside its model.

    The loop's thread hands records over and says when a version is due; whoever learns it or seals it, one at a time,
    moves all the rest.
    """

    state: ShardState
    read_to: int  # the offset of the next record to be handed over
    sealed_to: int  # all before this offset is in a version that was sealed
    backlog: list[Folding] = field(default_factory=list)  # of other shards, from before this worker read them
    dead_letters: list[DeadLetter] = field(default_factory=list)  # since the last version
    idle_since: float | None = None  # by the loop's clock: its last version; None until the loop has looked
    handed_over: int = 0  # batches of records
    done_with: int = 0  # of those
    block: MessageBlock | None = None  # of records that are not to be learned yet; None where none are held back
    given_up: bool = False  # nothing more is to be learned: it is another worker's now, or is restored

    @classmethod
    def restored(cls, state: ShardState, backlog: list[Folding], block: MessageBlock | None = None) -> "Owned":
        """Begin with a shard as it was committed."""
        return cls(state=state, read_to=state.next_offset, sealed_to=state.next_offset, backlog=backlog, block=block)

    @property
    def frozen(self) -> bool:
        """Tell whether nothing more of it is to be learned before the worker is started anew."""
        return self.block is not None and self.block.frozen

    @property
    def known(self) -> dict[int, Peer]:
        """How far the other shards are folded in once it is committed: by itself, and by its backlog."""
        return self.state.peers | {folding.shard: folding.peer for folding in self.backlog}

    def foldings(self, held: Held | None) -> list[Folding]:
        """Give what the other shards have added since the last version of this one."""
        return [] if held is None else [*self.backlog, *held.after(self.state.shard, self.known)]

    def lacks(self, held: Held) -> bool:
        """Tell whether others have learned what this shard does not know.

        A version that only folds has no contribution, and is not lacked: two silent shards would fold for ever.
        """
        return any(len(folding.contribution) for folding in self.foldings(held))

    @property
    def moved(self) -> bool:
        """Tell whether something was learned that no version holds yet."""
        return self.state.next_offset != self.sealed_to

    def seal(self, writing: Writing, held: Held | None) -> "Outgoing":
        """Copy out the next version, and what goes with it. The one before has to be settled."""
        sealed = Sealed(self.state, writing, self.foldings(held))
        outgoing = Outgoing(owned=self, sealed=sealed, offset=self.state.next_offset, dead_letters=self.dead_letters)
        self.dead_letters, self.sealed_to = [], self.state.next_offset
        self.backlog.clear()
        return outgoing


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A version on its way to the model topic, and what its transaction carries beside it."""

    owned: Owned
    sealed: Sealed
    offset: int  # of the next event
    dead_letters: list[DeadLetter]
