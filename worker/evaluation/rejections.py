"""Rejected records of a run: how many by reason, and where a few of them are."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from worker.evaluation.runlog import Example
from worker.events.rejects import Rejected

EXAMPLES: Final = 3  # by reason
_DETAIL = 200  # characters


class Rejections:
    """Counts, and remembers the first few of every reason: where they are, and nothing of what they hold."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[Example]] = {}

    def add(self, rejected: Sequence[Rejected], shard: int, offsets: Sequence[int]) -> None:
        """Take in what was rejected of records of a shard.

        Args:
            rejected: of `worker.pipeline.Prepared`.
            shard: their partition.
            offsets: [n] of all records that were handed in.
        """
        for bad in rejected:
            reason = str(bad.reason)
            self.counts[reason] += bad.events
            kept = self.examples.setdefault(reason, [])
            if len(kept) < EXAMPLES:
                kept.append(Example(shard=shard, offset=int(offsets[bad.index]), detail=bad.detail[:_DETAIL]))

    def merge(self, other: "Rejections") -> None:
        """Add those of other shards."""
        self.counts += other.counts
        for reason, more in other.examples.items():
            self.examples[reason] = [*self.examples.get(reason, []), *more][:EXAMPLES]
