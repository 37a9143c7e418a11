"""Bad input through a live worker: bad records beside good ones, and topics, groups and models that do not fit."""

import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions, NewTopic

from deploy.broker import Broker
from tests.support.crew import Crew
from tests.support.lineage import Writer
from tests.support.patience import SECONDS, await_
from tests.support.publisher import Damage, Publisher, at, flipped, of_format, whole
from tests.support.stage import Stage, set_stage
from tests.support.verdict import await_all_learned, messages, uninterrupted
from worker.events.rejects import Reason
from worker.pipeline import Pipeline
from worker.snapshot.assembler import Assembler
from worker.snapshot.lineage import apply
from worker.snapshot.records import Kind
from worker.snapshot.state import ShardState
from worker.stream.client import reader_settings
from worker.stream.tail import Tail

NOW_MS: Final = int(time.time() * 1_000)  # the broker judges the age of records too
GOOD: Final = {"user": "u1", "item": "i1", "price": 2.5, "tags": ["a"], "label": 1, "time": NOW_MS}
FEATURES: Final[dict[str, dict[str, Any]]] = {
    "user": {}, "item": {}, "price": {"kind": "numeric"}, "tags": {"kind": "multi"},
}  # fmt: skip


def event(**changes: object) -> bytes:
    return orjson.dumps(GOOD | changes)


def without(name: str) -> bytes:
    return orjson.dumps({field: value for field, value in GOOD.items() if field != name})


def raw(name: str, literal: bytes) -> bytes:
    """An event in which a value is written as no encoder would write it."""
    return event(**{name: "HERE"}).replace(b'"HERE"', literal)


BAD: Final[list[tuple[bytes | None, Reason]]] = [
    (b"not json at all", Reason.NOT_JSON),
    (event()[:-1], Reason.NOT_JSON),
    (event() + event(), Reason.NOT_JSON),
    (b"[1, 2, 3]", Reason.NOT_OBJECT),
    (b"null", Reason.NOT_OBJECT),
    (event(user="\u00fc").replace("\u00fc".encode(), b"\xc3"), Reason.INVALID_UTF8),  # the second byte is cut off
    (event(user=["a", "list"]), Reason.WRONG_TYPE),
    (event(label="yes"), Reason.WRONG_TYPE),
    (event(price="dear"), Reason.WRONG_TYPE),
    (event(tags="a"), Reason.WRONG_TYPE),
    (event(time="yesterday"), Reason.WRONG_TYPE),
    (without("label"), Reason.LABEL_MISSING),
    (event(label=None), Reason.LABEL_MISSING),
    (raw("label", b"NaN"), Reason.NOT_FINITE),
    (event(label=7), Reason.LABEL_OUT_OF_RANGE),
    (event(label=-0.1), Reason.LABEL_OUT_OF_RANGE),
    (b"", Reason.EMPTY),
    (b" \n", Reason.EMPTY),
    (event(pad="x" * 5_000_000), Reason.TOO_LARGE),
    (None, Reason.TOMBSTONE),
    (raw("pad", b"[" * 10_000 + b"]" * 10_000), Reason.TOO_DEEP),
    (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, Reason.TOO_DEEP),
    (raw("label", b"1e999"), Reason.NOT_FINITE),
    (raw("price", b"1e999"), Reason.NOT_FINITE),
    (raw("price", b"-" + b"9" * 400), Reason.NOT_FINITE),
    (event(time=0), Reason.TIME_TOO_EARLY),
    (event(time=NOW_MS + 7 * 86_400_000), Reason.TIME_TOO_LATE),
    (event(tags=["t"] * 65), Reason.TOO_MANY_VALUES),
]  # fmt: skip

# What looks odd, and is learned from all the same.
ODD: Final = [
    without("time"),  # the record's own timestamp serves
    event(time=None),
    without("user"),  # missing is not zero: the field takes no part
    without("price"),
    event(tags=[]),
    raw("unread", b"1e999"),  # in a field that nobody reads
    event(user=7),
    event(label=0.5),
    event(user="\u0000 \U0001f600 " * 100),
]


@pytest.fixture
def crew(kafka: Broker, unique: str, tmp_path: Path) -> Iterator[Crew]:
    """Workers of a group that learns from one partition, and waits no longer than it has to."""
    stage = set_stage(
        kafka, unique, tmp_path, partitions=1, features=FEATURES,
        kafka={"session_timeout_seconds": 6, "transaction_timeout_seconds": 1},
    )  # fmt: skip
    with Crew(stage, tmp_path) as crew:
        yield crew


@pytest.fixture
def stage(crew: Crew) -> Stage:
    return crew._stage


def send(stage: Stage, values: list[bytes | None]) -> None:
    refused: list[object] = []
    producer = Producer(
        {"bootstrap.servers": stage.config.kafka.bootstrap_servers, "message.max.bytes": 10_000_000, "log_level": 0}
    )
    for number, value in enumerate(values):
        producer.produce(
            stage.config.events.topic, value, b"key %d" % number, 0, headers=[("trace", b"%d" % number)],
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )  # fmt: skip
    assert producer.flush(SECONDS) == 0
    producer.close()
    assert not refused, refused[0]


