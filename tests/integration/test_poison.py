"""The poison breaker on real Kafka: labels that are all 0 reach neither the model nor who scores with it."""

import re
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
from confluent_kafka import Message, Producer

from deploy.broker import Broker
from tests.support.crew import Crew, Worker
from tests.support.patience import SECONDS, await_
from tests.support.stage import Stage, set_stage
from tests.support.verdict import await_all_learned, last_manifests, messages, uninterrupted
from worker.follow import Follower
from worker.pipeline import Pipeline
from worker.replay import Replay
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.state import ShardState
from worker.stream.topic_range import TopicRange

BLOCK = 2_000
GOOD, POISON, AFTER = 500_500, 50_000, 7_000  # poison begins within a block, and ends in one
OTHER = 5_000  # events of the other shard


def drawn(count: int, seed: int) -> list[bytes]:
    batches = Planted(events=count, users=200, items=100, seed=seed).batches()
    return [value for batch in batches for value in encode(batch)]


def poisoned(values: list[bytes]) -> list[bytes]:
    return [orjson.dumps(orjson.loads(value) | {"label": 0}) for value in values]


def send(stage: Stage, values: list[bytes], shard: int) -> None:
    producer = Producer(
        {
            "bootstrap.servers": stage.config.kafka.bootstrap_servers,
            "queue.buffering.max.messages": 1_000_000,
            "enable.idempotence": True,
            "log_level": 0,
        }
    )
    for value in values:
        producer.produce(stage.config.events.topic, value, b"key", shard)
        producer.poll(0)
    assert producer.flush(SECONDS) == 0
    producer.close()


def skipping(stage: Stage, text: str) -> Stage:
    """Give the same stage with a range that is passed over."""
    file = stage.file.with_name("skipping.toml")
    file.write_text(stage.file.read_text().replace('["events"]\n', f'["events"]\n"skip" = ["{text}"]\n'))
    events = stage.config.events.model_copy(update={"skip": (text,)})
    return replace(stage, file=file, config=stage.config.model_copy(update={"events": events}))


def ready(worker: Worker) -> bool:
    (url,) = set(re.findall(r"serve: .*url=(\S+)", worker.log))
    with urllib.request.urlopen(url.replace("/metrics", "/readyz"), timeout=SECONDS) as answer:  # noqa: S310 - ours
        return bool(answer.status == 200)


def learn(stage: Stage, state: ShardState, records: list[Message], parts: list[tuple[int, int]]) -> str:
    """Learn parts of a shard's records, from an offset up to another one: as if nothing else had ever been sent."""
    pipeline = Pipeline(stage.config.learning)
    for start, stop in parts:
        some = records[start:stop]
        timestamps = np.array([record.timestamp()[1] for record in some], np.int64)
        pipeline.learn(state, [record.value() for record in some], timestamps, stop)
    return state.digest()


