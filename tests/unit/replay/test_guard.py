"""The poison breaker in a fresh replay: what a worker's stages learn of the same records, to the bit."""

import dataclasses
import json

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from confluent_kafka import Message

from tests.support.lineage import NOW, learning_of
from tests.support.recordings import make_records, write
from tests.support.replayed import Memory, config_of, event, records_of
from worker.commands.replay import replay
from worker.events.pack import pack
from worker.learning import Events, Learning
from worker.pipeline import Pipeline
from worker.replay import Replay
from worker.replay.publishing import moved_of
from worker.snapshot.kinds import breaker_of
from worker.snapshot.state import ShardState
from worker.stream.block import Block
from worker.stream.owned import Owned
from worker.stream.stages import Stages

BLOCK = 100
SHARDS = 2


def freezing(learning: Learning | None = None, **quality) -> Learning:
    told = {"events": BLOCK, "base_rate": (0.1, 0.6)} | quality
    settings = {f"freeze_{name}": value for name, value in told.items()}
    learning = learning_of(merge=False) if learning is None else learning
    return learning.model_copy(update={"quality": type(learning.quality).model_validate(settings)})


def poisoned(
    n: int, seed: int, *, at: tuple[int, int] | None = None, gap_ms: int = 3, late_ms: int = 0, pause_at: int = 0
) -> Memory:
    """Make n events of each shard, some bad; between two places all labels are 0, and from a pause on it is later."""
    rng = np.random.default_rng(seed)
    found = {}
    first, after = at or (n, n)
    for shard in range(SHARDS):
        values: list[bytes | None] = []
        times = [NOW + number * gap_ms + (late_ms if number >= pause_at else 0) for number in range(n)]
        for number, time in enumerate(times):
            user, item, noise = (int(x) for x in rng.integers((60, 40, 3)))
            label = int((user + item + noise) % 3 == 0 and not (first <= number < after and shard == 0))
            values.append(b"no json" if rng.random() < 0.02 else event(user, item, label, time))
        found[shard] = records_of(values, times, partition=shard)
    return Memory(found)


class Worker:
    """A shard of a worker, without Kafka."""

    def __init__(self, learning: Learning) -> None:
        self.now, self.read_to = 0.0, 0
        breaker = breaker_of(learning)
        assert breaker is not None
        self.block = Block[list[Message]](breaker, packed=learning.events.format == "arrow", clock=lambda: self.now)
        self.owned = Owned.restored(ShardState.fresh(0, learning), [], self.block)
        self.stages = Stages(Pipeline(learning), most_events=1_000_000)

    def learn(self, source: Memory, shard: int, upto: int, seed: int) -> "Worker":
        """Poll all records before an offset, some at a time."""
        rng = np.random.default_rng(seed)
        self.owned.state.shard = shard
        whole = source.partitions[shard]
        values, times = whole.values.to_pylist(), whole.timestamps.tolist()
        while self.read_to < upto:
            stop = min(upto, self.read_to + int(rng.integers(1, 150)))
            messages = [
                Message(topic="t", partition=shard, offset=n, key=b"k", value=values[n], timestamp=(1, times[n]))
                for n in range(self.read_to, stop)
            ]
            self.stages.hand_over(self.owned, messages)
            self.read_to = stop
        self.stages.apart(self.owned, self.owned.handed_over, lambda: None)
        return self

    def wait(self, seconds: float) -> "Worker":
        """Let time pass, and do what the loop does then."""
        self.now += seconds
        if self.block.overdue and not self.owned.frozen:
            self.stages.cut(self.owned)
        self.stages.apart(self.owned, self.owned.handed_over, lambda: None)
        return self

    def finish(self) -> str:
        self.stages.close()
        return self.owned.state.digest()


def live(learning: Learning, source: Memory, seed: int, *, pause_at: int | None = None) -> dict[int, Worker]:
    found = {}
    for shard, records in source.partitions.items():
        worker = Worker(learning)
        if pause_at is not None:
            worker.learn(source, shard, pause_at, seed).wait(60)
        found[shard] = worker.learn(source, shard, len(records), seed + 1).wait(60)
    return found


def replayed(learning: Learning, source: Memory, *, batch: int = 10_000, threads: int = 1, interval: float = 0.5):
    config = config_of(learning, commit={"interval_seconds": interval}, run={"poll_events": batch})
    return Replay(config, source, threads=threads).run()


@pytest.mark.parametrize("resume", ["command", "sane"])
@pytest.mark.parametrize("start", [700, 751, 799])
def test_it_learns_what_a_worker_learns(resume, start):
    learning = freezing(resume=resume)
    source = poisoned(2_000, seed=start, at=(start, start + 450))
    workers = live(learning, source, seed=start)
    expected = {shard: worker.finish() for shard, worker in workers.items()}
    results = [
        replayed(learning, dataclasses.replace(source, chunk=chunk), batch=batch, threads=threads)
        for chunk, batch, threads in ((1_000, 10_000, 1), (13, 7, 3), (1, 64, 2))
    ]
    for result in results:
        assert result.digests == expected
        assert result.states[0].rejected == workers[0].owned.state.rejected
        assert {shard: state.next_offset for shard, state in result.states.items()} == {
            shard: worker.owned.state.next_offset for shard, worker in workers.items()
        }
        assert sum(result.log.rejected.values()) == sum(len(worker.owned.dead_letters) for worker in workers.values())
    (frozen, passed) = (results[0].frozen, results[0].log.skipped.get("poison", 0))
    if resume == "sane":
        assert frozen == {}
        assert 400 <= passed <= 450 + 4 * BLOCK
        assert results[0].states[0].next_offset == 2_000
    else:
        assert passed == 0
        assert frozen == {0: workers[0].block.refused}
        assert start - 2 * BLOCK <= results[0].states[0].next_offset == frozen[0].first_offset <= start