def good_events(n: int) -> list[bytes]:
    rng = np.random.default_rng(n)
    return [
        event(user=f"u{u}", item=f"i{i}", price=float(p), label=int(y))
        for u, i, p, y in zip(
            rng.integers(50, size=n).tolist(), rng.integers(20, size=n).tolist(),
            rng.normal(size=n).tolist(), rng.integers(2, size=n).tolist(), strict=True,
        )
    ]  # fmt: skip


def learned_without_broker(stage: Stage, values: list[bytes], timestamps: list[int]) -> ShardState:
    state = ShardState.fresh(0, stage.config.learning)
    Pipeline(stage.config.learning).learn(state, values, np.array(timestamps, np.int64), len(values))
    return state


def test_every_bad_record_stands_once_in_the_dead_letter_topic_and_the_good_ones_are_learned(crew, stage):
    # Given a topic in which every kind of bad record, and of odd ones, stands between good ones
    stage.alter(stage.config.events.topic, max_message_bytes="8388608")
    stage.alter(stage.config.dead_letter.topic, max_message_bytes="8454144")
    reasons = dict[int, Reason]()
    values: list[bytes | None] = []
    for good, (bad, reason), odd in zip(good_events(3 * len(BAD)), BAD * 3, itertools.cycle(ODD), strict=False):
        reasons[len(values) + 2] = reason
        values += [good, odd, bad]
    values += good_events(300)
    send(stage, values)

    # When a worker has learned it
    worker = crew.start()
    (manifest,) = await_all_learned(stage).values()
    worker.send(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert "Traceback" not in worker.log

    # Then the model is that of one pass, and of one that never saw the bad ones
    should = uninterrupted(stage, 0)
    assert manifest.state.digest == should.digest()
    assert manifest.state.rejected == dict(should.rejected)
    records = messages(stage, stage.config.events.topic, 0)
    kept = [record for record in records if record.offset() not in reasons]
    clean = learned_without_broker(stage, [it.value() for it in kept], [it.timestamp()[1] for it in kept])
    assert manifest.state.events == len(kept) == clean.progress.events
    assert not clean.rejected
    assert should.model.digest() == clean.model.digest()
    assert should.progress.sums.tobytes() == clean.progress.sums.tobytes()
    assert should.watermark == clean.watermark

    # And each bad one is kept as it was, with the reason and where it came from
    letters = messages(stage, stage.config.dead_letter.topic, 0)
    assert [int(dict(letter.headers())["headrace-offset"]) for letter in letters] == list(reasons)
    for letter in letters:
        said = dict(letter.headers())
        source = records[int(said["headrace-offset"])]
        assert letter.value() == source.value()
        assert letter.key() == source.key()
        assert said["headrace-reason"].decode() == reasons[source.offset()]
        assert said["headrace-detail"]
        assert (said["headrace-topic"].decode(), said["headrace-partition"]) == (source.topic(), b"0")
        assert int(said["headrace-timestamp"]) == source.timestamp()[1]
        assert said["trace"] == dict(source.headers())["trace"]


def refusal(crew: Crew, code: int, *told: str, stage: Stage | None = None) -> None:
    """Start a worker that must not go on: it ends with this code and says so, in words and without a traceback."""
    worker = crew.start(stage)
    assert worker.exit_code() == code, worker.log
    for line in told:
        assert line in worker.log, worker.log
    assert "Traceback" not in worker.log, worker.log


def gone(stage: Stage, topic: str) -> None:
    admin = stage.admin  # held: a client that nobody holds takes its answers with it
    admin.delete_topics([topic])[topic].result(SECONDS)
    await_("the topic to be gone", lambda: topic not in admin.list_topics(timeout=SECONDS).topics)


def widen(stage: Stage, topic: str) -> None:
    """Give a topic a second partition."""
    admin = stage.admin
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(SECONDS)
    await_("the partition", lambda: len(admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions) == 2)


def test_a_model_topic_that_is_absent_is_refused(crew, stage):
    gone(stage, stage.config.model.topic)
    refusal(crew, 2, f"{stage.config.model.topic}: the model topic does not exist; `headrace topics create` makes it")
    assert stage.config.model.topic not in stage.admin.list_topics(timeout=SECONDS).topics, "and it was not made"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"cleanup_policy": "compact"}, "cleanup.policy is 'compact' and must be 'delete'"),
        ({"retention_ms": "3600000"}, "retention.ms is '3600000' and must be '-1'"),
        ({"retention_bytes": "1000000"}, "retention.bytes is '1000000' and must be '-1'"),
    ],
)
def test_a_model_topic_that_would_lose_the_model_is_refused(crew, stage, settings, told):
    stage.alter(stage.config.model.topic, **settings)
    refusal(crew, 4, told, "`headrace topics create --mend` sets it")


def test_a_model_topic_with_more_partitions_than_the_event_topic_is_refused(crew, stage):
    topic = stage.config.model.topic
    widen(stage, topic)
    refusal(crew, 4, f"{topic}: has 2 partitions, the event topic 1", "name another model.topic")


