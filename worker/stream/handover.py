"""The first versions of a model that is carried elsewhere: all shards and the group's offsets, in one transaction.

A reader sees all of them or none. What an earlier try left behind, its producer's name being the same, is aborted by
the next one; so trying again is always safe.
"""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from worker.config import Config
from worker.errors import BrokerUnreachableError, HeadraceError
from worker.snapshot.manifest import Peer
from worker.snapshot.records import Record
from worker.snapshot.resharding import Moved
from worker.snapshot.sealing import Folding, Sealed, Writing
from worker.stream import client

_OPEN_SECONDS = 600.0  # of the transaction: less than a broker's default limit of fifteen minutes
_REQUEST_SECONDS = 30.0


def publish(
    config: Config,
    moved: Sequence[Moved],
    writing: Writing,
    progress: Callable[[int], None],
    *,
    offsets: bool = True,
) -> int:
    """Write the first version of each shard into the model topic, and where its events go on.

    Args:
        config: names the topics and the group.
        moved: the shards, by number.
        writing: how versions are written.
        progress: called with the number of rows that were handed over since the last call.
        offsets: set those of the group too. Without, a group that has none goes on where the manifests say.

    Returns:
        The bytes written.

    Raises:
        BrokerUnreachableError: no answer in time. Nothing is to be seen of what was written.
        HeadraceError: the cluster refuses.
    """
    patient = config.kafka.model_copy(update={"transaction_timeout_seconds": _OPEN_SECONDS})
    name = client.transactional_id_of(config, f"reshard.{config.model.topic}")
    settings = client.producer_settings(
        config.model_copy(update={"kafka": patient}), name, batch_limit_bytes=writing.record_limit_bytes
    )
    producer, member = Producer(settings), Consumer(client.reader_settings(config.kafka))
    try:
        producer.init_transactions(_REQUEST_SECONDS)
        producer.begin_transaction()
        written = 0
        for it in moved:
            written += _write(producer, config.model.topic, it, _others(moved, it), writing)
            progress(len(it.state.model.table))
        if offsets:
            places = [TopicPartition(config.events.topic, it.state.shard, it.state.next_offset) for it in moved]
            producer.send_offsets_to_transaction(places, member.consumer_group_metadata(), _REQUEST_SECONDS)
        producer.commit_transaction(_OPEN_SECONDS)
    except KafkaException as error:
        reason = error.args[0]
        kind = BrokerUnreachableError if reason.retriable() else HeadraceError
        raise kind(
            f"the model was not carried to {config.model.topic}: {reason.str()}. Nothing of it is to be seen there; "
            "try again"
        ) from error
    finally:
        member.close()
        producer.close()
    return written


def _others(moved: Sequence[Moved], one: Moved) -> list[Folding]:
    # Each shard knows from its first version on what all the others have ever added.
    return [
        Folding(shard=it.state.shard, peer=Peer(version=1, offset=0), contribution=it.contribution)
        for it in moved
        if it is not one and it.contribution is not None
    ]


def _write(producer: Producer, topic: str, it: Moved, foldings: list[Folding], writing: Writing) -> int:
    reports: list[tuple[KafkaError | None, int]] = []
    sealed = Sealed(it.state, writing, foldings, it.contribution)

    def send(record: Record) -> int:
        while True:
            try:
                producer.produce(
                    topic, partition=it.state.shard, key=record.key, value=record.value, headers=record.headers,
                    on_delivery=lambda error, message: reports.append((error, message.offset())),
                )  # fmt: skip
            except BufferError:  # the queue is full: let some of it be delivered
                producer.poll(0.1)
            else:
                return len(record.value)

    written = sum(send(record) for record in sealed.data)
    producer.flush(_OPEN_SECONDS)
    errors = [error for error, _ in reports if error is not None]
    if errors or len(reports) < len(sealed.data):
        raise KafkaException(errors[0] if errors else KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
    written += send(sealed.close(min(offset for _, offset in reports), time.time_ns() // 1_000_000))
    return written
