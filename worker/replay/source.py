"""Where recorded events come from: a recording in files, or a range of a topic in Kafka; a replay asks no more of them.

A recording is `worker.recording.Recording`, a range of a topic `worker.stream.topic_range.TopicRange`.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

from worker.errors import IncompatibleDataError
from worker.recording.records import Records


class Source(Protocol):
    """Records of the partitions of one topic."""

    @property
    def topic(self) -> str:
        """Name the topic that was recorded."""
        ...

    @property
    def shards(self) -> int:
        """Count the partitions of the topic that was recorded."""
        ...

    @property
    def ranges(self) -> Mapping[int, tuple[int, int]]:
        """Give what is there of each partition: its first offset, and the one after its last."""
        ...

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        """Give the records of a partition in the order of their offsets, from `start` on and before `stop`.

        May be called from several threads at once, for a partition each.
        """
        ...


class Cutter:
    """The records of a partition, cut where a replay wants them cut; nothing is copied.

    Args:
        records: some of the partition at a time, in the order of their offsets.
    """

    def __init__(self, records: Iterator[Records]) -> None:
        self._records = records
        self._rest: Records | None = None

    def before(self, stop: int, most: int) -> Iterator[Records]:
        """Give the next records whose offset is below `stop`, at most so many at a time; the others stay."""
        while (some := self._next()) is not None:
            before = some.between(int(some.offsets[0]), stop)
            if len(before) < len(some):
                self._rest = some.slice(len(before), len(some))
            for begin in range(0, len(before), most):
                yield before.slice(begin, min(begin + most, len(before)))
            if self._rest is not None:
                return

    def _next(self) -> Records | None:
        some, self._rest = self._rest, None
        while some is None or not len(some):
            some = next(self._records, None)
            if some is None:
                return None
        return some


def require_events(source: Source) -> None:
    """Refuse a source without a record.

    Raises:
        IncompatibleDataError: it is empty.
    """
    if all(first >= after for first, after in source.ranges.values()):
        raise IncompatibleDataError(
            f"there is no record of {source.topic} in this range: nothing to replay. Look at the bounds, or record more"
        )


def require_shards(source: Source, shards: int, model: str) -> None:
    """Refuse events that were parted among another number of shards than a model.

    Raises:
        IncompatibleDataError: saying how many there are.
    """
    if source.shards != shards:
        raise IncompatibleDataError(
            f"{source.topic} was recorded with {source.shards} partitions, and the model {model} has {shards} shards: "
            "each shard was learned from the partition of its number. Take the recording of the topic that this model "
            "was learned from, or replay --fresh into a model of its own"
        )
