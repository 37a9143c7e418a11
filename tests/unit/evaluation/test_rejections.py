"""Rejected records by reason, with where the first few are and what they begin with."""

import dataclasses

import numpy as np

from tests.support.lineage import NOW, events, learning_of
from tests.support.replayed import records_of
from worker.evaluation.rejections import EXAMPLES, Rejections, shown
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState


def test_they_are_counted_as_the_shard_counts_them_and_found_where_they_are():
    learning, rejections = learning_of(), Rejections()
    state, pipeline = ShardState.fresh(3, learning), Pipeline(learning)
    values = [*events(5, 0), b"no json", None, *[b"[%d]" % number for number in range(7)]]
    records = records_of(values, [NOW] * len(values), partition=3)
    records = dataclasses.replace(records, offsets=100 + 2 * np.arange(len(values)))  # gaps, as transactions leave them
    prepared = pipeline.prepare(records.values, records.timestamps)
    pipeline.take(state, prepared, int(records.offsets[-1]) + 1)
    rejections.add(records, prepared.rejected)
    assert dict(rejections.counts) == dict(state.rejected) == {"not_json": 1, "tombstone": 1, "not_object": 7}
    found = {
        reason: [(one.shard, one.offset, one.value) for one in some] for reason, some in rejections.examples.items()
    }
    assert found == {
        "not_json": [(3, 110, "no json")],
        "tombstone": [(3, 112, None)],
        "not_object": [(3, 114, "[0]"), (3, 116, "[1]"), (3, 118, "[2]")],
    }
    assert all(one.detail for some in rejections.examples.values() for one in some)


def test_those_of_shards_add_up():
    one, other = Rejections(), Rejections()
    for shard, rejections in ((0, one), (1, other)):
        records = records_of([b"no json"] * 2, [NOW] * 2, partition=shard, start=10 * shard)
        rejections.add(records, Pipeline(learning_of()).prepare(records.values, records.timestamps).rejected)
    one.merge(other)
    assert one.counts == {"not_json": 4}
    assert [(example.shard, example.offset) for example in one.examples["not_json"]] == [(0, 0), (0, 1), (1, 10)]
    assert len(one.examples["not_json"]) == EXAMPLES


def test_values_are_shown_as_one_short_line():
    assert shown(b"") == ""
    assert shown(b'{"a":"\n\t\x00\x1b[31m"}') == r'{"a":"\n\t\x00\x1b[31m"}'
    assert shown("größer\u202e".encode()) == r"größer\u202e"  # which would turn the line around
    assert shown(b"\xff\xfe") == r"\xff\xfe"
    assert shown(b"x" * 120) == "x" * 120
    assert shown(b"x" * 121) == "x" * 120 + "…"
    # What is cut within a character has none that is damaged.
    for sign in ("ä", "€", "😀"):
        assert shown(sign.encode() * 1_000) == sign * 120 + "…"
