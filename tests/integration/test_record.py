"""`headrace record` and `headrace load` of a recording, against a real broker."""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer, TopicPartition

from deploy.broker import Broker
from tests.support.patience import SECONDS, await_
from tests.support.recorded import config, held, make, offsets, produce, record
from tests.support.recordings import START, files, make_records, write
from worker.commands.load import load
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.load.as_is import load_as_is
from worker.recording import Recording
from worker.recording.plan import Asked
from worker.stream.recorder import Recorder
from worker.stream.topic_range import TopicRange

KEEP = {"retention.ms": "-1"}  # records here are of 2025


def events(count: int, partition: int = 0, first: int = 0) -> Iterator[dict[str, Any]]:
    for n in range(first, first + count):
        yield {"key": b"u%d" % n, "value": b'{"n":%d}' % n, "partition": partition, "timestamp": START + n}


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files(folder)}


ODD: list[dict[str, Any]] = [
    {"key": None, "value": b"no key"},
    {"key": b"", "value": b"an empty key"},
    {"key": b"k", "value": None},
    {"key": b"k", "value": b""},
    {"key": b"\x00\xff\xfe", "value": b"\xff\x00\n\r"},
    {"key": b"large", "value": os.urandom(1_000_000)},
    {"key": b"h", "value": b"1", "headers": [("a", b"1"), ("a", None), ("b", b""), ("é", b"\xff")]},
    {"key": b"h", "value": b"2", "headers": []},
]


def test_recorded_loaded_and_recorded_again_every_byte_is_the_same(kafka: Broker, unique: str, tmp_path: Path) -> None:
    # Given a topic of three partitions with records of every shape, gaps of transactions, and one empty partition
    make(kafka, unique, 3, **KEEP, **{"max.message.bytes": "4000000"})
    produce(kafka, unique, ({**odd, "partition": n % 2, "timestamp": START + n} for n, odd in enumerate(ODD)))
    produce(kafka, unique, events(500, 0), transaction=f"{unique}-a")
    aborted(kafka, unique, events(300, 0))
    produce(kafka, unique, events(500, 0, first=500), transaction=f"{unique}-b")
    # When it is recorded, loaded into another topic and recorded again
    first = record(kafka, unique, tmp_path / "first")
    copy = f"{unique}-copy"
    make(kafka, copy, 3, **KEEP, **{"max.message.bytes": "4000000"})
    summary = load_as_is(config(kafka, copy), Recording(tmp_path / "first"))
    record(kafka, copy, tmp_path / "second")
    # Then all that was committed is there, and the same
    before, after = held(tmp_path / "first"), held(tmp_path / "second")
    assert before == after
    assert (len(before[0]), len(before[1])) == (1_004, 4)
    assert [row[2:] for row in before[1]] == [(o["key"], o["value"], None) for o in ODD[1::2]]
    assert before[0][3][4] == [
        {"key": "a", "value": b"1"},
        {"key": "a", "value": None},
        {"key": "b", "value": b""},
        {"key": "é", "value": b"\xff"},
    ]
    assert [row[0] for row in before[0][:4]] == [START, START + 2, START + 4, START + 6]
    assert (first.records, summary.events, summary.restamped) == (1_008, 1_008, 0)
    # And the gaps are told apart from what is missing: strict reading takes them
    assert Recording(tmp_path / "first", strict=True).ranges[0] == (0, 4 + 500 + 1 + 300 + 1 + 500 + 1)
    assert Recording(tmp_path / "first").shards == 3


