import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.events.skip import UNKNOWN, after_space, after_value
from worker.events.words import PADDING

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def _after(text: bytes) -> int:
    return after_value(np.frombuffer(text + PADDING, np.uint8), 0, len(text))


@given(values, st.sampled_from([None, 0, 2]), st.sampled_from([b"", b",", b"}", b" ]"]))
def test_json_is_passed_over(value, indent, behind):
    text = json.dumps(value, indent=indent).encode()
    assert _after(text + behind) == len(text)


@settings(max_examples=500)
@given(values, st.data())
@example(None, None)
def test_what_is_passed_over_is_json(value, data):
    # Given JSON in which something was put, or left out
    text = bytearray(json.dumps(value).encode())
    if data is not None:
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from(list(b',:"{}[]0-. \\ntf\n')).map(lambda c: bytes([c]))
        )
    # When it is passed over, up to somewhere
    after = _after(bytes(text))
    # Then this much of it is JSON
    if after != UNKNOWN:
        json.loads(bytes(text[:after]))


@pytest.mark.parametrize("depth", [31, 32, 33])
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_nesting_has_a_limit(depth, brackets):
    text = (brackets[:-1] * depth).removesuffix('"a":') + brackets[-1] * depth
    assert (_after(text.encode()) == len(text)) == (depth <= 32)


@given(st.text(" \t\r\n\f\va", max_size=10), st.integers(0, 10))
def test_space_ends_where_it_ends(text, end):
    data = np.frombuffer(text.encode() + PADDING, np.uint8)
    end = min(end, len(text))
    rest = text[:end].lstrip(" \t\r\n")
    assert after_space(data, 0, end) == end - len(rest)