def test_what_is_unknown_by_now_is_judged_as_a_worker_does():
    learning = freezing(base_rate=None, unknown_share=0.3, resume="sane")
    source = poisoned(2_500, seed=5)
    whole = source.partitions[1]
    values = [
        value if n < 1_500 or n >= 1_800 or value == b"no json" else event(5_000 + n, 5_000 + n, n % 2, NOW)
        for n, value in enumerate(whole.values.to_pylist())
    ]
    source.partitions[1] = records_of(values, whole.timestamps.tolist(), partition=1)
    expected = {shard: worker.finish() for shard, worker in live(learning, source, seed=5).items()}
    for batch, threads in ((10_000, 1), (11, 3)):
        result = replayed(learning, source, batch=batch, threads=threads)
        assert result.digests == expected
        assert 200 < result.log.skipped["poison"] < 600


def test_packed_events_are_judged_record_by_record():
    learning = freezing(
        Learning(events=Events(format="arrow"), features=learning_of().features, model=learning_of(merge=False).model),
        resume="sane",
    )
    plain = poisoned(1_500, seed=6, at=(600, 1_000))
    packed = {}
    for shard, records in plain.partitions.items():
        events = [orjson.loads(it) for it in records.values.to_pylist() if it != b"no json"]
        values = [pack(events[start : start + 17]) for start in range(0, len(events), 17)]
        packed[shard] = records_of(values, [NOW + 40 * n for n in range(len(values))], partition=shard)
    source = Memory(packed)
    expected = {shard: worker.finish() for shard, worker in live(learning, source, seed=6).items()}
    for batch, chunk in ((10_000, 1_000), (5, 3)):
        result = replayed(learning, dataclasses.replace(source, chunk=chunk), batch=batch)
        assert result.digests == expected
        assert result.log.skipped["poison"] > 300


def test_what_waits_too_long_by_the_time_of_the_log_is_judged_as_it_is():
    # Given half an hour of nothing within a block, and poison after it
    learning, pause = freezing(resume="sane", seconds=10.0), 1_050
    asked = {"seed": 7, "at": (pause, 1_400)}
    source = poisoned(1_800, late_ms=1_800_000, pause_at=pause, **asked)
    paused = {shard: worker.finish() for shard, worker in live(learning, source, seed=7, pause_at=pause).items()}
    without = poisoned(1_800, **asked)
    at_once = {shard: worker.finish() for shard, worker in live(learning, without, seed=7).items()}
    # Then a replay judges what came before the pause by itself, as a worker does that has waited
    for batch, chunk in ((10_000, 1_000), (9, 1)):
        waited = replayed(learning, dataclasses.replace(source, chunk=chunk), batch=batch)
        assert waited.digests == paused
        went_on = replayed(learning, dataclasses.replace(without, chunk=chunk), batch=batch)
        assert went_on.digests == at_once
        # and less of what is sane goes with the poison
        assert waited.log.skipped["poison"] < went_on.log.skipped["poison"]


def test_merged_shards_agree_for_any_threads_and_a_frozen_one_goes_on_taking_in_what_others_add():
    learning = freezing(learning_of(merge=True, half_life="3s"))
    source = poisoned(2_000, seed=8, at=(700, 2_000))
    one = replayed(learning, source)
    for threads, batch, chunk in ((3, 7, 64), (2, 500, 1)):
        again = replayed(learning, dataclasses.replace(source, chunk=chunk), threads=threads, batch=batch)
        assert again.digests == one.digests
        assert {shard: it.view() for shard, it in again.states.items()} == {
            shard: it.view() for shard, it in one.states.items()
        }
    assert set(one.frozen) == {0}
    assert one.states[0].next_offset < 700
    assert one.states[0].peers[1].version == one.states[1].version - 1 > 5
    # What was learned at the very end, after all were within bounds, is in a version: nothing is left to be added
    assert one.states[1].next_offset == 2_000
    assert moved_of(one.states[1], config_of(learning)).state.next_offset == 2_000


def test_a_person_is_told_which_shard_is_frozen(tmp_path, monkeypatch):
    source = poisoned(1_200, seed=9, at=(600, 1_200))
    for shard, records in source.partitions.items():
        made = make_records(
            shard, range(len(records)), topic="interactions", times=records.timestamps.tolist(),
            values=records.values.to_pylist(),
        )  # fmt: skip
        write(tmp_path / "tuesday", made, partitions=SHARDS)
    (tmp_path / "headrace.toml").write_text(
        "[features.user]\n[features.item]\n[model]\nfactors = 2\nmerge = false\n"
        "[quality]\nfreeze_events = 100\nfreeze_base_rate = [0.1, 0.6]\n"
    )
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(replay, ["tuesday"], catch_exceptions=False)
    assert done.exit_code == 0
    (line,) = [line for line in done.output.splitlines() if "frozen" in line]
    assert line.startswith("shard 0 is frozen at offset 500: the mean label of ")
    assert "warning" not in done.output
    told = json.loads(CliRunner().invoke(replay, ["tuesday", "--json"]).output)
    assert list(told["frozen"]) == ["0"]
    assert told["frozen"]["0"]["first_offset"] == told["states"]["0"]["next_offset"] == 500
    assert "outside 0.1 to 0.6" in told["frozen"]["0"]["faults"]["base_rate"]
