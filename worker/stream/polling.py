"""What `consume()` gave: errors judged, messages as columns by shard."""

import logging
from itertools import groupby
from typing import Final

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message
from numpy.typing import NDArray

from worker.errors import ConfigurationError, FencedError, IncompatibleDataError
from worker.events.intake import Source

# The next record is not there any more; a reader of ours never jumps elsewhere.
GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001 - public constants

_LOG = logging.getLogger(__name__)
_FORBIDDEN: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def take(consumer: Consumer, most: int, timeout_seconds: float) -> list[Message]:
    """Wait for a first message, then take what is there beside it.

    `consume()` alone waits until it has them all, or for the whole of the time: the last message of a topic with it.
    """
    messages: list[Message] = consumer.consume(1, timeout_seconds)
    if messages:
        messages += consumer.consume(most - 1, 0)
    return messages


def by_shard(messages: list[Message]) -> dict[int, list[Message]]:
    """Part the messages of a poll by their shard, in offset order; errors are dealt with on the way.

    Raises:
        FencedError, ConfigurationError, IncompatibleDataError: where going on is not possible.
    """
    if any(map(Message.error, messages)):
        for message in messages:
            if message.error() is not None:
                _judge(message)
        messages = [message for message in messages if message.error() is None]
    shards: dict[int, list[Message]] = {}
    for shard, run in groupby(messages, Message.partition):  # the client gives what it fetched of a partition in a row
        shards.setdefault(shard, []).extend(run)
    return shards


def after(messages: list[Message], next_offset: int) -> list[Message]:
    """Leave out what lies before an offset: it was taken already, and fetched before a seek."""
    if messages and messages[0].offset() < next_offset:
        return [message for message in messages if message.offset() >= next_offset]
    return messages


def columns(messages: list[Message]) -> tuple[list[bytes | None], NDArray[np.int64]]:
    """Take messages apart: values, and timestamps in milliseconds since 1970, -1 where there is none."""
    return (
        [message.value() for message in messages],
        np.array([message.timestamp()[1] for message in messages], np.int64),
    )


def source(messages: list[Message]) -> Source:
    """Tell where messages of one shard stand."""
    return Source(shard=messages[0].partition(), offsets=np.array([message.offset() for message in messages], np.int64))


def refuse_forbidden(error: KafkaError, topic: str | None) -> None:
    """End where a permission is missing: waiting does not bring it.

    Raises:
        ConfigurationError: it is.
    """
    if error.code() in _FORBIDDEN:
        where = f" to topic {topic}" if topic else ""
        raise ConfigurationError(f"Kafka refuses access{where}: {error.str()}; `headrace doctor` lists what is needed")


def _judge(message: Message) -> None:
    error = message.error()
    if error.fatal():
        raise FencedError(f"the group member can go on no more: {error.str()}; restart the worker")
    refuse_forbidden(error, message.topic())
    if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the client's public constant
        raise IncompatibleDataError(
            f"shard {message.partition()}: the next event of {message.topic()} is gone, retention deleted it before it "
            f"was learned ({error.str()}). Events are lost: to go on after the gap, move the group's offset and the "
            "model on together, with a new group and a new model topic; then lengthen the topic's retention"
        )
    _LOG.warning("Kafka: %s", error.str(), extra={"action": "client_error"})
