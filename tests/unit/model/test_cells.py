"""Cells: what a shard remembers beside its rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.cells import Cells, Words

SIZE = 40
WRITES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 2**64 - 1)), max_size=60)


def cells() -> Cells:
    return Cells({"first": 10, "second": 30})


def written(one: Cells, writes: list[tuple[int, int]]) -> Cells:
    for place, value in writes:
        one.put(words({place: value}))
    return one


def words(values: dict[int, int]) -> Words:
    return Words(places=np.array(list(values), np.int64), values=np.array(list(values.values()), np.uint64))


def test_regions_lie_one_after_the_other():
    one = written(cells(), [(9, 1), (10, 2), (39, 3)])
    assert one.region("first").tolist() == [0] * 9 + [1]
    assert one.region("second").tolist() == [2] + [0] * 28 + [3]
    with pytest.raises(ValueError, match="read-only"):
        one.region("first")[0] = 1
    assert written(cells(), [(0, 5)]).region("first")[0] == 5, "a view elsewhere changes nothing here"


@given(WRITES, WRITES)
def test_the_digest_depends_on_the_words_alone(before, after):
    # Given cells that were settled now and then, and others that hold the same words by another way
    one = written(cells(), before)
    one.settle()
    written(one, after)
    other = cells()
    other.put(one.part(0, SIZE))
    assert one.settle() == other.settle()
    # Then another word is another digest
    value = int(one.memory.words[7])
    one.put(words({7: value + 1 if value < 2**63 else value - 1}))
    assert one.settle() != other.settle()
    one.put(words({7: value}))
    assert one.settle() == other.settle()


@given(WRITES, WRITES)
def test_what_was_touched_makes_a_copy_equal(before, after):
    one, copy = written(cells(), before), cells()
    copy.put(one.touched())
    one.settle()
    copy.settle()
    assert len(one.touched()) == 0
    written(one, after)
    touched = one.touched()
    assert sorted(touched.places.tolist()) == sorted({place for place, _ in after})
    copy.put(touched)
    assert copy.memory.words.tobytes() == one.memory.words.tobytes()
    assert copy.settle() == one.settle()


def test_none_at_all_are_cells_too():
    one = Cells({})
    assert (len(one), len(one.touched()), len(one.part(0, 0)), one.settle()) == (0, 0, 0, 0)
