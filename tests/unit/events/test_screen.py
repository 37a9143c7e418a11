import numpy as np
import pytest

from worker.events.screen import JOINABLE, MAX_DEPTH, SUSPECT, UNFIT, nesting, screen


def _verdict(record: bytes) -> int:
    # between two flat neighbours, so that a read across the border would show
    data = b"\n".join([b'{"a":1}', record, b'{"a":1}'])
    verdicts = screen(np.frombuffer(data, np.uint8), np.array([7, len(record), 7]))
    assert verdicts[0] == verdicts[2] == JOINABLE
    return int(verdicts[1])


@pytest.mark.parametrize(
    "record",
    [
        b"{}",
        b' \t\r\n{"a": 1}\n',
        b'{\n  "a": {\n    "b": [1, {}]\n  }\n}',
        b'{"a":"}{"}',
        b'{"a":"\\"}","b":{}}',
        b'{"a":"\\\\","b":{}}',
        b'{"a":"In","N":"Na"}',
        b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"a":"' + b"[{" * 2000 + b'"}',
        b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b',"b":"' + b"x" * 100 + b'"}',
    ],
)
def test_one_balanced_object_is_joinable(record):
    assert _verdict(record) in (JOINABLE, SUSPECT)
    assert _verdict(record) == JOINABLE or b"In" in record


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"{}}",
        b"{}{}",
        b"{}null{}",
        b"{} null {}",
        b"null {}",
        b"{}\x00{}",
        b"[{}]",
        b'"{}"',
        b"\xef\xbb\xbf{}",
        b"{}\x0c",
        b'{"a":{}}{"a":{}}',
        b'{"a":{"b":{}}',
        b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
)
def test_anything_else_is_not(record):
    assert _verdict(record) == UNFIT


@pytest.mark.parametrize("record", [b'{"a":{}', b'{"a":"{}', b'{"a":[}', b"{,}"])
def test_what_cannot_end_early_may_be_left_to_arrow_to_refuse(record):
    assert _verdict(record) == JOINABLE


@pytest.mark.parametrize("record", [b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Inf}', b'{"a":"Info"}'])
def test_what_may_be_no_number_is_suspect(record):
    assert _verdict(record) == SUSPECT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", (1, True)),
        (b"{}[]", (1, False)),
        (b'{"a":[[{}]]}', (4, True)),
        (b'"[["', (0, False)),
        (b"{", (1, False)),
    ],
)
def test_nesting(text, expected):
    assert nesting(np.frombuffer(text, np.uint8), 0, len(text)) == expected
