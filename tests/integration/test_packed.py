"""Packed events through a live worker: what it learns of them, and where the bad ones go."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from deploy.broker import Broker
from tests.support.crew import Crew
from tests.support.stage import Stage, set_stage
from tests.support.verdict import await_all_learned, messages, uninterrupted
from worker.events.pack import pack
from worker.events.rejects import Reason
from worker.load import EventMapping, load
from worker.simulate import Planted, simulate
from worker.snapshot.manifest import Manifest

PARTITIONS = 2
PLANTED = Planted(events=20_000, users=300, items=100)
GOOD = {"user": "u1", "item": "i1", "label": 1, "time": PLANTED.start_time}
MIXED = [GOOD, GOOD | {"label": None}, GOOD | {"label": 7}, GOOD | {"label": 0}]


@pytest.fixture
def packed(kafka: Broker, unique: str, tmp_path: Path) -> Stage:
    return set_stage(kafka, unique, tmp_path, partitions=PARTITIONS, events={"topic": unique, "format": "arrow"})


@pytest.fixture
def plain(kafka: Broker, unique: str, tmp_path: Path) -> Stage:
    return set_stage(kafka, f"{unique}-json", tmp_path, partitions=PARTITIONS)


@pytest.fixture
def crew(packed: Stage, tmp_path: Path) -> Iterator[Crew]:
    with Crew(packed, tmp_path) as crew:
        yield crew


def send(stage: Stage, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": stage.config.kafka.bootstrap_servers})
    for value in values:
        producer.produce(stage.config.events.topic, value, partition=0)
    assert producer.flush(30) == 0
    producer.close()


def learn(crew: Crew, stage: Stage) -> dict[int, Manifest]:
    worker = crew.start(stage)
    manifests = await_all_learned(stage)
    worker.leave()
    assert worker.exit_code() == 0
    return manifests


def test_packed_events_are_learned_as_json_events_are(crew: Crew, packed: Stage, plain: Stage):
    # Given the same events in both formats, bad ones among them
    for stage in (packed, plain):
        summary = simulate(stage.config, PLANTED, live=False, pack_events=700)
        assert summary.events == PLANTED.events
    wrong = b"neither JSON nor Arrow"
    send(packed, pack(MIXED), wrong, pack([GOOD]))
    send(plain, *map(orjson.dumps, MIXED), wrong, orjson.dumps(GOOD))
    # When a worker learns each
    of_packed, of_plain = learn(crew, packed), learn(crew, plain)
    # Then they are the same models, and those of one pass without a worker
    for shard in range(PARTITIONS):
        one, other = uninterrupted(packed, shard), uninterrupted(plain, shard)
        assert of_packed[shard].state.digest == one.digest()
        assert of_plain[shard].state.digest == other.digest()
        assert one.model.digest() == other.model.digest()
        assert one.progress.sums.tobytes() == other.progress.sums.tobytes()
        assert of_packed[shard].state.events == of_plain[shard].state.events
    assert of_packed[0].state.rejected == {"label_missing": 1, "label_out_of_range": 1, "not_arrow": 1}
    # And far fewer messages carried them
    assert sum(manifest.input.next_offset for manifest in of_packed.values()) < PLANTED.events / 500
    # And the dead letters are the rows and the message that were wrong
    letters = [
        message for shard in range(PARTITIONS) for message in messages(packed, packed.config.dead_letter.topic, shard)
    ]
    found = {}
    for letter in letters:
        said = {name: value.decode() for name, value in letter.headers()}
        found[said["headrace-reason"], said.get("headrace-row")] = letter.value()
    assert found.pop((Reason.NOT_ARROW, None)) == wrong
    assert {place: pa.ipc.open_stream(value).read_all().to_pylist() for place, value in found.items()} == {
        (Reason.LABEL_MISSING, "1"): [MIXED[1]],
        (Reason.LABEL_OUT_OF_RANGE, "2"): [MIXED[2]],
    }


def test_recorded_events_are_packed_too(packed: Stage, tmp_path: Path):
    recorded = [{"user": n % 7, "item": f"i{n}", "label": n % 2} for n in range(1_000)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, recorded)))
    summary = load(packed.config, [tmp_path / "a.jsonl"], EventMapping(), pack_events=64)
    assert summary.events == 1_000
    found = [
        row
        for shard in range(PARTITIONS)
        for message in messages(packed, packed.config.events.topic, shard)
        for row in pa.ipc.open_stream(message.value()).read_all().to_pylist()
    ]
    assert sorted(found, key=lambda row: row["item"]) == sorted(recorded, key=lambda row: row["item"])
