"""The shards at the end of a replay as first versions: the same shards, whatever the model has."""

import pytest

from tests.support.lineage import Partition, Writer, learning_of, versions
from tests.support.replayed import config_of, stream
from worker.learning import Learning
from worker.replay import Replay
from worker.replay.publishing import moved_of
from worker.snapshot.lineage import apply, verify
from worker.snapshot.manifest import Peer
from worker.snapshot.sealing import Folding
from worker.snapshot.state import ShardState
from worker.stream.merging import recall_as_of

SHARDS = 3


def numbers() -> Learning:
    of = {"user": {}, "item": {}, "time": {"kind": "numeric"}}
    return Learning.model_validate({"features": of, "model": {"factors": 4}, "events": {"id": "item"}})


@pytest.mark.parametrize(
    "learning",
    [
        learning_of(merge=False),
        learning_of(merge=True),
        learning_of(merge=True, half_life="1h"),
        learning_of(merge=True, max_rows=60),
        learning_of(merge=False, max_rows=60, half_life="2s"),
        learning_of(merge=True, admit_after=3),
        learning_of(kind="ftrl", merge=False),
        numbers(),
    ],
    ids=lambda it: f"{it.model.kind} {it.model.merge} {it.model.max_rows} {it.model.half_life} {len(it.features)}",
)
def test_each_is_read_back_as_what_was_learned(learning):
    config = config_of(learning, commit={"interval_seconds": 0.5})
    result = Replay(config, stream(3_000, SHARDS, seed=1)).run()
    moved = [moved_of(state, config) for state in result.states.values()]
    assert {shard: state.digest() for shard, state in result.states.items()} == result.digests, "nothing was moved"
    writers = []
    for it in moved:
        writer = Writer(learning, it.state.shard)
        writer.state = it.state
        others = [
            Folding(shard=other.state.shard, peer=Peer(version=1, offset=0), contribution=other.contribution)
            for other in moved
            if other is not it and other.contribution is not None
        ]
        writer.commit(others, it.contribution)
        writers.append(writer)
    for writer in writers:
        (version,) = versions(writer.log, learning, shard=writer.shard)
        assert version.manifest.state.digest == result.digests[writer.shard]
        assert version.manifest.state.events == result.states[writer.shard].progress.events
        state = ShardState.fresh(writer.shard, learning)
        apply(state, version)
        verify(state, version.manifest)
        recall_as_of(config, state, version.manifest, lambda shard: Partition(writers[shard]))
        assert state.digest() == result.digests[writer.shard]
        assert state.watch.digest() == result.states[writer.shard].watch.digest()