def aborted(kafka: Broker, topic: str, records: Iterator[dict[str, Any]]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": f"{topic}-aborted"})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for one in records:
        producer.produce(topic, **one)
    producer.flush(SECONDS)  # they are in the log, and stay there
    producer.abort_transaction(SECONDS)
    producer.close()


def test_what_is_aborted_or_still_open_is_not_recorded(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique, **KEEP)
    aborted(kafka, unique, events(10))
    # Nothing but what was aborted: the range is known, and holds no record
    assert record(kafka, unique, tmp_path / "aborted").records == 0
    assert (Recording(tmp_path / "aborted").ranges, offsets(tmp_path / "aborted")) == ({0: (0, 11)}, {0: []})
    produce(kafka, unique, events(5))
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": f"{unique}-open"})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for one in events(7):
        producer.produce(unique, **one)
    producer.flush(SECONDS)
    produce(kafka, unique, events(3, first=100))
    # While a transaction is open the topic ends before it
    record(kafka, unique, tmp_path / "open")
    assert (Recording(tmp_path / "open").ranges, offsets(tmp_path / "open")) == ({0: (0, 16)}, {0: [*range(11, 16)]})
    producer.commit_transaction(SECONDS)
    producer.close()
    # And the same recording goes on where it ended
    assert record(kafka, unique, tmp_path / "open").records == 10
    assert offsets(tmp_path / "open") == {0: [*range(11, 26)]}


def test_what_compaction_left_is_recorded(kafka: Broker, unique: str, tmp_path: Path) -> None:
    eager = {"segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "100"}
    make(kafka, unique, **{"cleanup.policy": "compact"}, **eager)
    for round_ in range(3):
        when = START + round_ * 1_000  # beyond segment.ms: another segment, and only what is closed is compacted
        keyed = [{"key": b"k%d" % (n % 10), "value": b"%d %d" % (round_, n), "timestamp": when} for n in range(100)]
        produce(kafka, unique, keyed)

    def cleaned() -> bool:
        produce(kafka, unique, [{"key": b"last", "value": b""}])
        folder = tmp_path / f"look-{time.monotonic_ns()}"
        record(kafka, unique, folder)
        return len(offsets(folder)[0]) < 200

    await_("compaction", cleaned)
    record(kafka, unique, tmp_path / "kept", file_records=7)
    found = offsets(tmp_path / "kept")[0]
    assert Recording(tmp_path / "kept", strict=True).ranges[0][1] >= 300
    assert found == sorted(set(found))
    last = {row[2]: row[3] for row in held(tmp_path / "kept")[0]}
    assert {key: value for key, value in last.items() if key != b"last"} == {
        b"k%d" % n: b"2 %d" % (90 + n) for n in range(10)
    }


def command(kafka: Broker, topic: str, to: Path, *arguments: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "worker", "record", topic, "--to", str(to), "--file-records", "1000", *arguments],
        env=clean
        | {
            "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "HEADRACE_FEATURES__USER__KIND": "categorical",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_recording_that_was_killed_goes_on_to_the_same_bytes(
    kafka: Broker, unique: str, tmp_path: Path, number: signal.Signals
) -> None:
    # Given a topic, and a recording that nobody interrupted
    make(kafka, unique, 2, **KEEP)
    for partition in range(2):
        produce(kafka, unique, events(60_000, partition))
    whole = command(kafka, unique, tmp_path / "whole")
    assert (whole.wait(SECONDS), whole.communicate()[1]) == (0, "")
    # When another one is killed again and again, each time as soon as it has written something, until it gets through
    killed, times = tmp_path / "killed", 0
    while (code := interrupted(kafka, unique, killed, number if times < 4 else None)) != 0:
        times += 1
        assert code == (-number if number is signal.SIGKILL else 130)
        # And more comes to the topic, which is none of the plan
        produce(kafka, unique, events(10, 0, first=100_000))
    assert times >= 1
    # Then files and bytes are those of the one that nobody interrupted
    assert digests(killed) == digests(tmp_path / "whole")


def interrupted(kafka: Broker, topic: str, to: Path, number: signal.Signals | None) -> int:
    """Start a recording, interrupt it once it has written three files more, and give its exit code."""
    before = len(written(to))
    process = command(kafka, topic, to)
    if number is not None:
        await_("a file", lambda: process.poll() is not None or len(written(to)) > before + 3)
        process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    if process.returncode == 130:
        assert "interrupted: the same command goes on from here" in err
        assert not [name for name in written(to) if name.endswith(".part")], out
    return process.returncode


def written(folder: Path) -> list[str]:
    return files(folder) if folder.exists() else []


def test_a_recording_goes_on_with_what_came_since(kafka: Broker, unique: str, tmp_path: Path) -> None:
    admin = make(kafka, unique, 2, **KEEP)
    produce(kafka, unique, events(100))
    assert record(kafka, unique, tmp_path).records == 100
    assert record(kafka, unique, tmp_path).records == 0
    produce(kafka, unique, events(50, first=100))
    produce(kafka, unique, events(20, partition=1))
    summary = record(kafka, unique, tmp_path)
    assert (summary.records, summary.complete) == (70, True)
    assert [(part.partition, part.records, part.next_offset) for part in summary.partitions] == [
        (0, 150, 150),
        (1, 20, 20),
    ]
    assert offsets(tmp_path) == {0: [*range(150)], 1: [*range(20)]}
    # What lies between is deleted before it is recorded: a hole, and refused
    produce(kafka, unique, events(30, first=150))
    admin.delete_records([TopicPartition(unique, 0, 170)])[TopicPartition(unique, 0, 170)].result()
    with pytest.raises(
        IncompatibleDataError,
        match=rf"{unique} \[0\]: is recorded up to offset 149, and retention has deleted all before 170",
    ):
        record(kafka, unique, tmp_path)
    assert offsets(tmp_path) == {0: [*range(150)], 1: [*range(20)]}


def test_records_that_are_damaged_in_the_broker_are_no_gap(kafka: Broker, unique: str, tmp_path: Path) -> None:
    if kafka.kind != "jvm":
        pytest.skip("the files of this broker are out of reach")
    # Given a topic of which one bit has changed on the broker's disk, in the second of three batches
    make(kafka, unique, **KEEP)
    for first in (0, 100, 200):
        produce(kafka, unique, events(100, first=first))
    (log,) = Path(tempfile.gettempdir()).glob(f"headrace-kafka-*/*.data/{unique}-0/*.log")
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    # Then the client, which would go on behind it, does not: neither here nor in a replay
    with pytest.raises(
        IncompatibleDataError, match="cannot be read, and are not passed over: MessageSet at offset 100"
    ):
        record(kafka, unique, tmp_path)
    with pytest.raises(
        IncompatibleDataError, match="cannot be read, and are not passed over: MessageSet at offset 100"
    ):
        list(TopicRange(config(kafka, unique), unique).partition(0))


def test_another_topic_of_the_same_name_is_refused(kafka: Broker, unique: str, tmp_path: Path) -> None:
    admin = make(kafka, unique, **KEEP)
    produce(kafka, unique, events(10))
    record(kafka, unique, tmp_path)
    admin.delete_topics([unique])[unique].result()
    await_("the topic to be gone", lambda: unique not in admin.list_topics(timeout=SECONDS).topics)
    make(kafka, unique, **KEEP)
    produce(kafka, unique, events(20))
    with pytest.raises(ConfigurationError, match="deleted since, and made anew"):
        record(kafka, unique, tmp_path)


def test_a_range_by_offset_time_and_partition(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique, 3, **KEEP)
    for partition in range(3):
        produce(kafka, unique, events(100, partition))
    record(kafka, unique, tmp_path / "offsets", from_offset=10, to_offset=20)
    assert offsets(tmp_path / "offsets") == {n: [*range(10, 20)] for n in range(3)}
    record(kafka, unique, tmp_path / "times", partitions=(1,), from_timestamp=START + 90, to_timestamp=START + 95)
    assert offsets(tmp_path / "times") == {1: [*range(90, 95)]}
    assert Recording(tmp_path / "times").shards == 3
    record(kafka, unique, tmp_path / "before 1970", partitions=(1,), from_timestamp=-1)  # to Kafka, -1 is the end
    assert offsets(tmp_path / "before 1970") == {1: [*range(100)]}


def test_a_range_that_is_not_there_says_what_is(kafka: Broker, unique: str, tmp_path: Path) -> None:
    admin = make(kafka, unique, 2, **KEEP)
    with pytest.raises(ConfigurationError, match=f"topic {unique} holds no records: there is nothing to record"):
        record(kafka, unique, tmp_path)
    produce(kafka, unique, events(100))
    there = "it has some from 2025-01-01T00:00:00Z to 2025-01-01T00:00:00.099Z; offsets 0 to 99 in partition 0"
    with pytest.raises(ConfigurationError, match=f"no records from 2025-01-02T00:00:00Z: {there}"):
        record(kafka, unique, tmp_path, from_timestamp=START + 86_400_000)
    with pytest.raises(ConfigurationError, match=f"no records to 2024-12-31T00:00:00Z: {there}"):
        record(kafka, unique, tmp_path, to_timestamp=START - 86_400_000)
    with pytest.raises(ConfigurationError, match=rf"--from-offset 200: {unique} \[0\] holds offsets 0 to 99"):
        record(kafka, unique, tmp_path, from_offset=200, partitions=(0,))
    with pytest.raises(ConfigurationError, match="has no partition 2, 7; it has 0 to 1"):
        record(kafka, unique, tmp_path, partitions=(0, 2, 7))
    with pytest.raises(ConfigurationError, match=f"topic '{unique}-gone' does not exist; .*{unique}"):
        record(kafka, f"{unique}-gone", tmp_path)
    # What retention took of what was asked for is told
    admin.delete_records([TopicPartition(unique, 0, 40)])[TopicPartition(unique, 0, 40)].result()
    summary = record(kafka, unique, tmp_path, from_timestamp=START)
    deleted = "partition 0: what lay before 2025-01-01T00:00:00.040Z was deleted by retention"
    assert summary.warnings == [f"{deleted}, and 2025-01-01T00:00:00Z was asked for"]
    assert offsets(tmp_path)[0] == [*range(40, 100)]
    # And nothing is left of all that failed
    assert {name.split("/")[1] for name in files(tmp_path)} == {unique}


def test_an_interrupted_range_is_finished_before_another(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique, **KEEP)
    produce(kafka, unique, events(30_000))
    stopped = threading.Event()
    summary = record(
        kafka, unique, tmp_path, file_records=1_000, to_offset=25_000, stopped=stopped, progress=lambda _: stopped.set()
    )
    assert not summary.complete
    with pytest.raises(ConfigurationError, match="to be finished first: run it again with --to-offset 25000"):
        record(kafka, unique, tmp_path)
    assert record(kafka, unique, tmp_path, to_offset=25_000).complete
    assert offsets(tmp_path) == {0: [*range(25_000)]}
    assert record(kafka, unique, tmp_path).records == 5_000
    with pytest.raises(ConfigurationError, match="leave out --file-records"):
        record(kafka, unique, tmp_path, file_records=10)


def test_an_end_before_that_of_what_is_there_is_refused(kafka: Broker, unique: str, tmp_path: Path) -> None:
    admin = make(kafka, unique, 2, **KEEP)
    for partition in range(2):
        produce(kafka, unique, events(100, partition))
    record(kafka, unique, tmp_path, to_offset=60)
    before = digests(tmp_path)
    # The same again is done, and says so; less is neither done nor passed over
    assert (record(kafka, unique, tmp_path, to_offset=60).records, digests(tmp_path)) == (0, before)
    held = "before 60, not 40, of partition 0, before 60, not 40, of partition 1"
    with pytest.raises(ConfigurationError, match=rf"holds more offsets than --to-offset 40 asks for: {held}\. What is"):
        record(kafka, unique, tmp_path, to_offset=40)
    with pytest.raises(
        ConfigurationError,
        match=r"than --to-timestamp 2025-01-01T00:00:00\.040Z asks for: before 60, not 40, of partition 0",
    ):
        record(kafka, unique, tmp_path, to_timestamp=START + 40)
    assert digests(tmp_path) == before
    # So it is once retention has taken what was recorded
    for number in range(2):
        admin.delete_records([TopicPartition(unique, number, 80)])[TopicPartition(unique, number, 80)].result()
    assert record(kafka, unique, tmp_path, to_offset=60).records == 0
    with pytest.raises(ConfigurationError, match="holds more offsets than --to-offset 40 asks for"):
        record(kafka, unique, tmp_path, to_offset=40)


def test_following_ends_its_files_when_it_is_stopped(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique, 2, **KEEP)
    stopped, seen = threading.Event(), [0]

    def progress(passed: int) -> None:
        seen[0] += passed
        if seen[0] >= 150:
            stopped.set()

    def feed() -> None:
        produce(kafka, unique, events(100))
        produce(kafka, unique, events(50, partition=1), transaction=f"{unique}-t")

    thread = threading.Thread(target=feed)
    thread.start()
    summary = record(kafka, unique, tmp_path, follow=True, stopped=stopped, progress=progress)
    thread.join()
    assert (summary.records, summary.complete) == (150, True)
    produce(kafka, unique, events(10, first=100))
    assert record(kafka, unique, tmp_path).records == 10
    assert offsets(tmp_path) == {0: [*range(110)], 1: [*range(50)]}


def test_a_second_process_is_refused(kafka: Broker, unique: str, tmp_path: Path) -> None:
    make(kafka, unique, **KEEP)
    produce(kafka, unique, events(10))
    second = Recorder(config(kafka, unique), unique, tmp_path, Asked())

    refused: list[str] = []

    def try_it(_passed: int) -> None:
        with pytest.raises(ConfigurationError, match="another process records there just now"):
            second.run()
        refused.append("once")

    Recorder(config(kafka, unique), unique, tmp_path, Asked()).run(progress=try_it)
    assert refused


def test_a_run_that_began_before_another_had_ended_goes_on_behind_it(
    kafka: Broker, unique: str, tmp_path: Path
) -> None:
    # Given two runs that have looked at the same empty folder, the one before the topic had grown
    make(kafka, unique, **KEEP)
    produce(kafka, unique, events(10))
    early = Recorder(config(kafka, unique), unique, tmp_path, Asked())
    produce(kafka, unique, events(20, first=10))
    late = Recorder(config(kafka, unique), unique, tmp_path, Asked())
    assert (early.total, late.total) == (10, 30)
    # When the one records after the other, and more comes between
    assert late.run().records == 30
    before = digests(tmp_path)
    produce(kafka, unique, events(5, first=30))
    passed: list[int] = []
    summary = early.run(progress=passed.append)
    # Then it goes on where the other has ended, and not a byte of its files is changed
    assert (summary.records, summary.complete) == (5, True)
    assert offsets(tmp_path) == {0: [*range(35)]}
    after = digests(tmp_path)
    assert {name: after[name] for name in before if name.endswith(".parquet")} == {
        name: digest for name, digest in before.items() if name.endswith(".parquet")
    }
    assert sum(passed) >= 10  # a bar of ten ends full
    # And one that asks for something else than what is there by now is refused, as if it had come later
    other = Recorder(config(kafka, unique), unique, tmp_path / "other", Asked(from_offset=20))
    record(kafka, unique, tmp_path / "other")
    with pytest.raises(ConfigurationError, match="and the same beginning"):
        other.run()
    assert offsets(tmp_path / "other") == {0: [*range(35)]}


REFUSING = [
    ({}, "has 2 partitions, and the recorded one 1"),
    ({"message.timestamp.type": "LogAppendTime"}, "would overwrite timestamps: set it to CreateTime"),
    ({"retention.ms": "86400000"}, r"keeps records for 1 days .*2025-01-01T00:00:00Z.* Set retention\.ms=-1"),
    ({"message.timestamp.before.max.ms": "1000"}, r"message\.timestamp\.before\.max\.ms=1000"),
]


@pytest.mark.parametrize(("settings", "said"), REFUSING)
def test_a_topic_that_would_not_take_records_as_they_are_is_refused(
    kafka: Broker, unique: str, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    write(tmp_path, make_records())
    make(kafka, unique, 1 if settings else 2, **KEEP | settings)
    with pytest.raises(IncompatibleDataError, match=said):
        load_as_is(config(kafka, unique), Recording(tmp_path))


def test_a_recording_goes_into_an_empty_topic_unless_it_is_told_to_append(
    kafka: Broker, unique: str, tmp_path: Path
) -> None:
    write(tmp_path / "recording", make_records())
    make(kafka, unique, **KEEP)
    load_as_is(config(kafka, unique), Recording(tmp_path / "recording"))
    with pytest.raises(ConfigurationError, match="holds records already, in partition 0"):
        load_as_is(config(kafka, unique), Recording(tmp_path / "recording"))
    load_as_is(config(kafka, unique), Recording(tmp_path / "recording"), append=True)
    record(kafka, unique, tmp_path / "twice")
    assert held(tmp_path / "twice")[0] == held(tmp_path / "recording")[0] * 2


def test_of_a_recording_of_two_topics_the_one_is_loaded_that_is_named(
    kafka: Broker, unique: str, tmp_path: Path
) -> None:
    write(tmp_path, make_records(topic=unique))
    write(tmp_path, make_records(0, range(5), topic="views"))
    for topic in (unique, f"{unique}-again"):
        make(kafka, topic, **KEEP)
    environment = {
        "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "HEADRACE_FEATURES__USER__KIND": "categorical",
    }
    run = CliRunner(env=environment).invoke
    # As the topic that it goes to, or on the command line; neither is a guess
    alike = run(load, [str(tmp_path)], env={"HEADRACE_EVENTS__TOPIC": unique})
    assert alike.stdout.startswith("3 records of 1 files"), alike.output
    other = {"HEADRACE_EVENTS__TOPIC": f"{unique}-again"}
    neither = run(load, [str(tmp_path)], env=other).exception
    assert f"several topics, {unique}, views: name one of them, with --topic or in the settings" in str(neither)
    named = run(load, [str(tmp_path), "--topic", "views"], env=other)
    assert named.stdout.startswith("5 records of 1 files"), named.output
    record(kafka, f"{unique}-again", tmp_path / "again")
    assert held(tmp_path / "again") == held(tmp_path, "views")


def test_records_without_a_timestamp_get_one_and_are_counted(kafka: Broker, unique: str, tmp_path: Path) -> None:
    (tmp_path / "clicks+0+0.json").write_text('{"n":0}\n{"n":1}\n')
    make(kafka, unique, **KEEP)
    assert load_as_is(config(kafka, unique), Recording(tmp_path)).restamped == 2
    record(kafka, unique, tmp_path / "kept")
    assert [row[3] for row in held(tmp_path / "kept")[0]] == [b'{"n":0}', b'{"n":1}']