def test_a_model_topic_with_fewer_partitions_than_the_event_topic_is_refused(crew, stage):
    widen(stage, stage.config.events.topic)
    refusal(crew, 4, "has 1 partitions, the event topic 2", "`headrace topics create --mend` adds the missing ones")


@pytest.fixture
def learned(crew, stage) -> Stage:
    """A model that a worker has published and left."""
    send(stage, list(good_events(300)))
    worker = crew.start()
    await_all_learned(stage)
    worker.send(signal.SIGTERM)
    assert worker.exit_code() == 0
    return stage


def changed(stage: Stage, folder: Path, old: str, new: str) -> Stage:
    """The same stage by another configuration file."""
    text = stage.file.read_text()
    assert text.count(old) == 1
    file = folder / "other.toml"
    file.write_text(text.replace(old, new))
    return replace(stage, file=file)


def test_settings_that_are_not_those_of_the_published_model_are_refused_by_name(crew, learned, tmp_path):
    other = changed(learned, tmp_path, '["model"]', '["model"]\nfactors = 8\nseed = 5')
    refusal(
        crew, 4, "model.factors: published 16, configured 8", "model.seed: published 0, configured 5",
        "give the new model a topic of its own (`model.topic`) and a group (`kafka.group`)", stage=other,
    )  # fmt: skip


def test_another_group_on_the_same_model_is_refused(crew, learned, tmp_path):
    group = learned.config.kafka.group
    other = changed(learned, tmp_path, f'"group" = "{group}"', f'"group" = "{group}-2"')
    refusal(crew, 4, f"belongs to the group '{group}', this worker is of '{group}-2'", stage=other)
    # And the model of the first goes on.
    send(learned, list(good_events(10)))
    worker = crew.start()
    await_all_learned(learned)
    worker.send(signal.SIGTERM)
    assert worker.exit_code() == 0


def set_offset(stage: Stage, offset: int) -> None:
    group = stage.config.kafka.group
    place = TopicPartition(stage.config.events.topic, 0, offset)
    admin = stage.admin
    (answer,) = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [place])]).values()
    (altered,) = answer.result(SECONDS).topic_partitions
    assert altered.error is None, altered.error


def test_offsets_that_were_reset_by_hand_are_refused(crew, learned):
    set_offset(learned, 100)
    refusal(
        crew, 4, "was learned up to offset 300", "has committed 100: were its offsets reset by hand?",
        f"kafka-consumer-groups --delete-offsets --group {learned.config.kafka.group}",
    )  # fmt: skip
    set_offset(learned, 300)
    worker = crew.start()
    worker.await_log("restore|version 1, ")
    worker.send(signal.SIGTERM)
    assert worker.exit_code() == 0


def test_a_model_topic_that_was_deleted_under_its_group_is_refused(crew, learned):
    topic = learned.config.model.topic
    gone(learned, topic)
    new, admin = NewTopic(topic, 1, 1, config={"retention.ms": "-1"}), learned.admin
    # The name may be taken for a moment longer than the topic is listed.
    await_("the topic to be made", lambda: admin.create_topics([new])[topic].exception(SECONDS) is None)
    refusal(
        crew, 4, "has committed offset 300", "holds no model of it: was the model topic deleted?",
        "use a new group (`kafka.group`)",
    )  # fmt: skip


def continued(stage: Stage) -> Writer:
    """A writer that stands where the model topic ends."""
    state = ShardState.fresh(0, stage.config.learning)
    assembler = Assembler(stage.config.model.name, 0)
    with Tail(reader_settings(stage.config.kafka), stage.config.model.topic, 0) as tail:
        for record, offset in tail.records(tail.bounds()[0]):
            version = assembler.feed(record, offset)
            if version is not None:
                apply(state, version)
    state.digest()
    writer = Writer(stage.config.learning, group=stage.config.kafka.group, now=NOW_MS)
    writer.state = state
    return writer


def manifest_flipped(record):
    return flipped(record) if record.kind is Kind.MANIFEST else whole(record)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (at(2, flipped), "record 2 (rows) of version {} of shard 0 does not match its checksum"),
        (manifest_flipped, "the manifest of version {} of shard 0 does not match its checksum"),
    ],
)
def test_a_last_version_that_is_damaged_is_not_gone_on_with(kafka, crew, learned, damage: Damage, told: str):
    writer = continued(learned)
    send(learned, list(good_events(10)))
    with Publisher(kafka, learned.config.model.topic, exists=True) as publisher:
        writer.learn(good_events(10))
        manifest = publisher.publish(writer, damage)
    set_offset(learned, manifest.input.next_offset)
    refusal(crew, 4, told.format(manifest.version), "`headrace snapshot verify` tells what is whole")


def test_a_version_of_a_later_format_is_not_gone_on_with(kafka, crew, learned):
    writer = continued(learned)
    with Publisher(kafka, learned.config.model.topic, exists=True) as publisher:
        writer.learn(good_events(10))
        publisher.publish(writer, of_format(2))
    refusal(crew, 4, "is written in format 2, this release reads 1: upgrade headrace")
