"""`headrace snapshot` on real Kafka: what is kept, what a version is, and what is damaged."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import TopicPartition

from tests.support.command import headrace_text
from tests.support.lineage import Writer, events, learning_of
from tests.support.patience import SECONDS
from tests.support.publisher import Damage, Publisher, at, flipped, lost, of_format, whole
from worker import snapshots
from worker.config import Config
from worker.errors import ConfigurationError, CorruptSnapshotError, IncompatibleDataError
from worker.snapshot.records import Kind, Record, checksum, decode_rows, encode_rows, row_bytes
from worker.snapshots import Verdict
from worker.stream.tail import Tail

ROOT = Path(__file__).parents[2]


@pytest.fixture
def publisher(kafka, unique) -> Iterator[Publisher]:
    with Publisher(kafka, unique, partitions=2) as one:
        yield one


@pytest.fixture
def config(kafka, unique) -> Config:
    """Where the model is; what it was learned with stands in its manifests."""
    return Config.model_validate(
        {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers},
            "model": {"topic": unique},
            "features": {"other": {}},
        }
    )


def advance(publisher: Publisher, writer: Writer, times: int = 1, damage: Damage = whole) -> None:
    for _ in range(times):
        writer.learn([*events(100, writer.state.version), b"no json"])
        publisher.publish(writer, damage)


def with_base(publisher: Publisher, writer: Writer, parts: int) -> None:
    """Publish a base in so many parts."""
    writer.learn([*events(100, writer.state.version), b"no json"])
    size = row_bytes(writer.learning.model.factors, fades=False)
    writer.base_part_bytes = size * -(-len(writer.state.model.table) // parts)
    writer.state.bytes_since_base = 2**40
    publisher.publish(writer)
    begun = writer.state.version
    advance(publisher, writer, parts - 1)
    assert (writer.state.bases[-1].version, writer.state.bases[-1].completed) == (begun, begun + parts - 1)


def verdicts(config: Config, shard: int | None = 0) -> list[Verdict]:
    return list(snapshots.check(config, shard))


def test_what_is_kept_is_listed_shard_by_shard(publisher, config):
    writer = Writer()
    advance(publisher, writer, 3)
    with_base(publisher, writer, 2)
    first, second = snapshots.kept(config)
    assert (first.shard, first.oldest_version, first.last) == (0, 1, writer_manifest(config))
    assert first.last is not None
    assert [(base.version, base.completed) for base in first.last.bases] == [(1, 1), (4, 5)]
    assert (second.shard, second.oldest_version, second.last) == (1, 0, None)
    # When what lies before the second base is trimmed, that is told too
    place = TopicPartition(publisher.topic, 0, first.last.bases[1].offset)
    publisher.admin.delete_records([place])[place].result(SECONDS)
    assert snapshots.kept(config, 0)[0].oldest_version == 4


def writer_manifest(config: Config):
    return snapshots.show(config, 0)[0].manifest


def test_every_version_can_be_shown_with_how_well_it_predicted(publisher, config):
    writer, seen = Writer(), {}
    for _ in range(2):
        advance(publisher, writer, 2)
        seen[writer.state.version] = writer.state.progress.copy(), writer.state.chain
        with_base(publisher, writer, 1)
        seen[writer.state.version] = writer.state.progress.copy(), writer.state.chain
    for version, (progress, chain) in seen.items():
        (shown,) = snapshots.show(config, 0, version)
        assert shown.manifest.version == version
        assert shown.chain == chain
        assert shown.progress.sums.tobytes() == progress.sums.tobytes()
        assert shown.progress.auc == progress.auc
        assert shown.manifest_offset - shown.offset == len(shown.manifest.records)
    assert snapshots.show(config, 0)[0].manifest.version == 6
    with pytest.raises(ConfigurationError, match="version 7 of shard 0 is not in"):
        snapshots.show(config, 0, 7)
    with pytest.raises(ConfigurationError, match="shard 1 has no version yet"):
        snapshots.show(config, 1)
    with pytest.raises(ConfigurationError, match="has the shards 0 to 1, not 2"):
        snapshots.show(config, 2)


def test_what_is_sound_is_found_sound(publisher, config):
    writer, other = Writer(), Writer(learning_of(factors=4), shard=1)
    advance(publisher, writer, 3)
    with_base(publisher, writer, 3)
    advance(publisher, writer, 2)
    advance(publisher, other)
    passed: list[int] = []
    found = list(snapshots.check(config, None, passed.append))
    assert [(one.shard, one.first_version, one.last_version, one.damage) for one in found] == [
        (0, 1, 8, None),
        (1, 1, 1, None),
    ]
    assert sum(passed) == snapshots.records(config)
    assert found[1].records == 5
    assert found[1].bytes > 1_000


def test_an_empty_shard_is_sound(config, publisher):
    assert [(one.last_version, one.damage) for one in verdicts(config, None)] == [(0, None), (0, None)]
    assert publisher.topic == config.model.topic


def test_only_what_is_kept_from_the_oldest_base_on_is_judged(publisher, config):
    """Damage that no reader will ever read is no damage; what is left after a trim is enough."""
    writer = Writer(keep_bases=1)
    advance(publisher, writer)
    advance(publisher, writer, damage=at(2, flipped))
    with_base(publisher, writer, 2)
    advance(publisher, writer)
    (verdict,) = verdicts(config)
    assert (verdict.first_version, verdict.last_version, verdict.damage) == (3, 5, None)


def forged(record: Record):
    """Change a weight, and make the checksum fit."""
    if record.kind is not Kind.ROWS:
        return whole(record)
    rows = decode_rows(record.value, 4)
    rows.parameters[0, 0] += np.float32(1)
    value = encode_rows(rows)
    headers = [(name, checksum(value).encode() if name == "headrace-checksum" else x) for name, x in record.headers]
    return value, headers


def of_manifest(damage: Damage) -> Damage:
    return lambda record: damage(record) if record.kind is Kind.MANIFEST else whole(record)


@pytest.mark.parametrize(
    ("damage", "version", "told"),
    [
        (at(0, flipped), 3, "record 0 (progress) of version 3 of shard 0 does not match its checksum"),
        (at(2, flipped), 3, "record 2 (rows) of version 3 of shard 0 does not match its checksum"),
        (of_manifest(flipped), 3, "the manifest of version 3 of shard 0 does not match its checksum"),
        (at(1, lost), 3, "4 data records by its manifest, 3 came, 1 are missing or changed"),
        (of_manifest(lost), 4, "version 4 came after 2, 1 missing between them"),
        (lost, 4, "version 4 came after 2, 1 missing between them"),
        (forged, 3, "4 data records by its manifest, 4 came, 1 are missing or changed"),
        (of_format(9), 3, "written in format 9, this release reads 1: upgrade headrace"),
    ],
)
def test_the_first_version_that_is_damaged_is_named_and_why(publisher, config, damage, version, told):
    writer = Writer()
    advance(publisher, writer, 2)
    advance(publisher, writer, damage=damage)
    advance(publisher, writer, 2)
    (verdict,) = verdicts(config)
    assert told in (verdict.damage or "")
    assert verdict.damaged_version == version
    assert (verdict.first_version, verdict.last_version) == (1, 2)


def test_a_damaged_last_version_is_found_and_told_by_every_command(publisher, config):
    writer = Writer()
    advance(publisher, writer, 2)
    advance(publisher, writer, damage=of_manifest(flipped))
    (verdict,) = verdicts(config)
    assert verdict.damaged_version == 3
    assert snapshots.kept(config, 0)[0].last == snapshots.show(config, 0, 2)[0].manifest
    with pytest.raises(CorruptSnapshotError, match="the manifest of version 3 of shard 0"):
        snapshots.show(config, 0)


def test_records_without_a_manifest_at_the_end_are_found(publisher, config):
    writer = Writer()
    advance(publisher, writer, 2)
    advance(publisher, writer, damage=of_manifest(lost))
    (verdict,) = verdicts(config)
    assert verdict.damage == "version 3 of shard 0 has no manifest"


def test_parameters_that_do_not_give_the_digest_are_found(publisher, config):
    """All checksums fit, the manifest's too: only a rebuilt shard tells."""
    writer = Writer()
    advance(publisher, writer, 2)
    writer.learn(events(50, 9))
    sealed = writer.seal
    table = writer.state.model.table

    def seal():
        made = sealed()
        rows = decode_rows(made.data[2].value, 4)
        rows.parameters[0, 0] += np.float32(1)
        value = encode_rows(rows)
        made.data[2] = Record(
            kind=Kind.ROWS, model="interactions", shard=0, version=3, sequence=2, value=value, checksum=checksum(value)
        )
        return made

    writer.seal = seal  # type: ignore[method-assign]
    publisher.publish(writer)
    assert len(table) > 0
    (verdict,) = verdicts(config)
    assert verdict.damaged_version == 3
    assert "version 3 has digest" in (verdict.damage or "")


