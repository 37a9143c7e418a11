"""What Kafka holds in the end, and what it should hold: one uninterrupted pass over the same events."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tests.support.feed import Feed
from tests.support.patience import SECONDS, await_
from tests.support.stage import Stage
from worker.pipeline import Pipeline
from worker.snapshot.assembler import Assembler, Version
from worker.snapshot.manifest import Manifest
from worker.snapshot.state import ShardState
from worker.stream.client import reader_settings
from worker.stream.polling import take
from worker.stream.tail import Tail


def messages(stage: Stage, topic: str, partition: int) -> list[Message]:
    """Read what a read_committed reader sees of a partition, from its beginning to its end now."""
    consumer = Consumer(
        {
            "bootstrap.servers": stage.config.kafka.bootstrap_servers,
            "group.id": f"{topic}-verdict",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,  # how long the broker waits before it says that there is no more
            "log_level": 0,
        }
    )
    found: list[Message] = []
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while True:
            batch = take(consumer, 10_000, SECONDS)
            assert batch, f"the end of partition {partition} of {topic} was not reached"
            for message in batch:
                if message.error() is None:
                    found.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    return found
                else:
                    assert message.error().retriable(), message.error()
    finally:
        consumer.close()


def last_manifests(stage: Stage) -> dict[int, Manifest]:
    """Give the last committed manifest of each shard that has one."""
    found = {}
    with Tail(reader_settings(stage.config.kafka), stage.config.model.topic, 0) as tail:
        for shard in range(stage.partitions):
            last = tail.of(shard).last_manifest()
            if last is not None:
                found[shard] = last[0]
    return found


def uninterrupted(stage: Stage, shard: int) -> ShardState:
    """Learn a partition in one pass and one batch, with no worker, no commit and no restart."""
    records = messages(stage, stage.config.events.topic, shard)
    state = ShardState.fresh(shard, stage.config.learning)
    values = [record.value() for record in records]
    timestamps = np.array([record.timestamp()[1] for record in records], np.int64)
    Pipeline(stage.config.learning).learn(state, values, timestamps, records[-1].offset() + 1)
    return state


def await_all_learned(stage: Stage, meanwhile: Callable[[], None] = lambda: None) -> dict[int, Manifest]:
    """Wait until the manifests name the end of every partition of the events."""
    ends = dict(_ends(stage))

    def look() -> dict[int, Manifest] | None:
        meanwhile()
        manifests = last_manifests(stage)
        reached = {shard: manifest.input.next_offset for shard, manifest in manifests.items()}
        return manifests if reached == ends else None

    return await_("every event learned and committed", look)


def require_exactly_once(
    stage: Stage, feed: Feed, replay: Callable[[Stage, int], ShardState] = uninterrupted
) -> dict[int, Manifest]:
    """Hold the model, the counts and the dead letters against what was sent, each shard against its replay."""
    feed.flush()
    manifests = last_manifests(stage)
    for shard in range(stage.partitions):
        should, manifest = replay(stage, shard), manifests[shard]
        assert manifest.input.next_offset == should.next_offset, f"shard {shard}"
        assert manifest.state.rejected == dict(should.rejected), f"shard {shard}"
        assert manifest.state.events == should.progress.events, f"shard {shard}"
        assert manifest.state.digest == should.digest(), f"shard {shard}"
        assert manifest.state.watch == should.watch.digest(), f"shard {shard}"
    assert sum(manifest.input.next_offset for manifest in manifests.values()) == feed.sent
    assert sum(manifest.state.events for manifest in manifests.values()) == feed.valid
    letters = sorted(dead_letters(stage), key=lambda letter: letter.place)
    assert [letter.place for letter in letters] == sorted(feed.bad)
    assert {letter.place: letter.value for letter in letters} == feed.bad
    return manifests


def require_one_chain(stage: Stage) -> None:
    """Hold every version in the model topic against the one before it: numbers rise by one, links hold."""
    for shard in range(stage.partitions):
        before: tuple[int, str] | None = None
        for version in versions(stage, shard):
            manifest = version.manifest
            assert manifest.parent == manifest.version - 1
            if before is not None:
                assert (manifest.parent, manifest.parent_chain) == before, f"shard {shard} is forked"
            before = manifest.version, version.chain


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    place: tuple[int, int]  # partition and offset of the event
    value: bytes | None
    reason: str


def dead_letters(stage: Stage) -> Iterator[DeadLetter]:
    """Read the dead-letter topic."""
    for partition in range(stage.partitions):
        for message in messages(stage, stage.config.dead_letter.topic, partition):
            said = {name: value.decode() for name, value in message.headers()}
            assert said["headrace-topic"] == stage.config.events.topic
            yield DeadLetter(
                place=(int(said["headrace-partition"]), int(said["headrace-offset"])),
                value=message.value(),
                reason=said["headrace-reason"],
            )


def versions(stage: Stage, shard: int) -> Iterator[Version]:
    """Read every version of a shard that is still there."""
    assembler = Assembler(stage.config.model.name, shard)
    with Tail(reader_settings(stage.config.kafka), stage.config.model.topic, shard) as tail:
        begin, _ = tail.bounds()
        for record, offset in tail.records(begin):
            version = assembler.feed(record, offset)
            if version is not None:
                yield version


def _ends(stage: Stage) -> Iterator[tuple[int, int]]:
    for shard in range(stage.partitions):
        with Tail(reader_settings(stage.config.kafka), stage.config.events.topic, shard) as tail:
            yield shard, tail.bounds()[1]
