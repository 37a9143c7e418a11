"""A part of one partition's records, in one file: what a recording is put together from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from worker.recording.records import Records


class Segment(ABC):
    """Records of one partition, in a file.

    Attributes:
        path: the file, to name it in messages.
        topic: the topic.
        partition: the partition.
        first: the first offset that the file covers.
        stop: the offset after the last one that it covers.
        count: how many records it holds.
        known: whether the file itself says what it covers, so that what is missing beside it is missing for sure.
        partitions: of the topic; 0 where the file does not say.
    """

    path: str
    topic: str
    partition: int
    first: int
    stop: int
    count: int
    known: bool = False
    partitions: int = 0
    lean: bool = False  # keys and headers are not asked for: where it costs to read them, they are null

    @abstractmethod
    def records(self, start: int, stop: int) -> Iterator[Records]:
        """Give the records whose offset is at least `start` and below `stop`, some at a time.

        Raises:
            DamagedRecordingError: the file cannot be read, or holds what its head does not promise.
        """

    @abstractmethod
    def first_at(self, timestamp: int) -> int | None:
        """Find the offset of the first record whose timestamp is at least this one; None where there is none."""

    @abstractmethod
    def times(self) -> tuple[int, int] | None:
        """Tell the earliest and the latest timestamp; None where no record has one, or telling would mean reading."""
