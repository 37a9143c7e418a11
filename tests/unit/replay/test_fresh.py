"""A fresh replay: the same bits for any number of threads, any size of batches, and whatever else is not an event."""

import dataclasses

import numpy as np
import pytest

from tests.support.lineage import learning_of
from tests.support.replayed import Live, Memory, config_of, records_of, stream
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.replay import Replay, Result
from worker.replay.beginning import begin_at, put_in_step
from worker.snapshot.state import ShardState

SHARDS = 4
INTERVAL = 0.5  # seconds: some 40 events of each shard


def replayed(learning: Learning, source: Memory, *, batch: int = 10_000, threads: int = 1, **more) -> Result:
    config = config_of(learning, commit={"interval_seconds": INTERVAL}, run={"poll_events": batch})
    return Replay(config, source, threads=threads, **more).run()


@pytest.mark.parametrize(
    "model",
    [{"merge": True}, {"merge": False}, {"merge": True, "half_life": "3s"}, {"merge": True, "max_rows": 60}],
    ids=str,
)
def test_threads_batches_and_chunks_change_no_bit(model):
    learning = learning_of(**model)
    source = stream(4_000, SHARDS, seed=1)
    one = replayed(learning, source)
    assert len(set(one.digests.values())) == SHARDS
    for threads, batch, chunk in ((2, 10_000, 1_000), (4, 7, 64), (1, 1, 13), (3, 500, 1)):
        again = replayed(learning, dataclasses.replace(source, chunk=chunk), threads=threads, batch=batch)
        assert again.digests == one.digests, (threads, batch, chunk)
        views = [{shard: it.view() for shard, it in result.states.items()} for result in (one, again)]
        assert views[0] == views[1], (threads, batch, chunk)
        assert [it.model_dump() for it in again.log.windows] == [it.model_dump() for it in one.log.windows]
        assert again.log.rejected == one.log.rejected != {}


def test_without_merging_it_is_one_pass_over_each_partition():
    learning = learning_of(merge=False)
    source = stream(2_000, SHARDS, seed=2)
    result = replayed(learning, source, threads=2)
    for shard, records in source.partitions.items():
        state = ShardState.fresh(shard, learning)
        Pipeline(learning).learn(state, records.values.to_pylist(), records.timestamps, len(records))
        assert result.digests[shard] == state.digest()
    assert result.log.events == sum(state.progress.events for state in result.states.values())
    assert result.records == 2_000


def test_a_few_of_the_records_that_are_rejected_are_named():
    source = stream(4_000, 2, seed=1)
    log = replayed(learning_of(merge=False), source).log
    bad = {"not_json": [], "tombstone": []}
    for shard, records in source.partitions.items():
        for offset, value in enumerate(records.values.to_pylist()):
            if value in (None, b"no json"):
                shown = None if value is None else "no json"
                bad["tombstone" if value is None else "not_json"].append((shard, offset, shown))
    assert log.rejected == {reason: len(some) for reason, some in bad.items()}
    assert {reason: [(one.shard, one.offset, one.value) for one in some] for reason, some in log.examples.items()} == {
        reason: some[:3] for reason, some in bad.items()
    }
    assert min(log.rejected.values()) > 3


def test_shards_learn_from_one_another_at_boundaries_of_the_log():
    source = stream(3_000, SHARDS, seed=3)
    merged = replayed(learning_of(merge=True), source)
    for state in merged.states.values():
        assert state.version > 10
        known = {shard: peer.version for shard, peer in state.peers.items()}
        # in the last window all have learned, so each knows what the others had added by the one before
        assert known == {it.shard: it.version - 1 for it in merged.states.values() if it is not state}
    # Timestamps alone decide: other boundaries, other bits.
    late = {shard: dataclasses.replace(it, timestamps=it.timestamps + 137) for shard, it in source.partitions.items()}
    assert replayed(learning_of(merge=True), Memory(late)).digests != merged.digests


