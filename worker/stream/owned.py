"""A shard that this worker learns."""

from dataclasses import dataclass, field

from confluent_kafka import Message

from worker.snapshot.state import ShardState


@dataclass(kw_only=True)
class Owned:
    """A shard that is being learned, and what its next commit carries beside its model."""

    state: ShardState
    committed_offset: int
    dead_letters: list[tuple[Message, str, str]] = field(default_factory=list)  # record, reason, detail

    @property
    def moved(self) -> bool:
        """Tell whether there is something to commit."""
        return self.state.next_offset != self.committed_offset