def test_poison_is_never_learned_and_passed_over_it_is_as_if_it_had_never_been(
    kafka: Broker, unique: str, tmp_path: Path
) -> None:
    quality = {"freeze_events": BLOCK, "freeze_base_rate": [0.05, 0.9], "freeze_seconds": 1.0}
    stage = set_stage(kafka, unique, tmp_path, partitions=2, quality=quality)
    values = drawn(200, 77)
    with Crew(stage, tmp_path) as crew:
        # Given a worker that has learned good events, when poison comes to one of its shards
        worker = crew.start()
        send(stage, drawn(GOOD, 1) + poisoned(drawn(POISON, 2)) + drawn(AFTER, 3), 0)
        send(stage, drawn(OTHER, 4), 1)
        worker.await_log(r"freeze: shard 0 is frozen")
        # Then nothing of it is learned, and that was found out within a block of nothing else
        (line,) = re.findall(r"shard 0 is frozen at offset (\d+): .* at offsets up to (\d+)\.", worker.log)
        frozen_at, found_at = map(int, line)
        assert GOOD - 2 * BLOCK <= frozen_at <= GOOD
        assert found_at < GOOD + 2 * BLOCK
        at_freeze = await_(
            "what came before to be committed",
            lambda: (it := last_manifests(stage).get(0)) and it.input.next_offset == frozen_at and it,
        )
        records, never = messages(stage, stage.config.events.topic, 0), ShardState.fresh(0, stage.config.learning)
        assert at_freeze.state.digest == learn(stage, never, records, [(0, frozen_at)])
        assert worker.metric("headrace_frozen") == {
            "base_rate,0": 1, "rejected,0": 0, "unknown,0": 0, "base_rate,1": 0, "rejected,1": 0, "unknown,1": 0,
        }  # fmt: skip
        with Follower(stage.config.kafka, stage.config.model.topic) as follower:
            before = [one for one in zip(*_scored(follower, values), strict=True) if one[1] == 0]
            # And the other shard goes on, and the worker is ready
            send(stage, drawn(OTHER, 5), 1)
            await_(
                "the other shard to go on",
                lambda: last_manifests(stage)[1].input.next_offset == 2 * OTHER,
            )
            assert ready(worker)
            follower.catch_up(SECONDS)
            assert [one for one in zip(*_scored(follower, values), strict=True) if one[1] == 0] == before
            assert before
        worker.leave()
        assert worker.exit_code() == 0
        assert last_manifests(stage)[0].version == at_freeze.version

        # When it is started anew as it was, it is frozen again
        again = crew.start()
        again.await_log(r"freeze: shard 0 is frozen")
        again.leave()
        assert again.exit_code() == 0
        # And with the range passed over, it is as if the poison had never been sent
        named = skipping(stage, f"0:{GOOD}-{GOOD + POISON - 1}")
        crew.start(named)
        last = await_all_learned(named)
        learn(stage, never, records, [(frozen_at, GOOD), (GOOD + POISON, GOOD + POISON + AFTER)])
        assert last[0].state.skipped == {"poison": POISON}
        never.skipped["poison"] = POISON
        assert last[0].state.digest == never.digest()
        assert last[1].state.digest == uninterrupted(named, 1).digest()

        # A worker that does not know of the range does not go on with what was learned by it
        crew.workers[-1].leave()
        assert crew.workers[-1].exit_code() == 0
        unaware = crew.start()
        assert unaware.exit_code() == 4
        assert "events.skip: shard 0 is learned before offset" in unaware.log


def test_a_fresh_replay_passes_over_what_a_worker_has_passed_over(kafka: Broker, unique: str, tmp_path: Path) -> None:
    # Given a worker that goes on by itself, and poison in the middle of one shard
    quality = {
        "freeze_events": 500, "freeze_base_rate": [0.05, 0.9], "freeze_resume": "sane", "freeze_seconds": 15.0,
    }  # fmt: skip
    stage = set_stage(kafka, unique, tmp_path, partitions=2, quality=quality)
    send(stage, drawn(6_200, 1) + poisoned(drawn(3_000, 2)) + drawn(5_100, 3), 0)
    send(stage, drawn(4_000, 4), 1)
    with Crew(stage, tmp_path) as crew:
        worker = crew.start()
        last = await_all_learned(stage)
        worker.leave()
        assert worker.exit_code() == 0
    assert last[0].state.skipped["poison"] >= 3_000
    assert last[1].state.skipped == {}
    # When the same events are learned afresh, by other polls and threads
    config = stage.config.model_copy(update={"run": stage.config.run.model_copy(update={"poll_events": 333})})
    result = Replay(config, TopicRange(config, config.events.topic), threads=2).run()
    # Then the model is the same to the bit
    assert result.digests == {shard: manifest.state.digest for shard, manifest in last.items()}
    assert result.log.skipped == {"poison": last[0].state.skipped["poison"]}


def _scored(follower: Follower, values: list[bytes]) -> tuple[list[float], list[int], list[int]]:
    scores = follower.score(values)
    return scores.probability.tolist(), scores.shard.tolist(), scores.version.tolist()
