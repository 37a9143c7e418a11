"""Axes: ticks that can be read, whatever the range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.report.scales import Scale, moment

NOW = 1_735_689_600_000


@given(st.lists(st.floats(-1e9, 1e9), max_size=50))
def test_every_value_has_its_place_and_ticks_are_few(values):
    scale = Scale.of_values(values)
    assert scale.low < scale.high
    assert 1 <= len(scale.ticks) <= 8
    assert all(scale.low <= value <= scale.high for value, _ in scale.ticks)
    assert len({text for _, text in scale.ticks}) == len(scale.ticks), "no two look the same"
    if not scale.cut:
        assert all(0 <= scale.at(value) <= 1 for value in values)


def test_a_few_values_far_out_do_not_squeeze_all_others():
    scale = Scale.of_values([*([0.5, 0.6] * 50), 40.0])
    assert scale.cut
    assert scale.high < 1


@given(st.integers(1, 10**13))
def test_times_have_a_few_ticks(span):
    for relative in (False, True):
        scale = Scale.of_times(NOW, NOW + span, relative=relative)
        assert len(scale.ticks) <= 7
        assert all(NOW <= time <= NOW + span for time, _ in scale.ticks)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (60_000, ["00:00:00", "00:00:15", "00:00:30", "00:00:45", "00:01:00"]),
        (5 * 3_600_000, ["01 Jan", "01:00", "02:00", "03:00", "04:00", "05:00"]),
        (4 * 86_400_000, ["01 Jan", "02 Jan", "03 Jan", "04 Jan", "05 Jan"]),
    ],
)
def test_times_are_told_as_their_distance_asks_for(span, expected):
    assert [text for _, text in Scale.of_times(NOW, NOW + span).ticks] == expected


def test_a_time_of_any_year_can_be_told():
    assert moment(10**17).endswith("UTC")
    assert Scale.of_times(10**17, 10**17 + 10**10).ticks
