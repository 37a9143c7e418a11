"""Reading all partitions of the model topic at once, each from an offset of its own, for as long as one likes."""

from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import BrokerUnreachableError, IncompatibleDataError
from worker.stream.polling import take

_READ = 1_000  # messages at once
_REQUEST_SECONDS = 10.0


class Feed:
    """A reader of the model topic. It joins no group, and sees committed records only."""

    def __init__(self, settings: dict[str, Any], topic: str) -> None:
        self.topic = topic
        self.read_to: dict[int, int] = {}  # by partition: all committed before this offset has been read
        self.trimmed: set[int] = set()  # partitions whose next offset is gone
        self._consumer = Consumer(settings)
        # A client's calls exclude one another: a thread that asks would wait for the one that polls.
        self._asking = Consumer(settings)

    def partitions(self) -> int:
        """Count the partitions of the topic.

        Raises:
            BrokerUnreachableError: no answer in time.
            IncompatibleDataError: there is no such topic.
        """
        try:
            known = self._asking.list_topics(self.topic, timeout=_REQUEST_SECONDS).topics[self.topic]
        except KafkaException as error:
            raise BrokerUnreachableError(
                f"no broker told about {self.topic} within {_REQUEST_SECONDS:g} s: {error.args[0].str()}; "
                "`headrace doctor` tells more"
            ) from error
        if known.error is not None:
            raise IncompatibleDataError(
                f"the model topic {self.topic} cannot be read: {known.error.str()}; "
                "`headrace topics check` tells what it lacks"
            )
        return len(known.partitions)

    def end(self, partition: int) -> int:
        """Give the offset before which all is committed or aborted now.

        Raises:
            BrokerUnreachableError: no answer in time.
        """
        try:
            _, end = self._asking.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=_REQUEST_SECONDS, cached=False
            )
        except KafkaException as error:
            raise BrokerUnreachableError(
                f"no answer about partition {partition} of {self.topic}: {error.args[0].str()}"
            ) from error
        return int(end)

    def start(self, partition: int, offset: int) -> None:
        """Read a partition from this offset on, the others from where they are."""
        place = TopicPartition(self.topic, partition, offset)
        if partition in self.read_to:
            self._consumer.incremental_unassign([place])
        self._consumer.incremental_assign([place])
        self.read_to[partition] = offset
        self.trimmed.discard(partition)

    def poll(self, timeout_seconds: float) -> list[Message]:
        """Give the next records of any partition; `read_to` and `trimmed` change meanwhile."""
        messages = []
        for message in take(self._consumer, _READ, timeout_seconds):
            error = message.error()
            if error is None:
                messages.append(message)
                self.read_to[message.partition()] = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public constant
                self.read_to[message.partition()] = message.offset()  # past the markers of transactions too
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                self.trimmed.add(message.partition())
        return messages

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()
        self._asking.close()
