"""`headrace simulate` and `headrace load` against a real broker."""

import json
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.broker import Broker
from tests.support.topics import create_topic
from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError, HeadraceError
from worker.load import BadRowError, EventMapping, LabelRule, load
from worker.simulate import Planted, simulate
from worker.simulate.encoding import encode

PARTITIONS = 4


@dataclass(frozen=True, kw_only=True)
class Received:
    partition: int
    key: bytes
    value: bytes
    timestamp: int


def config(kafka: Broker, topic: str, **kafka_settings: Any) -> Config:
    return Config.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, **kafka_settings},
            "events": {"topic": topic},
            "features": {"user": {}, "item": {}},
        }
    )


def make(kafka: Broker, topic: str, **settings: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    create_topic(admin, NewTopic(topic, num_partitions=PARTITIONS, config=settings))


def receive(kafka: Broker, topic: str) -> list[Received]:
    """Read all that is in a topic now, each partition in its order."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    received = []
    try:
        ends = {}
        for partition in range(PARTITIONS):
            _, ends[partition] = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        while left := sum(ends.values()) - len(received):
            for message in consumer.consume(min(left, 10_000), timeout=30):  # returns as soon as it has so many
                assert message.error() is None
                received.append(
                    Received(
                        partition=message.partition(),
                        key=message.key(),
                        value=message.value(),
                        timestamp=message.timestamp()[1],
                    )
                )
    finally:
        consumer.close()
    return received


def murmur2(data: bytes) -> int:
    """Kafka's murmur2, written down once more from org.apache.kafka.common.utils.Utils."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def test_our_murmur2_is_that_of_java() -> None:
    # Values of org.apache.kafka.common.utils.UtilsTest.
    assert murmur2(b"21") == -973932308 & 0xFFFFFFFF
    assert murmur2(b"foobar") == -790332482 & 0xFFFFFFFF
    assert murmur2(b"a-little-bit-long-string") == -985981536 & 0xFFFFFFFF


def test_a_planted_stream_arrives_whole_in_order_and_by_user(kafka: Broker, unique: str) -> None:
    # Given a topic and a stream with synthetic times
    make(kafka, unique)
    planted = Planted(events=30_000, users=300, items=100)
    steps: list[int] = []
    # When it is sent
    summary = simulate(config(kafka, unique), planted, live=False, progress=steps.append)
    # Then each event is there once, in the partition that Java's producers would choose, users in their order
    sent = [value for batch in planted.batches() for value in encode(batch)]
    received = receive(kafka, unique)
    assert sorted(event.value for event in received) == sorted(sent)
    by_partition = defaultdict(list)
    for value in sent:
        by_partition[(murmur2(json.loads(value)["user"].encode()) & 0x7FFFFFFF) % PARTITIONS].append(value)
    for partition in range(PARTITIONS):
        assert [event.value for event in received if event.partition == partition] == by_partition[partition]
    assert all(event.key.decode() == json.loads(event.value)["user"] for event in received)
    # And the summary says so
    assert (summary.events, summary.partitions, summary.topic) == (30_000, PARTITIONS, unique)
    assert sum(steps) == 30_000
    assert summary.truth == planted.truth()


def test_a_live_event_is_as_old_as_its_sending(kafka: Broker, unique: str) -> None:
    make(kafka, unique)
    moments = iter(range(1_700_000_000_000, 1_700_000_001_000))
    planted = Planted(events=3_000, users=300, items=100)
    summary = simulate(config(kafka, unique), planted, now=lambda: next(moments))
    times = {json.loads(event.value)["time"] for event in receive(kafka, unique)}
    assert times == {1_700_000_000_000, 1_700_000_000_001, 1_700_000_000_002}
    assert summary.truth.drift_time == 1_700_000_000_001


def test_a_rate_is_kept(kafka: Broker, unique: str) -> None:
    make(kafka, unique)
    summary = simulate(config(kafka, unique), Planted(events=500, users=300, items=100), rate=1_000)
    # The last of the slices of 50 starts no sooner than 450 events at 1,000 a second allow.
    assert summary.seconds >= 0.45
    timestamps = [event.timestamp for event in receive(kafka, unique)]
    assert max(timestamps) - min(timestamps) >= 400


def test_crc32_is_the_partitioner_of_librdkafka(kafka: Broker, unique: str) -> None:
    make(kafka, unique)
    chosen = config(kafka, unique)
    chosen = chosen.model_copy(update={"events": chosen.events.model_copy(update={"partitioner": "crc32"})})
    simulate(chosen, Planted(events=2_000, users=300, items=100))
    assert all(event.partition == zlib.crc32(event.key) % PARTITIONS for event in receive(kafka, unique))


def test_recorded_events_arrive_as_mapped(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique)
    lines = ["userId,rating,timestamp", *(f"{n % 97},{n % 5 + 1},{874_724_710 + n}" for n in range(12_345))]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    mapping = EventMapping(
        sources={"user": "userId", "time": "timestamp"}, types={"time": "s"}, label=LabelRule.parse("rating>=4")
    )
    summary = load(config(kafka, unique), [tmp_path / "ratings.csv"], mapping)
    assert summary.events == 12_345
    expected = defaultdict(list)
    for n in range(12_345):
        user = n % 97
        event = {"user": user, "label": int(n % 5 + 1 >= 4), "time": (874_724_710 + n) * 1_000}
        expected[(murmur2(str(user).encode()) & 0x7FFFFFFF) % PARTITIONS].append((str(user).encode(), event))
    received = receive(kafka, unique)
    for partition in range(PARTITIONS):
        found = [(event.key, json.loads(event.value)) for event in received if event.partition == partition]
        assert found == expected[partition]


def test_what_lies_before_a_bad_row_is_sent_and_counted(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique)
    good = [json.dumps({"user": f"u{n}", "label": 1}) for n in range(1_234)]
    (tmp_path / "a.jsonl").write_text("\n".join([*good, '{"user": "u", "label": null}', good[0]]))
    with pytest.raises(BadRowError, match=r"a\.jsonl, line 1235: .*The 1,234 events before it were sent"):
        load(config(kafka, unique), [tmp_path / "a.jsonl"], EventMapping())
    assert len(receive(kafka, unique)) == 1_234


def test_a_topic_that_does_not_exist_is_named_and_not_made(kafka: Broker, unique: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{unique}.*headrace topics create"):
        simulate(config(kafka, unique), Planted(events=10))
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=30).topics
    assert unique not in topics


def test_an_event_that_the_topic_refuses_is_an_error(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique, **{"max.message.bytes": "2000"})
    noise = "".join(chr(33 + n * n * 7919 % 90) for n in range(100_000)).replace('"', "").replace("\\", "")
    (tmp_path / "a.jsonl").write_text(json.dumps({"user": "u", "label": 1, "x": noise}))
    with pytest.raises(HeadraceError, match=r"max\.message\.bytes"):
        load(config(kafka, unique, producer={"compression.type": "none"}), [tmp_path / "a.jsonl"], EventMapping())
    assert receive(kafka, unique) == []


def test_a_setting_that_librdkafka_refuses_is_a_matter_of_configuration(kafka: Broker, unique: str) -> None:
    make(kafka, unique)
    with pytest.raises(ConfigurationError, match=r"\[kafka\.producer\]"):
        simulate(config(kafka, unique, producer={"linger.ms": "soon"}), Planted(events=10))


def test_a_broker_that_is_not_there_is_named() -> None:
    nowhere = Config.model_validate({"features": {"user": {}}, "kafka": {"bootstrap_servers": "127.0.0.1:1"}})
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:1"):
        simulate(nowhere, Planted(events=10))
