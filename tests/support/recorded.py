"""Topics that are recorded and loaded in tests, through the command's own jobs."""

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.broker import Broker
from tests.support.patience import SECONDS
from tests.support.recordings import rows
from tests.support.topics import create_topic
from worker.config import Config
from worker.recording import Recording
from worker.recording.plan import Asked
from worker.recording.writing import Limits
from worker.stream.recorder import Recorder, Summary

Row = tuple[object, ...]


def config(kafka: Broker, topic: str) -> Config:
    return Config.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "group": topic},
            "events": {"topic": topic},
            "features": {"user": {}, "item": {}},
        }
    )


def make(kafka: Broker, topic: str, partitions: int = 1, **settings: str) -> AdminClient:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    create_topic(admin, NewTopic(topic, num_partitions=partitions, config=settings))
    return admin


def produce(kafka: Broker, topic: str, records: Iterable[dict[str, Any]], *, transaction: str | None = None) -> None:
    """Send records; with the id of a transaction, commit them in one."""
    producer = Producer(
        # Idempotent: a batch that is sent again, to a topic whose leader is new, still keeps its place.
        {"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 5, "message.max.bytes": 8_000_000}
        # Until it has its id, all of them wait.
        | {"enable.idempotence": True, "queue.buffering.max.messages": 0}
        | ({} if transaction is None else {"transactional.id": transaction})
    )
    if transaction is not None:
        producer.init_transactions(SECONDS)
        producer.begin_transaction()
    for record in records:
        producer.produce(topic, **record)
        producer.poll(0)
    if transaction is not None:
        producer.commit_transaction(SECONDS)
    assert producer.flush(SECONDS) == 0
    producer.close()


def record(
    kafka: Broker,
    topic: str,
    to: Path,
    *,
    follow: bool = False,
    file_records: int | None = None,
    stopped: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
    **asked: Any,
) -> Summary:
    recorder = Recorder(
        config(kafka, topic), topic, to, Asked(**asked),
        follow=follow, limits=None if file_records is None else Limits(records=file_records),
    )  # fmt: skip
    return recorder.run(stopped=stopped, progress=progress)


def held(location: Path, topic: str | None = None) -> dict[int, list[Row]]:
    """Give what a recording holds of each partition, without topics and offsets: what loading it keeps."""
    recording = Recording(location, topic)
    return {number: [row[3:] for row in rows(*recording.partition(number))] for number in recording.ranges}


def offsets(location: Path) -> dict[int, Sequence[int]]:
    recording = Recording(location)
    return {
        number: [offset for records in recording.partition(number) for offset in records.offsets.tolist()]
        for number in recording.ranges
    }
