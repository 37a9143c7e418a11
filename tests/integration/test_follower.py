"""The follower on real Kafka: it serves what was written to the bit, refuses what is damaged, and heals."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from tests.support import command
from tests.support.lineage import Writer, events, learning_of
from tests.support.patience import SECONDS, await_
from tests.support.publisher import Damage, Publisher, at, flipped, lost, of_format, of_kind
from tests.support.topics import create_topic
from worker.config import Kafka
from worker.errors import IncompatibleDataError, RejectedEventError
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.follow import Follower
from worker.learning import Learning
from worker.model.learner import Scores
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind

ROOT = Path(__file__).parents[2]


@pytest.fixture
def publisher(kafka, unique) -> Iterator[Publisher]:
    with Publisher(kafka, unique) as one:
        yield one


@pytest.fixture(autouse=True)
def _bases_early(monkeypatch):
    """Let a base be due as soon as the deltas outweigh it, so that a few versions make one."""
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


def follow(kafka, topic: str, **consumer: object) -> Follower:
    return Follower(Kafka(bootstrap_servers=kafka.bootstrap_servers, consumer=consumer), topic)


def advance(publisher: Publisher, writer: Writer, damage: Damage | None = None, *, n: int = 100) -> Manifest:
    writer.learn(events(n, writer.state.version))
    return publisher.publish(writer, damage) if damage else publisher.publish(writer)


def advance_to_base(publisher: Publisher, writer: Writer, after: int) -> Manifest:
    """Publish versions until one completes a base that begins after version `after`."""
    for _ in range(100):
        manifest = advance(publisher, writer)
        if manifest.bases[-1].version > after:
            return manifest
    raise AssertionError("no base within 100 versions")


def predicted(writer: Writer, values: list[bytes]) -> Scores:
    """Score as the writer itself would."""
    decoded = Decoder(writer.learning, labelled=False).decode(values, np.full(len(values), -1))
    return writer.state.model.predict(Features(writer.learning).encode(decoded.table))


def serves(follower: Follower, writer: Writer) -> bool:
    """Tell whether a follower of one shard scores as its writer, to the bit."""
    values = [*events(200, 12_345), *events(20, 1, users=10**9)]  # users never seen too
    scores, expected = follower.score(values), predicted(writer, values)
    table = follower.score(pa.Table.from_pylist([orjson.loads(value) for value in values]))
    assert table.probability.tobytes() == scores.probability.tobytes()
    assert scores.rejected == []
    assert set(scores.version.tolist()) == {follower.served()[0].version}
    return (
        scores.probability.tobytes() == expected.predictions.tobytes()
        and scores.variance.tobytes() == expected.variances.tobytes()
    )


def test_scores_are_those_of_the_writer_to_the_bit_version_after_version(kafka, publisher):
    writer = Writer(learning_of(factors=16))
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        assert serves(follower, writer)
        for version in range(2, 8):
            manifest = advance(publisher, writer)
            follower.catch_up(SECONDS)
            (served,) = follower.served()
            assert (served.version, served.damage) == (version, None)
            assert served.age_seconds > 0
            assert serves(follower, writer)
            assert follower.progress().events == manifest.state.events
        # What it says about a score is that score, and who moved the rows behind it
        value = events(1, manifest.version - 1)[0]  # which the last version learned first
        told, scores = follower.explain(value), follower.score([value])
        assert told.probability == scores.probability[0] == scores.mean[0]
        assert told.variance == scores.variance[0]
        assert {str(row.moved) for row in told.rows} == {"7"}
        with pytest.raises(RejectedEventError, match="not_json"):
            follower.explain(b"no json")
        # and a draw is the same by the same seed, and another without one
        drawn = follower.score([value], explore="thompson", seed=3)
        assert (drawn.seed, scores.seed) == (3, None)
        assert drawn.probability[0] != drawn.mean[0] == scores.mean[0]
        assert follower.score([value], explore="thompson", seed=3).probability[0] == drawn.probability[0]
        fresh = follower.score([value], explore="thompson")
        assert follower.score([value], explore="thompson", seed=fresh.seed).probability[0] == fresh.probability[0]
        assert fresh.probability[0] != drawn.probability[0]
        with pytest.raises(ValueError, match="thompson"):
            follower.score([value], seed=3)


def test_a_follower_comes_by_new_versions_without_being_asked(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        advance(publisher, writer)
        await_("version 2 to be served", lambda: follower.served()[0].version == 2)
        assert serves(follower, writer)


def test_a_follower_of_a_bounded_model_holds_no_more_rows_than_its_writer(kafka, publisher):
    writer = Writer(learning_of(max_rows=100))
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        manifest = [advance(publisher, writer) for _ in range(4)][-1]
        follower.catch_up()
        (shard,) = follower._shards.values()
        assert len(shard._serving[0].model.table) == len(writer.state.model.table) <= 100
        assert serves(follower, writer)
    assert manifest.state.evicted > 100


def test_an_aborted_version_is_never_seen(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        # Given a version of other events that its worker aborts
        other = Writer()
        other.learn(events(100, 0))
        other.commit()
        other.learn(events(50, 99))
        publisher.publish(other, abort=True)
        follower.catch_up(SECONDS)
        assert serves(follower, writer)
        assert follower.served()[0].version == 1
        # Then the version that is committed in its stead follows
        advance(publisher, writer)
        follower.catch_up(SECONDS)
        assert follower.served()[0].version == 2
        assert follower.served()[0].damage is None
        assert serves(follower, writer)


DAMAGES = {
    "a flipped bit in the progress": (at(0, flipped), "record 0 (progress) of version 3 of shard 0 does not match"),
    "a flipped bit in what is shared": (at(1, flipped), "of version 3 of shard 0 does not match its checksum"),
    "a flipped bit in the rows": (of_kind(Kind.ROWS, flipped), "(rows) of version 3 of shard 0 does not match"),
    "a flipped bit in the manifest": (
        of_kind(Kind.MANIFEST, flipped),
        "the manifest of version 3 of shard 0 does not match its checksum",
    ),
    "a missing chunk": (at(2, lost), "1 are missing or changed"),
    "a missing manifest": (
        of_kind(Kind.MANIFEST, lost),
        "version 4 came after 2, 1 missing between them",
    ),
    "a missing version": (lost, "version 4 came after 2, 1 missing between them"),
    "another format": (of_format(2), "format 2, this release reads 1: upgrade headrace"),
    "a record that is not ours": (
        lambda record: (record.value, []) if record.sequence == 1 else (record.value, record.headers),
        "who else writes there",
    ),
}


@pytest.mark.parametrize("merge", [False, True], ids=["alone", "merged"])
@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_damaged_is_refused_said_and_healed_from_the_next_base(kafka, publisher, damage, told, merge):
    # Given a follower that serves version 2
    writer = Writer(learning_of(merge=merge))
    advance(publisher, writer)
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        values = events(200, 12_345)
        good = follower.score(values)
        # When version 3 is damaged on its way, and version 4 is whole and no base
        writer.state.bytes_since_base = -(2**40)
        advance(publisher, writer, damage)
        advance(publisher, writer)
        follower.catch_up(SECONDS)
        # Then version 2 is served as it was, and it is said why
        (served,) = follower.served()
        assert served.version == 2
        assert told in (served.damage or "")
        assert follower.score(values).probability.tobytes() == good.probability.tobytes()
        assert follower._shards[0].gaps + follower._shards[0].corruptions == 1, "one damage counts once"
        # And the next base heals it
        writer.state.bytes_since_base = 2**40
        manifest = advance(publisher, writer)
        assert manifest.bases[-1].version == 5
        follower.catch_up(SECONDS)
        (served,) = follower.served()
        assert (served.version, served.damage) == (manifest.version, None)
        assert serves(follower, writer)


def test_a_gap_is_healed_at_once_where_the_version_after_it_is_a_base(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        # Given a version that is lost, and after it one that is a base
        advance(publisher, writer, lost)
        missing = writer.state.version
        writer.state.bytes_since_base = 2**40
        manifest = advance(publisher, writer)
        assert manifest.bases[-1].version == manifest.version == missing + 1
        # Then that one is served, and nothing more is needed
        follower.catch_up(SECONDS)
        assert (follower.served()[0].version, follower.served()[0].damage) == (manifest.version, None)
        assert follower._shards[0].gaps == 1
        assert serves(follower, writer)


def test_a_stray_record_between_versions_stops_a_follower_until_the_next_base_only(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        publisher.send_stray(0, b"hello")
        follower.catch_up(SECONDS)
        assert "who else writes there" in (follower.served()[0].damage or "")
        assert follower.served()[0].version == 1
        assert serves(follower, writer)
        advance_to_base(publisher, writer, 1)
        follower.catch_up(SECONDS)
        assert follower.served()[0].damage is None
        assert serves(follower, writer)


def test_versions_learned_with_other_settings_are_refused(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        good = follower.score(events(50, 7))
        # Given somebody who learns another model into the same topic, from the start
        advance(publisher, Writer(learning_of(factors=2)))
        follower.catch_up(SECONDS)
        assert "model.factors: published 2, configured 4" in (follower.served()[0].damage or "")
        assert follower.score(events(50, 7)).probability.tobytes() == good.probability.tobytes()


def test_a_base_in_several_parts_is_served_when_it_is_whole(kafka, publisher):
    """A follower that starts at the first part of a base must not serve, nor refuse, what is half of a shard."""
    writer = Writer(base_part_bytes=4_000, keep_bases=1)
    manifest = advance_to_base(publisher, writer, 1)
    base = manifest.bases[-1]
    assert base.completed > base.version
    with follow(kafka, publisher.topic) as follower:
        assert follower.served()[0].damage is None
        assert follower.served()[0].version == manifest.version
        assert follower._shards[0].corruptions == 0
        assert serves(follower, writer)


def test_a_follower_that_starts_late_reads_from_the_newest_base_of_what_is_left(kafka, publisher):
    writer = Writer(keep_bases=1)
    manifest = advance_to_base(publisher, writer, 5)
    trim(publisher, manifest.bases[0].offset)
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        assert follower.served()[0].version == manifest.version + 1
        assert serves(follower, writer)


def trim(publisher: Publisher, before: int) -> None:
    place = TopicPartition(publisher.topic, 0, before)
    publisher.admin.delete_records([place])[place].result(SECONDS)


def test_a_follower_whose_next_record_was_trimmed_reads_anew(kafka, publisher):
    writer = Writer(keep_bases=1)
    advance(publisher, writer)
    # Given a follower that fetches little ahead, and is held up
    with follow(kafka, publisher.topic, **{"queued.min.messages": 1, "queued.max.messages.kbytes": 1}) as follower:
        shard = follower._shards[0]
        with shard._lock:
            # When the versions after the next are trimmed meanwhile
            base = advance_to_base(publisher, writer, 12).bases[0]
            trim(publisher, base.offset)
        # Then it serves the last one all the same
        follower.catch_up(SECONDS)
        assert follower.served()[0].version == writer.state.version
        assert follower.served()[0].damage is None
        assert shard.resyncs > 0
        assert serves(follower, writer)


def test_a_follower_that_starts_after_damage_serves_the_last_good_version(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    advance(publisher, writer)
    values = events(100, 5)
    good = predicted(writer, values)
    # The manifest at the tail is the damaged one: the search for the newest base must get past it.
    advance(publisher, writer, flipped)
    with follow(kafka, publisher.topic) as follower:
        (served,) = follower.served()
        assert served.version == 2
        assert "version 3 of shard 0 does not match its checksum" in (served.damage or "")
        assert follower.score(values).probability.tobytes() == good.predictions.tobytes()


def test_a_topic_of_a_later_format_only_is_refused(kafka, publisher):
    advance(publisher, Writer(), of_format(2))
    with pytest.raises(IncompatibleDataError, match="upgrade headrace") as caught, follow(kafka, publisher.topic):
        pass
    assert caught.value.exit_code == 4


def test_a_topic_that_is_not_there_and_one_without_versions_are_refused(kafka, publisher):
    with pytest.raises(IncompatibleDataError, match="cannot be read"), follow(kafka, f"{publisher.topic}.absent"):
        pass
    follower = follow(kafka, publisher.topic)
    try:
        with pytest.raises(IncompatibleDataError, match="holds no committed version yet"):
            follower.start(wait_seconds=0.1)
    finally:
        follower.close()


def test_a_shard_without_versions_scores_by_the_prior_until_it_has_one(kafka, unique):
    with Publisher(kafka, unique, partitions=3) as publisher:
        writer = Writer(shard=1)
        advance(publisher, writer)
        with follow(kafka, unique) as follower:
            assert [served.version for served in follower.served()] == [0, 1, 0]
            assert np.isnan(follower.served()[0].age_seconds)
            values = events(300, 1)
            scores = follower.score(values)
            assert set(scores.shard.tolist()) == {0, 1, 2}
            elsewhere = scores.shard != 1
            assert (scores.version == np.where(elsewhere, 0, 1)).all()
            prior = predicted(Writer(), values)
            assert scores.probability[elsewhere].tobytes() == prior.predictions[elsewhere].tobytes()
            assert (
                scores.probability[~elsewhere].tobytes() == predicted(writer, values).predictions[~elsewhere].tobytes()
            )
            # When the first version of another shard comes, it is served
            late = Writer(shard=2)
            advance(publisher, late)
            follower.catch_up(SECONDS)
            assert [served.version for served in follower.served()] == [0, 1, 1]


@pytest.mark.parametrize(("partitioner", "of_client"), [("murmur2", "murmur2_random"), ("crc32", "consistent_random")])
def test_events_are_scored_by_the_shard_that_their_producer_sends_them_to(kafka, unique, partitioner, of_client):
    learning = Learning.model_validate(
        {"events": {"partitioner": partitioner}, "features": {"user": {}}, "model": {"factors": 2}}
    )
    users = [f"user {number} ü" for number in range(60)] + [str(number) for number in range(20)]
    with Publisher(kafka, unique, partitions=4) as publisher:
        create_topic(publisher.admin, NewTopic(f"{unique}.events", 4, 1))
        sent: dict[str, int] = {}
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "partitioner": of_client})
        for user in users:
            producer.produce(
                f"{unique}.events",
                b"",
                user.encode(),
                on_delivery=lambda _, m: sent.update({m.key().decode(): m.partition()}),
            )
        assert producer.flush(SECONDS) == 0
        for shard in range(4):
            writer = Writer(learning, shard=shard)
            writer.learn(events(20 + shard, shard))
            publisher.publish(writer)
        with follow(kafka, unique) as follower:
            scores = follower.score([{"user": user} for user in users])
            assert scores.shard.tolist() == [sent[user] for user in users]
            assert len(set(sent.values())) == 4
            # A number as a key is its text
            assert follower.score([{"user": 7}]).shard[0] == sent["7"]


def test_events_that_cannot_be_read_are_rejected_and_the_others_scored(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        good = events(2, 3)
        scores = follower.score([good[0], b"no json", {"user": ["a", "list"]}, {}, b"", good[1]])
        assert [(bad.index, str(bad.reason)) for bad in scores.rejected] == [
            (1, "not_json"), (2, "wrong_type"), (4, "empty"),
        ]  # fmt: skip
        assert np.isnan(scores.probability).tolist() == [False, True, True, False, True, False]
        assert scores.version.tolist() == [1, -1, -1, 1, -1, 1]
        assert scores.shard.tolist() == [0, -1, -1, 0, -1, 0]
        expected = predicted(writer, good)
        assert scores.probability[[0, 5]].tobytes() == expected.predictions.tobytes()
        assert follower.score([]).probability.size == 0


def test_a_label_is_not_needed_to_score_and_changes_nothing(kafka, publisher):
    writer = Writer()
    advance(publisher, writer)
    with follow(kafka, publisher.topic) as follower:
        bare = {"user": "u1", "item": "i1"}
        scores = follower.score([bare, bare | {"label": 1, "time": 0}, bare | {"label": "nonsense"}])
        assert scores.rejected == []
        assert len(set(scores.probability.tolist())) == 1


def headrace(kafka, topic: str, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return command.headrace(*arguments, environment=environment(kafka, topic), given=given)


def environment(kafka, topic: str) -> dict[str, str]:
    return {
        "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "HEADRACE_MODEL__TOPIC": topic,
        "HEADRACE_FEATURES__USER__KIND": "categorical",  # what the model learned from stands in its manifests
        "PYTHONPATH": str(ROOT),
    }


@pytest.mark.parametrize("model", [{}, {"kind": "ftrl"}], ids=["gaussian", "ftrl"])
def test_the_commands_tell_and_score(kafka, publisher, model):
    writer = Writer(learning_of(**model))
    for _ in range(3):
        advance(publisher, writer)
    told = headrace(kafka, publisher.topic, "follow", "--once", "--json")
    assert told.returncode == 0, told.stderr.decode()
    (shard,) = json.loads(told.stdout)
    assert (shard["shard"], shard["version"], shard["damage"]) == (0, 3, None)
    assert shard["age_seconds"] > 0

    values = events(20, 4)
    given = b"\n".join([*values, b"no json", b""])
    scored = headrace(kafka, publisher.topic, "score", given=given)
    apart = subprocess.run(
        [sys.executable, "-m", "worker", "score"],
        env=os.environ | environment(kafka, publisher.topic), input=given, capture_output=True, timeout=SECONDS,
        check=False,
    )  # fmt: skip
    assert (apart.returncode, apart.stdout, apart.stderr) == (scored.returncode, scored.stdout, scored.stderr)
    assert scored.returncode == 0, scored.stderr.decode()
    lines = [orjson.loads(line) for line in scored.stdout.splitlines()]
    expected = predicted(writer, values)
    assert [np.float32(line["probability"]) for line in lines[:20]] == expected.predictions.tolist()
    # One that does not know its uncertainty says so: in JSON there is no NaN.
    variances = [None if np.isnan(variance) else variance for variance in expected.variances.tolist()]
    assert [line["variance"] for line in lines[:20]] == variances
    assert (None in variances) == bool(model)
    assert {(line["shard"], line["version"]) for line in lines[:20]} == {(0, 3)}
    assert lines[20]["rejected"] == "not_json"

    drawn = headrace(kafka, publisher.topic, "score", "--explore", "thompson", "--seed", "7", given=values[0])
    if model:
        assert (drawn.returncode, b"does not know how sure it is" in drawn.stderr) == (2, True)
    else:
        assert drawn.returncode == 0, drawn.stderr.decode()
        line = orjson.loads(drawn.stdout)
        assert (line["mean"], line["seed"]) == (lines[0]["probability"], 7)
        assert line["probability"] != line["mean"]
    told = headrace(kafka, publisher.topic, "explain", "--json", values[0].decode())
    assert told.returncode == 0, told.stderr.decode()
    explanation = orjson.loads(told.stdout)
    assert (explanation["probability"], explanation["version"]) == (lines[0]["probability"], 3)


def test_the_commands_say_what_is_wrong(kafka, publisher):
    absent = headrace(kafka, f"{publisher.topic}.absent", "follow", "--once")
    assert absent.returncode == 4
    assert b"`headrace topics check` tells what it lacks" in absent.stderr
    assert b"Traceback" not in absent.stderr
