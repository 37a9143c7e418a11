"""A topic of events grows, and the model goes along: nothing is learned again, nothing lost or counted twice."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from deploy.broker import Broker
from tests.support.command import headrace_text
from tests.support.crew import Crew
from tests.support.patience import SECONDS
from tests.support.stage import Stage, set_stage
from tests.support.verdict import await_all_learned, last_manifests, require_one_chain
from worker.events.partition import partition
from worker.follow import Follower, Scores
from worker.reshard import carry
from worker.simulate import Planted
from worker.simulate.encoding import encode

USERS = 2_000


class KeyedFeed:
    """Sends events as Java's producers do: to the partition of the hash of the user."""

    def __init__(self, stage: Stage) -> None:
        self.sent = 0
        self.partitions = stage.partitions
        self._topic = stage.config.events.topic
        planted = Planted(events=10_000_000, users=USERS, items=500)
        self._events = (pair for batch in planted.batches() for pair in zip(batch.user.tolist(), encode(batch)))  # noqa: B905
        self._settings = {"bootstrap.servers": stage.config.kafka.bootstrap_servers, "linger.ms": 5}
        self._producer = Producer(self._settings)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="feed", daemon=True)

    def send(self, count: int) -> None:
        partitions, producer = self.partitions, self._producer
        for _ in range(count):
            user, value = next(self._events)
            key = b"u%d" % user
            producer.produce(self._topic, value, key, partition(key, partitions, "murmur2"))
            self.sent += 1
        assert producer.flush(SECONDS) == 0

    def begin(self) -> None:
        self._thread.start()

    def grow(self, partitions: int) -> None:
        """See that the topic has grown, as a producer does when it next asks for metadata: after minutes."""
        self._producer = Producer(self._settings)
        self.partitions = partitions

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopped.wait(0.02):
            self.send(20)


def grown(stage: Stage, folder: Path) -> Stage:
    """The same events with six partitions, and a model topic of its own."""
    model = stage.config.model.model_copy(update={"topic": f"{stage.config.model.topic}.6"})
    file = folder / "grown.toml"
    file.write_text(stage.file.read_text().replace(f'"{stage.config.model.topic}"', f'"{model.topic}"'))
    return replace(stage, config=stage.config.model_copy(update={"model": model}), file=file, partitions=6)


def scores(stage: Stage) -> Scores:
    users = np.random.default_rng(1).choice(USERS, 1_000, replace=False).tolist()
    asked = [orjson.dumps({"user": f"u{user}", "item": f"i{user % 50}", "hour": user % 24}) for user in users]
    with Follower(stage.config.kafka, stage.config.model.topic) as follower:
        return follower.score(asked)


@pytest.mark.parametrize("merge", [True, False])
def test_a_model_grows_from_four_to_six_shards_under_load(
    kafka: Broker, unique: str, tmp_path: Path, merge: bool
) -> None:
    stage = set_stage(kafka, unique, tmp_path, model={"merge": merge})
    feed = KeyedFeed(stage)
    with Crew(stage, tmp_path) as crew:
        # Given a model of four shards, and events that go on coming
        feed.send(10_000)
        crew.start()
        crew.start()
        await_all_learned(stage)
        feed.begin()

        # When the topic grows, and producers see it
        topic = stage.config.events.topic
        refused = headrace_text("reshard", "-c", str(stage.file), "--model-topic", f"{unique}.early")
        for worker in crew.living:
            worker.leave()
        assert {worker.exit_code() for worker in crew.workers} == {0}
        stage.admin.create_partitions([NewPartitions(topic, 6)])[topic].result(30)
        feed.grow(6)
        before, left = scores(stage), last_manifests(stage)
        done = headrace_text("reshard", "-c", str(stage.file), "--model-topic", f"{unique}.model.6", "--json")

        # Then nothing was carried while workers were learning, and after that all of it
        assert (refused.returncode, "stop them first" in refused.stderr) == (2, True), refused.stderr
        assert done.returncode == 0, done.stderr
        said = orjson.loads(done.stdout)
        assert (said["shards_before"], said["shards"]) == (4, 6)
        later = grown(stage, tmp_path)
        after, carried = scores(later), last_manifests(later)
        if merge:
            np.testing.assert_allclose(after.probability, before.probability, atol=1e-6, rtol=0)
            np.testing.assert_allclose(after.variance, before.variance, atol=1e-6, rtol=0)
        else:  # users are known as before; items as one of the old shards knew them
            assert np.abs(after.probability - before.probability).mean() < 0.1
        assert sum(it.state.events for it in carried.values()) == sum(it.state.events for it in left.values())
        assert {shard: it.input.next_offset for shard, it in carried.items()} == {
            shard: left[shard].input.next_offset if shard in left else 0 for shard in range(6)
        }

        # and it is not carried twice
        again = headrace_text("reshard", "-c", str(stage.file), "--model-topic", f"{unique}.model.6")
        assert (again.returncode, "holds a model already" in again.stderr) == (4, True), again.stderr

        # and learning goes on: no event is lost, none learned twice
        crew.start(later)
        crew.start(later)
        feed.stop()
        feed.send(1_000)
        manifests = await_all_learned(later)
        for worker in crew.living:
            worker.leave()
        assert {worker.exit_code() for worker in crew.workers} == {0}
        assert sum(it.state.events for it in manifests.values()) == feed.sent
        require_one_chain(later)
        assert not any(worker.count("peers_trimmed") for worker in crew.workers)


class InterruptedMoveError(Exception):
    """Somebody has ended it."""


def test_a_move_that_is_interrupted_shows_nothing_and_is_begun_anew(kafka: Broker, unique: str, tmp_path: Path) -> None:
    # Given a model of four shards, and a topic that has grown to six partitions
    stage = set_stage(kafka, unique, tmp_path, model={"merge": True})
    feed, topic = KeyedFeed(stage), stage.config.events.topic
    with Crew(stage, tmp_path) as crew:
        feed.send(2_000)
        crew.start()
        left = await_all_learned(stage)
        crew.workers[-1].leave()
        assert crew.workers[-1].exit_code() == 0
    stage.admin.create_partitions([NewPartitions(topic, 6)])[topic].result(30)
    later, steps = grown(stage, tmp_path), []

    def interrupt(rows: int) -> None:
        steps.append(rows)
        if len(steps) == 4 + 2:  # all were read, and two of the new shards written
            raise InterruptedMoveError

    # When it is interrupted while it writes
    with pytest.raises(InterruptedMoveError):
        carry(stage.config, later.config.model.topic, None, interrupt)
    # Then nothing of it is to be seen, and the next try carries all
    assert last_manifests(later) == {}
    carry(stage.config, later.config.model.topic, None)
    carried = last_manifests(later)
    assert len(carried) == 6
    assert {manifest.version for manifest in carried.values()} == {1}
    assert sum(it.state.events for it in carried.values()) == sum(it.state.events for it in left.values()) == 2_000