def test_a_topic_that_is_not_there_is_refused(config, publisher):
    absent = config.model_copy(update={"model": config.model.model_copy(update={"topic": f"{publisher.topic}.absent"})})
    for ask in (snapshots.kept, snapshots.show, snapshots.records, lambda one: list(snapshots.check(one))):
        with pytest.raises(IncompatibleDataError, match="cannot be read"):
            ask(absent)


def environment(config: Config) -> dict[str, str]:
    return {
        "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": config.kafka.bootstrap_servers,
        "HEADRACE_MODEL__TOPIC": config.model.topic,
        "HEADRACE_FEATURES__OTHER__KIND": "categorical",
        "PYTHONPATH": str(ROOT),
    }


def headrace(config: Config, *arguments: str) -> subprocess.CompletedProcess[str]:
    return headrace_text("snapshot", *arguments, environment=environment(config))


def test_the_commands(publisher, config):
    writer = Writer()
    advance(publisher, writer, 2)

    listed = headrace(config, "list")
    apart = subprocess.run(
        [sys.executable, "-m", "worker", "snapshot", "list"],
        env=os.environ | environment(config), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (apart.returncode, apart.stdout, apart.stderr) == (listed.returncode, listed.stdout, listed.stderr)
    assert (listed.returncode, listed.stderr) == (0, "")
    head, first, second = listed.stdout.splitlines()
    assert head.split() == ["shard", "versions", "bases", "created", "rows", "events", "bytes"]
    rows = f"{len(writer.state.model.table):,}"
    assert first.split()[:7] == ["0", "1", "to", "2", "1", "2025-01-01T00:00:00Z", rows]
    assert second.split() == ["1", "none", "0", "0", "0"]
    told = json.loads(headrace(config, "list", "--json").stdout)
    assert [(one["shard"], one["last_version"], one["events"]) for one in told] == [(0, 2, 200), (1, 0, 0)]
    assert told[0]["rejected"] == {"not_json": 2}

    shown = headrace(config, "show", "--shard", "0")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("shard 0, version 2 of the model interactions\n")
    assert f"log loss {writer.state.progress.loss:.4f}" in shown.stdout
    assert writer.state.chain in shown.stdout
    (told,) = json.loads(headrace(config, "show", "--shard", "0", "--version", "1", "--json").stdout)
    assert told["manifest"]["version"] == 1
    assert 0 < told["loss"] < 2
    assert 0 <= told["auc"] <= 1

    sound = headrace(config, "verify")
    assert (sound.returncode, sound.stderr) == (0, "")
    assert [line.split(",")[0] for line in sound.stdout.splitlines()] == ["shard 0: ok", "shard 1: ok"]
    assert headrace(config, "show").returncode == 2, "shard 1 has no version"
    assert headrace(config, "verify", "--shard", "9").returncode == 2

    advance(publisher, writer, damage=at(2, flipped))
    damaged = headrace(config, "verify")
    assert damaged.returncode == 4
    assert damaged.stdout.startswith(
        "shard 0: version 3 is damaged: record 2 (rows) of version 3 of shard 0 does not match its checksum"
    )
    told = json.loads(headrace(config, "verify", "--json").stdout)
    assert [(one["damaged_version"], one["last_version"]) for one in told] == [(3, 2), (None, 0)]


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda config: [it.last.version for it in snapshots.kept(config, 0)], id="list"),
        pytest.param(lambda config: [it.manifest.version for it in snapshots.show(config, 0)], id="show"),
        pytest.param(lambda config: [it.last_version for it in snapshots.check(config, 0)], id="verify"),
    ],
)
def test_a_worker_that_trims_between_a_look_and_the_read_is_no_failure(publisher, config, monkeypatch, look):
    # Given a shard whose worker commits a base, and trims up to it, whenever a reader has just seen where it begins
    writer = Writer(keep_bases=1)
    advance(publisher, writer, 2)
    bounds, trims = Tail.bounds, [0]

    def seen_too_early(tail: Tail) -> tuple[int, int]:
        seen = bounds(tail)
        if trims[0] < 3:
            trims[0] += 1
            with_base(publisher, writer, 1)
            advance(publisher, writer)
            place = TopicPartition(publisher.topic, 0, writer.state.bases[0].offset)
            publisher.admin.delete_records([place])[place].result(SECONDS)
        return seen

    monkeypatch.setattr(Tail, "bounds", seen_too_early)
    # When somebody reads, then that is told which is there in the end
    assert look(config) == [writer.state.version]
    assert trims == [3]
