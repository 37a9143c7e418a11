"""Lanes: eight numbers at once, with the bits of one after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from worker.model.lanes import LANES, greatest, least, load, pick, put, spread, store, total

NUMBERS = st.lists(st.floats(width=32), min_size=LANES, max_size=LANES).map(lambda some: np.array(some, np.float32))


@njit
def operate(one, other, number, found):
    a, b = load(one, 0), load(other, 0)
    for at, lanes in enumerate((a + b, a - b, a * b, a / b, least(a, b), greatest(a, b), spread(number))):
        store(found, at * LANES, lanes)


@njit
def add_up(numbers):
    return total(load(numbers, 1))


@njit
def copy_backwards(of, to):
    for at in range(len(of)):
        put(to, len(of) - 1 - at, pick(of, at))


@given(NUMBERS, NUMBERS)
def test_every_lane_is_rounded_as_a_number_alone_is(one, other):
    found = np.empty((7, LANES), np.float32)
    operate(one, other, np.float32(0.1), found.ravel())
    with np.errstate(all="ignore"):
        smaller, larger = np.where(one < other, one, other), np.where(one > other, one, other)
        expected = [one + other, one - other, one * other, one / other, smaller, larger, np.full(LANES, 0.1)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@given(NUMBERS)
def test_lanes_add_up_in_the_order_that_is_written(numbers):
    s0, s1, s2, s3, s4, s5, s6, s7 = numbers
    with np.errstate(all="ignore"):
        expected = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
    np.testing.assert_array_equal(add_up(np.concatenate([[np.float32(1)], numbers])), expected)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_single_numbers_are_read_and_written_where_they_lie(kind):
    of, to = np.arange(5).astype(kind), np.zeros(5, kind)
    copy_backwards(of, to)
    assert to.tolist() == [4, 3, 2, 1, 0]
