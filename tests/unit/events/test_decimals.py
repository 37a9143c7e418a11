import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.events.decimals import UNKNOWN, is_category, nearest, number
from worker.events.words import PADDING


def _number(text: str) -> tuple[int, np.uint64, int, int]:
    return number(np.frombuffer(text.encode() + PADDING, np.uint8), 0)


def _value(text: str) -> float:
    after, mantissa, digits, exponent = _number(text)
    assert after == len(text)
    value = nearest(np.uint64(mantissa), digits, exponent)
    return -value if text.startswith("-") else value


digits = st.text("0123456789", min_size=1, max_size=22)
written = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-"]),
    st.just("0") | digits.filter(lambda text: text[0] != "0"),
    st.just("") | digits.map(".{}".format),
    st.just("") | st.integers(-350, 330).map("e{}".format) | st.integers(0, 20).map("E+{:03}".format),
)


@settings(max_examples=1000)
@given(written | st.floats(allow_nan=False, allow_infinity=False).map(repr))
@example("0.000000000000000000000000000001")
@example("9007199254740993")
@example("10.00000000000000000001")
def test_what_is_known_is_the_nearest_double(text):
    value = _value(text)
    assert math.isnan(value) or value == float(text)


@settings(max_examples=500)
@given(st.integers(2**52, 2**53 - 1), st.integers(-80, 60), st.sampled_from([-1, 0, 1]))
def test_halfway_between_two_doubles(mantissa, exponent, beside):
    # Given the 19 leading digits of what lies exactly between two doubles, or one of the last digit beside it
    between = Fraction(2 * mantissa + 1) * Fraction(2) ** exponent
    scale = len(str(int(between * 10**40))) - 40 - 19
    leading = int(between / Fraction(10) ** scale) + beside
    text = f"{leading}e{scale}"
    # Then it is told right, or not at all
    value = _value(text)
    assert math.isnan(value) or value == float(text)


@pytest.mark.parametrize(
    "text", ["", "-", "+1", "01", "-01", "1.", ".5", "1.e5", "1e", "1e+", "1E-", "--1", "e5", "NaN", "-a", "00"]
)
def test_no_numbers(text):
    after = _number(text)[0]
    assert after == UNKNOWN


@pytest.mark.parametrize("behind", [",", "}", "]", " ", "x", "\n", "-", "+"])
def test_a_number_ends_where_no_more_of_it_follows(behind):
    for text in ("0", "-12345678", "123456789.5", "1e5", "1.5E-07"):
        assert _number(text + behind)[0] == len(text)


@given(st.integers(-(2**64), 2**65) | st.sampled_from([10**19 - 1, 10**19, 2 * 10**19, 2**63, -(2**63), -(2**63) - 1]))
def test_integers_that_are_categories(value):
    text = str(value)
    after, mantissa, digits, _ = _number(text)
    data = np.frombuffer(text.encode() + PADDING, np.uint8)
    expected = -(2**63) <= value < 2**64
    assert is_category(data, 0, after, np.uint64(mantissa), digits) == expected
    if expected:
        assert int(mantissa) == abs(value)
