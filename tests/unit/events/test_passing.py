"""Ranges of offsets that are passed over: as if their events had never been sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lineage import NOW, events, learning_of
from worker.events.passing import within
from worker.learning import Events, Learning
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 10)), min_size=1, max_size=6)


def skipping(*skip: str, **more) -> Learning:
    return learning_of().model_copy(update={"events": Events(skip=skip, **more)})


@given(RANGES)
def test_an_offset_is_within_a_range_from_its_first_to_its_last(drawn):
    taken, ranges = set[int](), []
    for first, length in sorted(drawn):
        if not taken & set(range(first, first + length + 1)):
            taken |= set(range(first, first + length + 1))
            ranges.append(f"7:{first}-{first + length}")
    found = np.array(Events(skip=tuple(ranges)).skipped[7])
    assert within(found, np.arange(100)).tolist() == [offset in taken for offset in range(100)]


@pytest.mark.parametrize("more", [{}, {"keep_negatives": 0.5}, {"id": "user"}], ids=["all", "sample", "ids"])
def test_what_is_passed_over_leaves_no_trace_but_its_count(more):
    values = [*events(200, 0), b"no json", *events(99, 1), *events(200, 2)]
    learning, without = skipping("0:200-299", "1:0-1000", **more), skipping(**more)
    one, other = ShardState.fresh(0, learning), ShardState.fresh(0, without)
    for start, stop in ((0, 150), (150, 250), (250, 500)):
        Pipeline(learning).learn(one, values[start:stop], np.full(stop - start, NOW), stop)
    for start, stop in ((0, 200), (300, 500)):
        Pipeline(without).learn(other, values[start:stop], np.full(stop - start, NOW), stop)
    assert one.skipped["poison"] == 99
    assert one.rejected == {"not_json": 1}, "a bad record is one there, too"
    assert one.digest() != other.digest()
    other.skipped["poison"], other.rejected["not_json"] = 99, 1
    assert one.digest() == other.digest()


def test_ranges_that_touch_are_one_and_partitions_are_told_apart():
    one = Events(skip=("3:10-19", "3:20-29", "2:0-5"))
    assert one.skipped == {2: [(0, 5)], 3: [(10, 29)]}
    assert one.skipped_before(3, 25) == [(10, 24)]
    assert one.skipped_before(3, 10) == one.skipped_before(9, 100) == []
