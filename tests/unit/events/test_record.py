import numpy as np
import pytest

from worker.events.record import nesting, parse
from worker.events.rejects import Reason, RejectError


def test_of_a_name_given_twice_the_last_counts():
    assert parse(b'{"a":1,"a":2}', 100) == {"a": 2}


@pytest.mark.parametrize(
    ("text", "expected"), [(b"1e400", float("inf")), (b"-Infinity", -float("inf")), (b"9" * 5000, float("inf"))]
)
def test_a_number_beyond_double_is_infinite(text, expected):
    assert parse(b'{"a":%s}' % text, 10_000) == {"a": expected}


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\x01"', b"1e", b"[1,]"])
def test_beyond_double_or_not_what_is_no_json_stays_none(text):
    with pytest.raises(RejectError) as caught:
        parse(b'{"b":1e400,"a":%s}' % text, 100)
    assert caught.value.reason == Reason.NOT_JSON


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", 1),
        (b"{}[]", 1),
        (b'{"a":[[{}]]}', 4),
        (b'"[["', 0),
        (b"{", 1),
        (b'{"a":"\\"[[["}', 1),
        (b'{"a":"\\\\","b":[[]]}', 3),
    ],
)
def test_nesting(text, expected):
    assert nesting(np.frombuffer(text, np.uint8)) == expected