def test_a_shard_that_is_silent_for_long_knows_in_the_end_what_was_added_meanwhile():
    source = stream(9_000, 3, seed=4)
    whole = source.partitions[0]
    some = np.r_[0:50, len(whole) - 50 : len(whole)]
    quiet = records_of([whole.values[int(at)].as_py() for at in some], whole.timestamps[some].tolist(), partition=0)
    source = Memory(source.partitions | {0: quiet})
    learning = learning_of(merge=True)
    one, many = replayed(learning, source), replayed(learning, source, threads=3, batch=10)
    assert one.digests == many.digests
    state = one.states[0]
    assert state.version < 10 < min(one.states[1].version, one.states[2].version)
    assert {shard: peer.version for shard, peer in state.peers.items()} == {
        shard: one.states[shard].version - 1 for shard in (1, 2)
    }


def test_records_without_a_timestamp_count_with_those_before():
    source = stream(500, 2, seed=5)
    none = {shard: dataclasses.replace(it, timestamps=np.full(len(it), -1)) for shard, it in source.partitions.items()}
    result = replayed(learning_of(merge=True), Memory(none))
    assert [state.version for state in result.states.values()] == [1, 1]


def test_an_empty_partition_is_no_obstacle():
    source = stream(1_000, 3, seed=6)
    source.partitions[1] = records_of([], [], partition=1)
    result = replayed(learning_of(merge=True), source, threads=2)
    assert result.states[1].version == 0
    assert result.states[0].version > 1


@pytest.mark.parametrize("model", [{"merge": True}, {"merge": False}, {"merge": True, "half_life": "3s"}], ids=str)
def test_it_goes_on_from_a_version(model):
    learning = learning_of(**model)
    source = stream(3_000, 3, seed=7)
    live = Live(learning, source).run(before=dict.fromkeys(range(3), 500))
    config = config_of(learning)
    results = []
    for threads in (1, 2):
        with live.chain(config) as chain:
            results.append(replayed(learning, source, chain=chain, from_version=3, threads=threads))
    assert results[0].digests == results[1].digests
    for writer, state in zip(live.writers, results[0].states.values(), strict=True):
        learned = writer.manifests[2].state.events
        assert state.progress.events == sum(
            value is not None and value != b"no json" for value in source.partitions[writer.shard].values.to_pylist()
        )
        assert learned < state.progress.events
    assert results[0].log.events == sum(
        state.progress.events - writer.manifests[2].state.events
        for writer, state in zip(live.writers, results[0].states.values(), strict=True)
    )
    # by time, too
    made = max(writer.manifests[2].created for writer in live.writers)
    with live.chain(config) as chain:
        by_time = replayed(learning, source, chain=chain, from_time=made)
    assert by_time.digests == results[0].digests


@pytest.mark.parametrize("model", [{}, {"half_life": "3s"}, {"max_rows": 60}], ids=str)
def test_shards_that_are_restored_know_of_one_another_what_was_added_by_then_and_no_more(model):
    # Given that shard 0 has folded in all of shard 1, which is taken back to its first version
    live = Live(learning_of(merge=True, **model), stream(3_000, 2, seed=8)).run()
    versions = {0: live.writers[0].state.version, 1: 1}
    assert live.writers[0].manifests[-1].peers[1].version > 1
    with live.chain() as chain:
        states = [state for shard, at in versions.items() if (state := begin_at(chain, shard, at, None))]
    # When they begin in step
    put_in_step(states)
    # Then all know the sum of what both have added by these versions, each once
    ledgers = [state.model.shared for state in states]
    whole = ledgers[0].own.empty()
    for shared in ledgers:
        whole.add(shared.own.all())
    assert [shared.merged.digest for shared in ledgers] == [whole.digest] * 2
    assert [it.digest() for it in states] == [
        live.writers[shard].manifests[at - 1].state.digest for shard, at in versions.items()
    ]


def test_what_cannot_be_is_told():
    learning = learning_of(merge=True)
    source = stream(500, 2, seed=9)
    with pytest.raises(IncompatibleDataError, match="nothing to replay"):
        replayed(learning, Memory(source.partitions, bounds={0: (3, 3), 1: (4, 4)}))
    live = Live(learning, source).run()
    with live.chain() as chain, pytest.raises(IncompatibleDataError, match="not 9999"):
        replayed(learning, source, chain=chain, from_version=9_999)
    with live.chain() as chain, pytest.raises(ConfigurationError, match="what lies between is missing"):
        replayed(learning, Memory(source.partitions, bounds={0: (200, 240)}), chain=chain, from_version=1)
    with pytest.raises(ConfigurationError, match="published model"):
        replayed(learning, source, from_version=1)
