"""Bounds of the poison breaker: exact for a block, beyond chance for a part of one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.quality.breaker import REASONS, Breaker, Tally

BREAKER = Breaker(events=1_000, seconds=10, base_rate=(0.1, 0.5), rejected_share=0.2, unknown_share=0.5)
GOOD = Tally(events=1_000, valid=900, labels=225.0, rejected=100, values=1_800, unknown=600)


def reasons(tally: Tally, breaker: Breaker = BREAKER) -> list[str]:
    return [fault.reason for fault in breaker.faults(tally)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"labels": 90.0}, []),
        ({"labels": 89.0}, ["base_rate"]),
        ({"labels": 450.0}, []),
        ({"labels": 451.0}, ["base_rate"]),
        ({"valid": 800, "rejected": 200}, []),
        ({"valid": 799, "rejected": 201}, ["rejected"]),
        ({"unknown": 900}, []),
        ({"unknown": 901}, ["unknown"]),
        ({"labels": 0.0, "rejected": 900, "unknown": 1_800}, list(REASONS)),
        ({"valid": 10, "labels": 0.0, "values": 20, "unknown": 20, "rejected": 0}, []),  # nearly all of it passed over
        ({"valid": 99, "labels": 0.0, "values": 198, "unknown": 198, "rejected": 901}, ["rejected", "unknown"]),
        ({"valid": 0, "labels": 0.0, "values": 0, "unknown": 0, "rejected": 0}, []),  # all of it passed over
    ],
)
def test_a_block_is_held_against_each_bound(changes, told):
    assert reasons(Tally(**(GOOD.__dict__ | changes))) == told


def test_what_is_said_names_what_was_seen_and_the_bound():
    bad = Tally(events=1_000, valid=500, labels=0.0, rejected=500, values=1_000, unknown=990)
    assert [fault.text for fault in BREAKER.faults(bad)] == [
        "the mean label of 500 events is 0, outside 0.1 to 0.5",
        "50.0% of 1000 events are bad records, more than 20.0%",
        "99.0% of the values of 500 events are new, more than 50.0%",
    ]
    assert Breaker(events=1_000, seconds=10).faults(bad) == []


@given(st.integers(0, 2**32), st.integers(1, 999), st.sampled_from([0.1, 0.3, 0.5]))
def test_a_part_is_not_refused_for_what_chance_does(seed, events, rate):
    rng = np.random.default_rng(seed)
    labels = float((rng.random(events) < rate).sum())
    assert reasons(Tally(events=events, valid=events, labels=labels)) == []


def test_a_part_that_chance_does_not_explain_is_refused():
    part = Tally(events=999, valid=999, labels=0.0)
    assert reasons(part) == ["base_rate"]
    assert reasons(Tally(events=50, valid=50, labels=0.0)) == []
    assert reasons(Tally(events=100, valid=100, labels=100.0)) == ["base_rate"]


def test_tallies_add_up():
    assert GOOD + Tally() == GOOD
    assert Tally(**{name: 2 * value for name, value in GOOD.__dict__.items()}) == GOOD + GOOD
