"""A publisher of versions: what a worker writes to the model topic, written by the test itself, whole or damaged."""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

from confluent_kafka import IsolationLevel, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from deploy.broker import Broker
from tests.support.lineage import NOW, Writer
from tests.support.patience import await_
from tests.support.topics import create_topic
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, Record

_SECONDS = 60

# What becomes of a record on its way: value and headers as they are to be sent, or None where it gets lost.
Sent = tuple[bytes, list[tuple[str, bytes]]]
Damage = Callable[[Record], Sent | None]


def whole(record: Record) -> Sent:
    return record.value, record.headers


def flipped(record: Record) -> Sent:
    """Flip one bit in the middle of the value."""
    value = bytearray(record.value)
    value[len(value) // 2] ^= 1
    return bytes(value), record.headers


def lost(_: Record) -> None:
    return None


def of_format(number: int) -> Damage:
    """Pretend that a record was written in another format."""

    def pretend(record: Record) -> Sent:
        headers = [
            (name, str(number).encode() if name == "headrace-format" else value) for name, value in record.headers
        ]
        return record.value, headers

    return pretend


def at(number: int, damage: Damage) -> Damage:
    """Damage one data record of a version."""
    return lambda record: damage(record) if record.sequence == number else whole(record)


def of_kind(kind: Kind, damage: Damage) -> Damage:
    """Damage the records of a kind."""
    return lambda record: damage(record) if record.kind is kind else whole(record)


class Publisher:
    """Writes versions to one model topic in transactions, as a worker does."""

    def __init__(self, kafka: Broker, topic: str, *, partitions: int = 1, exists: bool = False) -> None:
        self.topic = topic
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        if not exists:
            create_topic(self.admin, NewTopic(topic, partitions, 1, config={"retention.ms": "-1"}))
        self._producer = Producer(
            {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic, "log_level": 0}
        )
        self._producer.init_transactions(_SECONDS)
        self._offsets: list[int] = []  # of the records of the transaction

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()

    def publish(self, writer: Writer, damage: Damage = whole, *, abort: bool = False) -> Manifest:
        """Publish what the writer has learned as its next version; an aborted one leaves the writer where it was."""
        sealed = writer.seal()
        self._producer.begin_transaction()
        first = self._send(writer.shard, sealed.data, damage)
        manifest = sealed.close(first if sealed.needs_offset else None, NOW + sealed.version)
        self._send(writer.shard, [replace(manifest)], damage)
        if abort:
            self._producer.abort_transaction(_SECONDS)
            self._offsets.clear()
            return Manifest.decode(manifest.value)
        self._commit(writer.shard)
        return sealed.settle()

    def send_stray(self, partition: int, value: bytes) -> None:
        """Write a record that is none of headrace's."""
        self._producer.begin_transaction()
        self._send_one(partition, value, None, [])
        assert self._producer.flush(_SECONDS) == 0
        self._commit(partition)

    def _send(self, partition: int, records: list[Record], damage: Damage) -> int:
        before = len(self._offsets)
        for record in records:
            sent = damage(record)
            if sent is not None:
                value, headers = sent
                self._send_one(partition, value, record.key, headers)
        assert self._producer.flush(_SECONDS) == 0
        return min(self._offsets[before:], default=0)

    def _send_one(self, partition: int, value: bytes, key: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        def note(error: object, message: Message) -> None:
            assert error is None, error
            self._offsets.append(message.offset())

        self._producer.produce(self.topic, value, key, partition, headers=headers, on_delivery=note)

    def _commit(self, partition: int) -> None:
        """Commit, and wait until readers may see it: the coordinator answers before its markers are written."""
        self._producer.commit_transaction(_SECONDS)
        place, last = TopicPartition(self.topic, partition), max(self._offsets, default=-1)
        self._offsets.clear()

        def visible() -> bool:
            asked = self.admin.list_offsets(
                {place: OffsetSpec.latest()}, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_SECONDS
            )
            return asked[place].result().offset > last

        await_("the committed version to be visible", visible)
