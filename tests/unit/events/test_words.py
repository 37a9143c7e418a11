import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.events.words import PADDING, decimal, first, no_digits, same, stops, word

eight = st.binary(min_size=8, max_size=8) | st.text('a"\\\x1f ~é09/:', min_size=8).map(lambda text: text.encode()[:8])


def _word(data: bytes) -> np.uint64:
    return np.uint64(word(np.frombuffer(data, np.uint8), 0))


def _place(marks: int) -> int:
    return first(np.uint64(marks)) if marks else 8


@given(st.binary(min_size=8, max_size=24), st.integers(0, 16))
def test_a_word_is_eight_bytes_from_anywhere(data, begin):
    begin = min(begin, len(data) - 8)
    assert int(word(np.frombuffer(data, np.uint8), begin)) == int.from_bytes(data[begin : begin + 8], "little")


@given(eight)
def test_the_first_stop_is_the_first_byte_that_is_no_character(data):
    found = [at for at, c in enumerate(data) if c in b'"\\' or c < 0x20 or c >= 0x80]
    assert _place(stops(_word(data))) == (found or [8])[0]


@given(eight | st.text("0123456789/:", min_size=8, max_size=8).map(str.encode))
def test_digits_end_at_the_first_byte_that_is_none(data):
    found = [at for at, c in enumerate(data) if c not in b"0123456789"]
    assert _place(no_digits(_word(data))) == (found or [8])[0]


@given(st.text("0123456789", min_size=1, max_size=8), st.binary(min_size=8, max_size=8))
def test_decimal(digits, rest):
    assert int(decimal(_word((digits.encode() + rest)[:8]), len(digits))) == int(digits)


@given(st.binary(max_size=30), st.data())
def test_same(text, data):
    at = data.draw(st.integers(0, 29))
    other = text[:at] + data.draw(st.binary(max_size=1)) + text[at + 1 :]
    joined = np.frombuffer(text + b"|" + other + PADDING, np.uint8)
    size = min(len(text), len(other))
    assert same(joined, 0, len(text) + 1, size) == (text[:size] == other[:size])
