"""Rejected records by reason, with where the first few are."""

import numpy as np

from tests.support.lineage import NOW, events, learning_of
from worker.evaluation.rejections import EXAMPLES, Rejections
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState


def test_they_are_counted_as_the_shard_counts_them_and_found_where_they_are():
    learning, rejections = learning_of(), Rejections()
    state, pipeline = ShardState.fresh(3, learning), Pipeline(learning)
    values = [*events(5, 0), b"no json", None, *[b"[1]"] * 7]
    offsets = 100 + 2 * np.arange(len(values))  # with gaps, as transactions leave them
    prepared = pipeline.prepare(values, np.full(len(values), NOW))
    pipeline.take(state, prepared, int(offsets[-1]) + 1)
    rejections.add(prepared.rejected, 3, offsets)
    assert dict(rejections.counts) == dict(state.rejected) == {"not_json": 1, "tombstone": 1, "not_object": 7}
    assert [(one.shard, one.offset) for one in rejections.examples["not_json"]] == [(3, 110)]
    assert [one.offset for one in rejections.examples["not_object"]] == [114, 116, 118]
    assert all(one.detail and one.value is None for some in rejections.examples.values() for one in some)


def test_those_of_shards_add_up():
    one, other = Rejections(), Rejections()
    rejected = Pipeline(learning_of()).prepare([b"no json"] * 2, np.full(2, NOW)).rejected
    one.add(rejected, 0, [1, 2])
    other.add(rejected, 1, [7, 8])
    one.merge(other)
    assert one.counts == {"not_json": 4}
    assert [(example.shard, example.offset) for example in one.examples["not_json"]] == [(0, 1), (0, 2), (1, 7)]
    assert len(one.examples["not_json"]) == EXAMPLES
