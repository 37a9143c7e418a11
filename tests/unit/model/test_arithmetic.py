"""Arithmetic that is the same on every machine: close to the true values, and to the bit what it was."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.model.arithmetic import draw, exp, log, mix, normal, sigmoid

LARGEST = 2**64 - 1


def ulps(got: float, expected: float) -> float:
    return abs(got - expected) / math.ulp(expected)


@given(st.floats(-700, 700))
@example(0.0)
@example(1.0)
@example(math.log(2) / 2)
def test_exp_is_within_two_units_in_the_last_place(x):
    assert ulps(exp(x), math.exp(x)) <= 2


@given(st.floats(min_value=5e-324, max_value=1.7e308))
@example(1.0)
@example(math.nextafter(1.0, 0.0))
@example(math.nextafter(1.0, 2.0))
@example(math.sqrt(0.5))
def test_log_is_within_four_units_in_the_last_place(x):
    assert ulps(log(x), math.log(x)) <= 4


@given(st.floats(0.5, 2))
def test_log_near_one_does_not_lose_its_digits(x):
    assert ulps(log(x), math.log(x)) <= 4


@given(st.floats(-30, 30))
def test_log_undoes_exp(x):
    assert log(exp(x)) == pytest.approx(x, abs=1e-13)


@given(st.floats(allow_nan=False))
def test_exp_and_sigmoid_never_leave_the_numbers(x):
    assert 0 < exp(x) < math.inf
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("x", "bits"),
    [
        (0.0, "0x1.0000000000000p+0"),
        (1.0, "0x1.5bf0a8b14576ap+1"),
        (-1.0, "0x1.78b56362cef38p-2"),
        (-17.25, "0x1.14f49dbc5078cp-25"),
        (88.0, "0x1.f1056dc7bf22dp+126"),
        (-700.0, "0x1.14f2b0fb9307fp-1010"),
    ],
)
def test_the_bits_of_exp(x, bits):
    assert exp(x).hex() == bits


@pytest.mark.parametrize(
    ("x", "bits"),
    [
        (1.0, "0x0.0p+0"),
        (2.0, "0x1.62e42fefa39efp-1"),
        (0.7071, "-0x1.62e6b3842a25ep-2"),
        (1e300, "0x1.5963447f87fb5p+9"),
    ],
)
def test_the_bits_of_log(x, bits):
    assert log(x).hex() == bits


@pytest.mark.parametrize(
    ("z", "mixed"), [(0, 0), (1, 0x5692161D100B05E5), (LARGEST, 0xB4D055FCF2CBBD7B)]
)  # the finaliser of SplitMix64, as in java.util.SplittableRandom.mix64
def test_the_bits_of_mix(z, mixed):
    assert int(mix(np.uint64(z))) == mixed


@pytest.mark.parametrize(
    ("key", "seed", "k", "bits"),
    [
        (0, 0, 0, "0x1.143fa2471abbbp-1"),
        (1, 0, 0, "0x1.c93bfe1c87e9dp-1"),
        (1, 0, 1, "0x1.19c87391ffe82p+0"),
        (0xDEADBEEFCAFEF00D, 7, 15, "0x1.8338bb239a2e1p-4"),
        (LARGEST, 2**63 - 1, 255, "-0x1.13c9dabccf597p+0"),
    ],
)
def test_the_bits_of_normal(key, seed, k, bits):
    """Every row that was ever started began with these: a change would make published models unreadable."""
    assert normal(np.uint64(key), np.uint64(seed), k).hex() == bits


def test_normal_draws_are_near_normal_and_differ_by_key_seed_and_number():
    def draws(seed: int, k: int) -> np.ndarray:
        return np.array([normal(np.uint64(key), np.uint64(seed), k) for key in range(20_000)])

    first = draws(0, 0)
    # 20,000 draws: the mean is within five of its deviations of 0, and so is the deviation of 1.
    assert abs(first.mean()) < 5 / math.sqrt(20_000)
    assert abs(first.std() - 1) < 5 / math.sqrt(2 * 20_000)
    assert np.abs(first).max() < 131_070 / 37_837  # the sum of four uniforms has no tail beyond it
    for other in (draws(1, 0), draws(0, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(20_000)


@pytest.mark.parametrize(
    ("key", "seed", "k", "bits"),
    [
        (0, 0, 0, "-0x1.c834aabb11409p-2"),
        (1, 0, 1, "-0x1.b3373ccc901b8p+0"),
        (LARGEST, 2**63 - 1, 255, "-0x1.47efde9209911p-1"),
    ],
)
def test_the_bits_of_draw(key, seed, k, bits):
    assert draw(np.uint64(key), np.uint64(seed), k).hex() == bits


def test_draws_are_normal_and_differ_by_key_seed_and_number():
    def draws(seed: int, k: int) -> np.ndarray:
        return np.array([draw(np.uint64(key), np.uint64(seed), k) for key in range(20_000)])

    first = draws(0, 0)
    # The share of 20,000 draws below each of these is within five deviations of what the normal distribution says.
    for x in (-3.5, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 3.5):
        below = (1 + math.erf(x / math.sqrt(2))) / 2
        assert abs((first < x).mean() - below) < 5 * math.sqrt(below * (1 - below) / 20_000)
    assert np.abs(first).max() > 131_070 / 37_837  # beyond what `normal` reaches
    begun = np.array([normal(np.uint64(key), np.uint64(0), 0) for key in range(20_000)])
    for other in (draws(1, 0), draws(0, 1), begun):
        assert abs(np.corrcoef(first, other)[0, 1]) < 5 / math.sqrt(20_000)
