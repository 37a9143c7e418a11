"""Values that are held back: counts survive restarts, peers' rows count as there, and followers score the same bits."""

import numpy as np
import orjson
import pytest

from tests.support.lineage import NOW, Partition, Writer, events, learning_of, versions
from worker.config import Config
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.hashing import key_of
from worker.follow.shard import FollowedShard
from worker.follow.whole import Whole
from worker.learning import Learning
from worker.model.batch import SHARED, Entries
from worker.snapshot.lineage import apply, verify
from worker.snapshot.state import ShardState
from worker.stream import merging
from worker.stream.contributions import folding_of

FEW = {"admit_after": 3, "admission_counters": 1_024}  # which are halved after every 84 counts
MODELS = (
    {}, {"kind": "sgd"}, {"kind": "ftrl"}, {"max_rows": 48}, {"kind": "ftrl", "max_rows": 48},
    {"merge": True}, {"merge": True, "half_life": "1s"}, {"merge": True, "max_rows": 48},
    {"merge": True, "max_rows": 48, "half_life": "1s"},
)  # fmt: skip
SELDOM = {"users": 400, "items": 60}


@pytest.fixture(autouse=True)
def bases_early(monkeypatch):
    """Let a base be due as soon as the deltas outweigh it, however small."""
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


def restored(writer: Writer) -> ShardState:
    """Come back as a worker does."""
    manifest, state = writer.manifests[-1], ShardState.fresh(writer.shard, writer.learning)
    for version in versions(writer.log, writer.learning, shard=writer.shard, start=manifest.bases[-1].offset):
        apply(state, version)
    verify(state, manifest)
    config = Config.model_validate({"features": {"user": {}}, "model": writer.learning.model.model_dump()})
    merging.recall(config, state, manifest, [], lambda _: Partition(writer))
    return state


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_shard_that_dies_after_every_commit_learns_the_same(model):
    learning = learning_of(**FEW, **model)
    small = {"base_part_bytes": 8_000}
    uninterrupted, dying = Writer(learning, **small), Writer(learning, **small)
    for seed in range(12):
        batch = events(80, seed, **SELDOM)
        uninterrupted.learn(batch)
        for start in range(0, 80, 7):
            dying.learn(batch[start : start + 7])
        assert dying.commit().state == uninterrupted.commit().state
        dying.state = restored(dying)
    admission = dying.state.model.room.admission
    assert admission.admitted > 10
    assert admission.held_back > 100
    assert dying.state.cells.region("admission").tolist() == uninterrupted.state.cells.region("admission").tolist()
    assert len(dying.manifests[-1].bases) > 1
    told = dying.manifests[-1].state
    assert (told.admitted, told.held_back) == (admission.admitted, admission.held_back)


def test_counts_are_part_of_the_digest():
    def digest(times: int) -> str:
        writer = Writer(learning_of(**FEW))
        for user, n in (("a", times), ("b", 2), ("c", 3 - times)):
            writer.learn([orjson.dumps({"user": user, "label": 1, "time": NOW})] * n)
        return writer.state.digest()

    assert digest(1) != digest(2), "the rows are the same: bias and rare user, after five events each"


def asked(learning: Learning) -> Entries:
    """Events of values that have a row, that were seen, and that were never seen."""
    values = events(300, 99, users=600, items=100)
    return Features(learning).encode(Decoder(learning, labelled=False).decode(values, np.full(300, NOW)).table)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_follower_scores_as_the_worker_does_at_the_same_version(model):
    learning = learning_of(**FEW, **model)
    writer = Writer(learning)
    followed = FollowedShard(learning.model.name, 0, learning, Whole(learning))
    for seed in range(5):
        first = writer.next_offset
        writer.learn(events(100, seed, **SELDOM))
        writer.commit()
        (version,) = versions(writer.log, learning, start=first)
        followed._apply(version)
        entries = asked(learning)
        expected, (scores, _, number) = writer.state.model.predict(entries), followed.predict(entries)
        assert number == seed + 1
        assert scores.predictions.tobytes() == expected.predictions.tobytes()
        assert scores.variances.tobytes() == expected.variances.tobytes()
    rare = followed.behind(entries).rare
    assert 0 < rare.sum() < len(rare)
    plain = writer.state.model.predict(entries, writer.state.model.gather(entries.keys))
    assert plain.predictions.tobytes() != expected.predictions.tobytes(), "values without a row do not count as unseen"


@pytest.mark.parametrize("model", [{}, {"max_rows": 48}], ids=str)
def test_a_value_that_another_shard_has_let_in_is_not_counted(model):
    learning = learning_of(merge=True, **FEW, **model)
    one, other = Writer(learning, 0), Writer(learning, 1)
    one.learn([orjson.dumps({"user": f"u{n}", "item": "known", "label": 1, "time": NOW}) for n in range(3)])
    one.commit()
    (version,) = versions(one.log, learning)
    other.learn([orjson.dumps({"user": "v", "item": "known", "label": 1, "time": NOW})])
    key = np.array([key_of("item", "known") | SHARED])
    assert not other.state.model.table.has(key).any(), "seen once here"
    other.commit([folding_of(version, 4)])
    held_back = other.state.model.room.admission.held_back
    other.learn([orjson.dumps({"item": "known", "label": 1, "time": NOW})])
    assert other.state.model.table.has(key).all()
    assert other.state.model.room.admission.held_back == held_back
    assert other.state.model.room.admission.admitted == 0
