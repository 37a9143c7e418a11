"""Counting values: never too low, and too high by as much as the module says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.cells import Cells, arrays
from worker.model.sketch import (
    COUNTERS,
    DEPTH,
    LARGEST,
    SINCE,
    count,
    forget,
    halve,
    is_due,
    seen,
    width_in,
    width_of,
    words_for,
)

BEFORE = 5  # words of another region


class Sketch:
    """A sketch behind another region of cells."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.cells = Cells({"other": BEFORE, "sketch": words_for(width), "after": 2})

    def count(self, key: int) -> int:
        return count(np.uint64(key), BEFORE, self.width, *arrays(self.cells.memory))

    def seen(self, key: int) -> int:
        return seen(np.uint64(key), BEFORE, self.width, self.cells.memory.words)

    def is_due(self) -> bool:
        return is_due(BEFORE, self.width, self.cells.memory.words)

    def halve(self) -> None:
        halve(BEFORE, self.width, *arrays(self.cells.memory))

    def forget(self, key: int) -> None:
        forget(np.uint64(key), BEFORE, self.width, *arrays(self.cells.memory))

    def counters(self) -> list[int]:
        return self.cells.region("sketch")[COUNTERS:].view(np.uint8).tolist()


@pytest.mark.parametrize("counters", [1_024, 1_025, 4_194_304, 2**32])
def test_a_sketch_is_as_large_as_it_may_be_in_whole_words(counters):
    width = width_of(counters)
    assert width % 8 == 0
    assert counters - 8 * DEPTH < DEPTH * width <= counters
    assert width_in(words_for(width)) == width


@given(st.lists(st.integers(1, 2**64 - 1) | st.integers(1, 30), max_size=300), st.sampled_from([8, 64, 1_024]))
def test_no_value_is_counted_too_low_and_no_word_is_written_unnoticed(keys, width):
    sketch, often = Sketch(width), dict[int, int]()
    for key in keys:
        before = sketch.seen(key)
        often[key] = often.get(key, 0) + 1
        assert sketch.count(key) == min(before + 1, LARGEST) == sketch.seen(key)
        assert all(sketch.seen(other) >= times for other, times in often.items())
    assert int(sketch.cells.region("sketch")[SINCE]) == len(keys)
    assert not sketch.cells.region("other").any()
    assert not sketch.cells.region("after").any()
    copy = Sketch(width)
    copy.cells.put(sketch.cells.touched())
    assert copy.counters() == sketch.counters()
    assert copy.cells.settle() == sketch.cells.settle()


def test_counts_are_exact_while_there_is_room():
    sketch = Sketch(4_096)
    for _ in range(7):
        for key in range(1, 30):
            sketch.count(key)
    assert [sketch.seen(key) for key in range(1, 40)] == [7] * 29 + [0] * 10


@pytest.mark.parametrize("per_value", [1, 3])
def test_counts_are_too_high_as_rarely_as_promised_where_half_as_much_is_counted_as_a_row_has_counters(per_value):
    width = 8_192
    sketch = Sketch(width)
    keys = np.random.default_rng(1).integers(1, 2**63, width // 2 // per_value)
    for key in keys.tolist() * per_value:
        sketch.count(key)
    too_high = np.array([sketch.seen(key) for key in keys.tolist()]) - per_value
    assert too_high.min() == 0
    assert np.mean(too_high > np.e / 2) < np.exp(-DEPTH)
    assert np.mean(too_high > 0) < 0.02
    strangers = np.array([sketch.seen(key) for key in range(1, 2_000)])
    assert 0 < np.mean(strangers > 0) < 0.1


def test_a_counter_stops_at_the_largest_number_that_it_holds():
    sketch = Sketch(8)
    assert [sketch.count(1) for _ in range(LARGEST + 5)][-6:] == [LARGEST] * 6


def test_counters_are_halved_once_a_quarter_as_much_was_counted_as_a_row_has():
    sketch = Sketch(64)
    for number in range(16):
        assert not sketch.is_due()
        sketch.count(number % 3 + 1)
    assert sketch.is_due()
    before = sketch.counters()
    sketch.halve()
    assert sketch.counters() == [counter // 2 for counter in before]
    assert not sketch.is_due()
    assert max(before) == 6
    copy = Sketch(64)
    copy.cells.put(sketch.cells.part(0, len(sketch.cells)))
    assert copy.cells.settle() == sketch.cells.settle()


def test_a_value_that_is_forgotten_is_counted_anew_and_one_counter_is_lost():
    sketch = Sketch(64)
    for key in (1, 1, 1, 2, 2):
        sketch.count(key)
    before = sketch.counters()
    sketch.forget(1)
    assert sketch.seen(1) == 0
    assert sum(now != then for now, then in zip(sketch.counters(), before, strict=True)) == 1
    assert [sketch.count(1) for _ in range(3)] == [1, 2, 3]
