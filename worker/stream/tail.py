"""Reading one partition of the model topic: what is committed, from an offset on, or from its tail back."""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import BrokerUnreachableError, CorruptSnapshotError, IncompatibleDataError
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, Record, read
from worker.stream.polling import GONE, refuse_forbidden, take

_FIRST_WINDOW = 32  # records: a manifest closes every version, so the last one is near; else eight times as far
_REQUEST_SECONDS = 10.0
_AGAIN_SECONDS = 0.1
_ELECTING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - the client's public constant
)
_READ = 1_000  # messages at once
# So long the broker keeps a fetch at the end, and the client's next one waits for it: 10 ms a partition, not 60.
_BRIEF = {"fetch.wait.max.ms": 1}
_TRIMMED_TRIES = 10  # each takes a commit and a trim of the shard's worker just then

Seen = TypeVar("Seen")


class TrimmedError(CorruptSnapshotError):
    """The offset asked for was trimmed: start again from the tail."""


class Tail:
    """A reader of one partition of the model topic. It joins no group, and sees committed records only.

    Raises from its methods:
        BrokerUnreachableError: no answer in time.
        ConfigurationError: reading is not permitted.
        TrimmedError: the offset is no longer there.
        CorruptSnapshotError, IncompatibleDataError: a record is not what its writer sent.
    """

    def __init__(self, settings: dict[str, Any], topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        self._consumer = Consumer(settings | _BRIEF)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def of(self, partition: int) -> "Tail":
        """Give a reader of another partition that uses the same client: a client takes a while to find its brokers.

        What one of them reads ends what another one was reading. Closing this one closes all of them.
        """
        other = copy.copy(self)
        other.partition = partition
        return other

    def last_manifest(self, *, readable: bool = False) -> tuple[Manifest, int] | None:
        """Find the last committed manifest and its offset reading no more than the tail; None where there is none.

        With `readable`, one that cannot be read is passed over; where none can, the reason is raised all the same.
        """
        return despite_trimming(lambda: self._last_manifest(readable))

    def _last_manifest(self, readable: bool) -> tuple[Manifest, int] | None:
        begin, end = self.bounds()

        def look(start: int) -> tuple[Manifest, int] | None:
            found: tuple[Manifest, int] | None = None
            damage: IncompatibleDataError | None = None
            for message in self.messages(start):
                if _kind(message) is Kind.MANIFEST:
                    try:
                        record = read(message.value(), message.headers())
                        found, damage = (Manifest.decode(record.value), message.offset()), None
                    except IncompatibleDataError as error:
                        damage = error
            if damage is not None and not (readable and (found is not None or start > begin)):
                raise damage
            return found

        return look_back(begin, end, look)

    def records(self, start: int) -> Iterator[tuple[Record, int]]:
        """Read records and their offsets from `start` to the end of what is committed now."""
        for message in self.messages(start):
            yield read(message.value(), message.headers()), message.offset()

    def messages(self, start: int) -> Iterator[Message]:
        """Read messages from an offset to the end of what is committed now."""
        self.seek(start)
        deadline = time.monotonic() + _REQUEST_SECONDS
        while True:
            messages, ended = self.poll(0.5)
            yield from messages
            if messages:  # from here on: who reads may have taken its time over them
                deadline = time.monotonic() + _REQUEST_SECONDS
            if ended:
                self._consumer.unassign()  # or it would go on asking a thousand times a second
                return
            if time.monotonic() > deadline:
                raise BrokerUnreachableError(
                    f"partition {self.partition} of {self.topic} gave nothing for {_REQUEST_SECONDS:g} s: "
                    "is its leader up? `headrace doctor` tells"
                )

    def seek(self, offset: int) -> None:
        """Read from this offset on."""
        self._consumer.assign([TopicPartition(self.topic, self.partition, offset)])

    def poll(self, timeout_seconds: float) -> tuple[list[Message], bool]:
        """Give the next messages, and whether the end of what is committed was met."""
        messages, ended = [], False
        for message in take(self._consumer, _READ, timeout_seconds):
            error = message.error()
            if message.partition() != self.partition:
                continue  # of a partition that the client read before
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public constant
                ended = True
            elif error.code() in GONE:
                raise TrimmedError(f"partition {self.partition} of {self.topic}: {error.str()}")
            elif not error.retriable() and error.fatal():
                raise BrokerUnreachableError(f"partition {self.partition} of {self.topic}: {error.str()}")
            else:
                refuse_forbidden(error, self.topic)
        return messages, ended

    def bounds(self) -> tuple[int, int]:
        """Give the first offset and the one after the last that is committed."""
        place, deadline = TopicPartition(self.topic, self.partition), time.monotonic() + _REQUEST_SECONDS
        while True:
            try:
                begin, end = self._consumer.get_watermark_offsets(place, timeout=_REQUEST_SECONDS, cached=False)
            except KafkaException as error:
                if error.args[0].code() in _ELECTING and time.monotonic() < deadline:  # a leader is being elected
                    time.sleep(_AGAIN_SECONDS)
                    continue
                raise BrokerUnreachableError(
                    f"no answer about partition {self.partition} of {self.topic}: {error.args[0].str()}"
                ) from error
            return begin, end

    def group_offset(self, topic: str, timeout_seconds: float) -> int | None:
        """Give the offset that the settings' group has committed in the same partition of a topic; None without one.

        A transaction that is about to change it is waited for (KIP-447).
        """
        # Not by an AdminClient: one that lives through the restart of a broker may never find the group's coordinator
        # again (librdkafka 2.16). Nor by the member of the group: a client's calls exclude one another, and the loop's
        # `consume()` would starve this one.
        asked = [TopicPartition(topic, self.partition)]
        try:
            (place,) = self._consumer.committed(asked, timeout=timeout_seconds)
            problem = place.error
        except KafkaException as error:
            problem = error.args[0]
        if problem is not None:
            raise BrokerUnreachableError(
                f"the group's offset of partition {self.partition} of {topic} was not told: {problem.str()}. Either no "
                "broker answers (`headrace doctor` tells), or a transaction has been open for longer than any "
                "worker's: `kafka-transactions.sh find-hanging` names it, and `abort` ends it"
            )
        return int(place.offset) if place.offset >= 0 else None


def look_back(begin: int, end: int, look: Callable[[int], Seen | None]) -> Seen | None:
    """Look for what stands near the end of a partition: at a little of it, and at more as long as nothing is found.

    Args:
        begin: the partition's first offset,
        end: and the one after its last.
        look: gives what stands from an offset on; None where it does not.
    """
    window = _FIRST_WINDOW
    while begin < end:
        start = max(begin, end - window)
        found = look(start)
        if found is not None or start == begin:
            return found
        window *= 8
    return None


def despite_trimming(look: Callable[[], Seen]) -> Seen:
    """Look at a partition's bounds and read there; again where its worker trimmed it in between.

    Raises:
        TrimmedError: it did so every time.
    """
    for _ in range(_TRIMMED_TRIES - 1):
        with suppress(TrimmedError):
            return look()
    return look()


def _kind(message: Message) -> Kind | None:
    said = dict(message.headers() or [])
    try:
        return Kind(said["headrace-kind"].decode())
    except (KeyError, ValueError):
        return None
