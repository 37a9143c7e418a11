import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.observe.curve import BASELINE, EVENTS, LONGEST_SECONDS, LOSS, POINTS, TIME, WEIGHT, Curve, Sums

ONE = Sums(events=1, weight=2, loss=3, label=0, score=0)


def test_what_falls_into_one_second_is_one_point():
    curve = Curve()
    for now in (10.0, 10.4, 10.9, 11.0):
        curve.add(now, ONE, baseline=0.5)
    points = curve.points()
    assert points[:, [TIME, EVENTS, WEIGHT, LOSS, BASELINE]].tolist() == [[10, 3, 6, 9, 3], [11, 1, 2, 3, 1]]


def test_a_clock_that_is_set_back_counts_to_the_last_point():
    curve = Curve()
    curve.add(100, ONE, 0.5)
    curve.add(7, ONE, 0.5)
    assert curve.points()[:, [TIME, EVENTS]].tolist() == [[100, 2]]


@given(st.lists(st.sampled_from([0.25, 1, 3, 40, 500]), min_size=1, max_size=3 * POINTS))
def test_points_are_bounded_in_order_and_nothing_is_lost_before_they_are_longest(gaps):
    curve, now = Curve(), 1_000.0
    for gap in gaps:
        now += gap
        curve.add(now, ONE, 0.5)
    times = curve.points()[:, TIME]
    assert len(curve) <= POINTS
    assert (np.diff(times) >= curve.seconds).all()
    assert (times % curve.seconds == 0).all()
    if curve.seconds < LONGEST_SECONDS:
        assert curve.points()[:, EVENTS].sum() == len(gaps)


def test_the_oldest_go_once_points_are_as_long_as_they_get():
    curve = Curve()
    for now in range(0, 2 * POINTS * LONGEST_SECONDS, LONGEST_SECONDS):
        curve.add(now, ONE, 0.5)
    assert (len(curve), curve.seconds) == (POINTS, LONGEST_SECONDS)
    assert curve.points()[:, TIME].tolist() == [
        second * LONGEST_SECONDS for second in range(POINTS, 2 * POINTS)
    ]  # the newest ones


def test_the_last_seconds_are_those_before_the_newest_point():
    curve = Curve()
    assert curve.last(10).tolist() == [0] * 7
    for now in (1, 95, 99, 100):
        curve.add(now, ONE, 0.5)
    assert curve.last(5)[EVENTS] == 2
    assert curve.last(6)[EVENTS] == 3
