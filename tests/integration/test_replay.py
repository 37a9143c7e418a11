"""What live workers learned, whatever befell them, is learned again from recordings, to the bit."""

import dataclasses
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from confluent_kafka.admin import NewTopic

from deploy.broker import Broker
from tests.support.acts import drawn_acts
from tests.support.command import headrace_text
from tests.support.crew import Crew
from tests.support.ends import Ends
from tests.support.feed import Feed
from tests.support.patience import SECONDS, await_
from tests.support.stage import Stage, set_stage
from tests.support.topics import create_topic
from tests.support.verdict import await_all_learned, last_manifests, messages
from worker.errors import ConfigurationError
from worker.follow import Follower
from worker.recording import Recording, Records
from worker.recording.plan import Asked
from worker.replay import Again, Replay
from worker.replay.chain import Chain
from worker.replay.publishing import Target
from worker.stream.recorder import Recorder
from worker.stream.rehearsal import Rehearsal
from worker.stream.topic_range import TopicRange

EVENTS = 30_000
KILLS = 4
EVENTS_PER_SECOND = 2_000
MERGED = {"merge": True, "half_life": "20s"}  # of the events' times, which span half a minute
KEPT = {"keep_bases": 1_000, "base_part_bytes": 65_536}


def run(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    return headrace_text(*arguments, "-c", str(stage.file))


class Changed:
    """A recording of which one event is another one by one byte."""

    def __init__(self, recording: Recording, partition: int, offset: int) -> None:
        self.topic, self.shards, self.ranges = recording.topic, recording.shards, recording.ranges
        self._recording, self._place = recording, (partition, offset)

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        for some in self._recording.partition(number, start, stop):
            if number == self._place[0] and self._place[1] in some.offsets:
                values = some.values.to_pylist()
                at = some.offsets.tolist().index(self._place[1])
                values[at] = values[at].replace(b'"item":"i', b'"item":"j')
                assert values[at] != some.values[at].as_py()
                yield dataclasses.replace(some, values=pa.array(values, pa.binary()))
            else:
                yield some


def test_a_live_run_with_kills_is_reproduced_from_recordings(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(
        kafka, unique, tmp_path, model=MERGED, snapshots=KEPT,
        kafka={"consumer": {"heartbeat.interval.ms": 300}, "transaction_timeout_seconds": 3},
    )  # fmt: skip
    config, moments = stage.config, random.Random(5)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew, Ends(stage) as ends:
        # Given workers that learn and merge while they are killed and replaced
        feed.begin(EVENTS_PER_SECOND)
        crew.start()
        crew.start().await_commit()
        for act in drawn_acts(moments, kills=KILLS, leaves=1):
            act(crew, ends, moments)
            while len(crew.staying) < 2:
                crew.start()
        feed.stop()
        feed.send(max(0, EVENTS - feed.sent))
        await_all_learned(stage)
        for worker in crew.staying:
            worker.leave()
        assert {worker.exit_code() for worker in crew.workers if not worker.killed} == {0}
    manifests = last_manifests(stage)
    digests = {shard: manifest.state.digest for shard, manifest in manifests.items()}

    # When events and model are recorded
    for topic, to in ((config.events.topic, "events"), (config.model.topic, "model")):
        assert Recorder(config, topic, tmp_path / to, Asked()).run().complete
    events, model = Recording(tmp_path / "events"), Recording(tmp_path / "model")

    # Then a replay as recorded gives every shard's last digest
    with Chain.recorded(config, model) as chain:
        result = Replay(config, events, mode="as recorded", chain=chain, threads=2).run()
    assert result.digests == digests
    assert result.log.events == sum(manifest.state.events for manifest in manifests.values())
    # and every version passes, of the topics in Kafka as well
    for source in (events, TopicRange(config, config.events.topic)):
        with Chain.published(config) as published:
            verdicts = Again(source=source, chain=published).run()
        assert [(it.sound, it.begun, it.first) for it in verdicts] == [(True, 0, 1)] * stage.partitions
        assert {it.shard: it.last for it in verdicts} == {shard: it.version for shard, it in manifests.items()}
    shown = run(stage, "verify", str(tmp_path / "events"), "--model-recording", str(tmp_path / "model"), "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [it["last_version"] for it in orjson.loads(shown.stdout)] == [it.last for it in verdicts]

    # and one byte of one event is found in the first version that learned it
    offset = manifests[2].input.next_offset // 4
    offset = next(
        it.offset() for it in messages(stage, config.events.topic, 2)[offset:] if b'"item":"i' in (it.value() or b"")
    )
    with Chain.recorded(config, model) as chain:
        wrong = next(it.version for it in chain.after(2, 0) if it.input.next_offset > offset)
        verdicts = Again(source=Changed(events, 2, offset), chain=chain).run()
    assert verdicts[2].difference is not None
    assert verdicts[2].difference.version == wrong
    assert verdicts[2].last == wrong - 1
    assert "digest" in verdicts[2].difference.fields
    # nor does any pass that has folded it in, as the others have but for one that had learned all of its own by then
    folded = {shard for shard, manifest in manifests.items() if shard != 2 and manifest.peers[2].version >= wrong}
    assert folded
    assert {it.shard for it in verdicts if not it.sound} == {2, *folded}


def test_a_fresh_replay_is_the_same_wherever_events_come_from_and_followers_serve_it(
    kafka: Broker, unique: str, tmp_path: Path
) -> None:
    stage = set_stage(kafka, unique, tmp_path, model={"merge": True})
    config, target = stage.config, f"{unique}.replayed"
    with Feed(stage) as feed:
        feed.send(8_000)
    Recorder(config, config.events.topic, tmp_path / "events", Asked()).run()
    of_files = Replay(config, Recording(tmp_path / "events"), threads=2).run()
    of_kafka = Replay(config, TopicRange(config, config.events.topic)).run()
    assert of_files.digests == of_kafka.digests
    assert of_files.log.events == feed.valid

    # As a command: killed, it has written nothing; started again, the result is the same
    command = [sys.executable, "-m", "worker", "replay", str(tmp_path / "events"), "-c", str(stage.file)]
    command += ["--out", str(tmp_path / "run"), "--model-topic", target, "--json"]
    victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_("its topic", lambda: target in stage.admin.list_topics(timeout=SECONDS).topics)
    victim.send_signal(signal.SIGKILL)
    victim.wait(SECONDS)
    assert not (tmp_path / "run").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = orjson.loads(done.stdout)
    assert {int(shard): digest for shard, digest in told["digests"].items()} == of_files.digests
    written = orjson.loads((tmp_path / "run" / "run.json").read_bytes())
    assert written["digests"] == told["digests"]
    assert written["events"] == feed.valid
    assert all(digest in (tmp_path / "run" / "report.html").read_text() for digest in written["digests"].values())

    # What it has published a follower serves, and each shard is what was learned
    replayed = config.model_copy(update={"model": config.model.model_copy(update={"topic": target})})
    with Follower(config.kafka, target) as follower:
        follower.catch_up(SECONDS)
        assert [(it.shard, it.version, it.damage) for it in follower.served()] == [
            (shard, 1, None) for shard in range(stage.partitions)
        ]
        scores = follower.score([b'{"user":"u1","item":"i1"}'])
        assert 0 < scores.probability[0] < 1
    with Chain.published(replayed) as chain:
        assert {shard: it.state.digest for shard, it in chain.last.items()} == of_files.digests
        # A fresh replay goes on from it as from any other model: here, over nothing more
        again = Replay(replayed, Recording(tmp_path / "events"), chain=chain, from_version=1).run()
        assert again.digests == of_files.digests

    # and nothing is published twice
    twice = headrace_text(*command[3:])
    assert twice.returncode == ConfigurationError.exit_code
    assert "holds a model already" in twice.stderr
    with pytest.raises(ConfigurationError, match="topic of the configuration"):
        Target.of(config, config.model.topic, stage.partitions)


def test_a_rehearsal_sends_every_byte_to_where_it_was(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(kafka, unique, tmp_path, partitions=2)
    config, topic = stage.config, f"{unique}.rehearsal"
    create_topic(stage.admin, NewTopic(topic, 2, config={"retention.ms": "-1"}))
    with Feed(stage) as feed:
        feed.send(3_000)
    Recorder(config, config.events.topic, tmp_path / "events", Asked()).run()
    done = run(stage, "replay", str(tmp_path / "events"), "--to-topic", topic, "--speed", "max", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert orjson.loads(done.stdout)["records"] == 3_000
    for shard in range(2):
        was, now = (messages(stage, name, shard) for name in (config.events.topic, topic))
        assert [(it.key(), it.value(), it.headers(), it.timestamp()) for it in now] == [
            (it.key(), it.value(), it.headers(), it.timestamp()) for it in was
        ]
    # What is there is not sent twice
    again = run(stage, "replay", str(tmp_path / "events"), "--to-topic", topic)
    assert again.returncode == ConfigurationError.exit_code
    assert "holds records already, in partition 0, 1" in again.stderr
    # and its pace is that of the log: a minute at 60x is a second
    waits: list[float] = []
    rehearsal = Rehearsal(config, topic, 2, append=True, restamp=True)
    records = [Recording(tmp_path / "events").partition(0)]
    some = dataclasses.replace(first := next(records[0]), timestamps=1_000 + 20 * (first.offsets - first.offsets[0]))
    clock = [0.0]

    def monotonic() -> float:
        clock[0] += 1e-9  # what a look at it takes
        return clock[0]

    class Patient:
        def is_set(self) -> bool:
            return False

        def wait(self, seconds: float) -> None:
            waits.append(seconds)
            clock[0] += seconds

    told = rehearsal.run([some], 60.0, stopped=Patient(), monotonic=monotonic)  # type: ignore[arg-type]
    span = (len(some) - 1) * 0.02
    assert told.span_seconds == pytest.approx(span)
    assert sum(waits) == pytest.approx(span / 60, abs=1e-3)
    assert told.latest_seconds < 1e-3
