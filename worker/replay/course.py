"""The course of a shard through a replay: which records it learns next, by which settings, and where versions end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.events.rejects import Rejected
from worker.pipeline import Pipeline, Prepared
from worker.quality.watch import Watch
from worker.recording.records import Records
from worker.snapshot.boundary import Boundary
from worker.snapshot.state import ShardState

Noting = Callable[[Records, Sequence[Rejected]], None]  # hears of records, and of what of them was rejected


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where a version ends.

    Positions order what shards do among themselves: versions as they were published, or windows of time.
    """

    position: int
    peers: Mapping[int, int] = field(default_factory=dict)  # positions of the others that are folded in by then


@dataclass(frozen=True, kw_only=True, eq=False)
class Leg:
    """Some records of a shard, and perhaps the end of a version after them."""

    records: Records | None  # none: the version ends with what was learned before
    pipeline: Pipeline
    next_offset: int  # after them
    first_offset: int = 0  # of a range that is passed over
    passed_over: bool = False  # as the poison breaker did
    watch: Watch | None = None  # from here on it is watched anew, by other settings
    mark: Mark | None = None
    last: bool = False  # nothing follows, as far as its course knows


class Course(Protocol):
    """What happens to one shard."""

    state: ShardState

    def legs(self) -> Iterator[Leg]:
        """Give what is learned, one after the other. Asked for by one thread at a time, ahead of what is learned."""
        ...

    def learn(self, leg: Leg, prepared: Prepared) -> None:
        """Move the shard past the records of a leg."""
        ...

    def sealed(self, mark: Mark, boundary: Boundary) -> bool:
        """Judge a version that has ended; tells whether to go on, and the others with what it adds."""
        ...

    def passed(self, mark: Mark) -> None:
        """Hear that the others may have what a version adds."""
        ...
