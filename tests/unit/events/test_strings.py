import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.events.strings import UNKNOWN, string_end, unescape
from worker.events.words import PADDING

CHARACTERS = st.characters(codec="utf-8") | st.sampled_from('"\\/\b\f\n\r\t\0é寿😀')


def _end(text: bytes) -> tuple[int, bool]:
    return string_end(np.frombuffer(text + PADDING, np.uint8), 0)


def _unescaped(text: bytes) -> bytes:
    out = np.zeros(len(text), np.uint8)
    size = unescape(np.frombuffer(text + PADDING, np.uint8), 0, len(text), out, 0)
    return out[:size].tobytes()


@given(st.text(CHARACTERS), st.booleans(), st.binary(max_size=12))
def test_a_string_ends_where_it_was_written_to_end_and_says_what_was_written(text, ascii_only, rest):
    written = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
    assert _end(written + b'"' + rest) == (len(written), b"\\" in written)
    assert _unescaped(written) == text.encode()


@given(st.text(CHARACTERS, max_size=9), st.binary(min_size=1, max_size=6), st.text("ab", max_size=9))
def test_what_is_no_string_has_no_end(before, junk, after):
    # Given bytes in the midst of a string
    text = json.dumps(before, ensure_ascii=False)[1:-1].encode() + junk + after.encode() + b'"'
    # When it is read by the parser of the standard library
    try:
        value, size = json.decoder.scanstring(text.decode(), 0)
        expected = len(text.decode()[: size - 1].encode())
        value.encode()  # half a surrogate pair is no character
    except ValueError:
        # Then the end is unknown where that refuses it, or it refuses what comes behind the end
        end, _ = _end(text)
        assert end == UNKNOWN or _is_string(text[: end + 1])
        return
    assert _end(text)[0] == expected


def _is_string(text: bytes) -> bool:
    try:
        json.loads(b'"' + text).encode()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf",
        b"\xe2\x82", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xf0\x9f\x98",
        b"\x00", b"\x1f", b"\n", b"\\", b"\\x", b"\\u", b"\\u12", b"\\u12g4", b"\\ud800", b"\\udc00", b"\\ud800\\",
        b"\\ud800\\u", b"\\ud800\\u0041", b"\\ud800\\ud800", b"\\u 123", b"\\u+123", b"\\U0041",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"", b"a", b"abcdefg", b"abcdefgh"])
def test_no_strings(before, text):
    assert _end(before + text + b'"')[0] == UNKNOWN


@pytest.mark.parametrize(
    "text", ["\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]
)
def test_the_edges_of_utf8(text):
    for written in (
        text.encode(),
        json.dumps(text)[1:-1].encode(),
        json.dumps(text)[1:-1].upper().replace("U", "u").encode(),
    ):
        assert _end(written + b'"')[0] == len(written)
        assert _unescaped(written) == text.encode()
