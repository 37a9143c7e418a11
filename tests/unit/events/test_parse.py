"""Neighbours never matter; what the scanner accepts means what the reference says is in `test_scan`."""

import functools
import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.events.columns import columns_of
from worker.events.decode import Decoded, Decoder
from worker.events.features import Features
from worker.events.parse import Parser
from worker.learning import Learning

NOW = 1_700_000_000_000
LEARNING = Learning.model_validate(
    {
        "features": {
            "user": {},
            "item": {},
            "price": {"kind": "numeric", "transform": "log"},
            "tags": {"kind": "multi", "max_values": 3},
            "age": {},
            "years": {"kind": "numeric", "field": "age"},
            "user_tags": {"kind": "cross", "of": ["user", "tags"]},
        },
        "events": {"weight": "w"},
    }
)
COLUMNS = columns_of(LEARNING, labelled=True)
FIELDS = [*COLUMNS, "other", "", "\\u0075ser"]
PADDING = [
    json.dumps({"user": f"u{i}", "item": f"i{i}", "label": i % 2, "price": i / 7, "tags": ["a", f"t{i}"]}).encode()
    for i in range(150)
]

texts = st.text(max_size=4).map(json.dumps) | st.sampled_from(
    [
        '""',
        '"a"',
        '"é"',
        '"😀"',
        '"\\ud83d\\ude00"',
        '"\\ud800"',
        '"\\u0000"',
        '"}{"',
        '"\\"}"',
        '"Info"',
        '"NaN"',
        '"\n"',
    ]
)
EDGES = """
0 -0 -0.0 1 -1 0.5 01 1. +1 1e400 -1e400 0e400 1e-400 NaN Infinity Inf -NaN 1.7976931348623159e308 1.5e3
9223372036854775807 9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616
1700000000000
"""
numbers = (st.integers() | st.floats()).map(json.dumps) | st.sampled_from([*EDGES.split(), "9" * 400])
scalars = texts | numbers | st.sampled_from(["true", "false", "null"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: f"[{','.join(parts)}]")
        | inner.map(lambda part: f'{{"user":{part}}}')
    ),
    max_leaves=4,
)
usual = {
    "user": texts | st.just("null"),
    "item": st.integers(0, 9).map(str),
    "price": numbers,
    "tags": st.lists(texts | st.just("null"), max_size=4).map(lambda parts: f"[{','.join(parts)}]"),
    "age": st.integers(0, 99).map(str),
    "label": st.sampled_from(["0", "1", "true", "0.5"]),
    "time": st.sampled_from([str(NOW), "null", "0"]),
    "w": st.sampled_from(["1", "0.5", "null", "-1"]),
}


@st.composite
def records(draw) -> bytes:
    members = []
    for name in draw(st.lists(st.sampled_from(FIELDS), max_size=len(FIELDS))):
        value = draw(usual[name] if name in usual and draw(st.integers(0, 9)) else values)
        members.append(f'"{name}":{value}')
    end = draw(st.sampled_from(["}", "}", "}", "}\n", "} ", "}{}", "}null{}", "}\0}"]))
    return ("{" + ",".join(members) + end).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw) -> bytes | None:
    record = bytearray(draw(records()))
    at = draw(st.integers(0, len(record) - 1))
    junk = st.sampled_from([b"", b"\xff", b"\0", b"}", b'"', b"{", b"[", b",", b"\n"])
    record[at : at + draw(st.integers(0, 2))] = draw(junk)
    return bytes(record)


anything = records() | damaged() | st.none() | st.binary(max_size=4) | st.sampled_from([b"null", b"[]", b"{}"])


def _fates(decoded: Decoded, offset: int = 0) -> dict[int, tuple]:
    """Give all that is known of each record, bit for bit, by its position."""
    entries = Features(LEARNING).encode(decoded.table)
    fates: dict[int, tuple] = {offset + one.index: (one.reason, one.detail) for one in decoded.rejected}
    for row, index in enumerate(decoded.index.tolist()):
        starts = entries.starts[row * entries.fields : (row + 1) * entries.fields + 1]
        part = slice(starts[0], starts[-1])
        numbers = decoded.labels[row].tobytes() + decoded.weights[row].tobytes() + decoded.times[row].tobytes()
        layout = (starts - starts[0]).tobytes()
        fates[offset + index] = (numbers, layout, entries.keys[part].tobytes(), entries.values[part].tobytes())
    return fates


def _decode(decoder: Decoder, batch: list[bytes | None]) -> Decoded:
    return decoder.decode(batch, np.full(len(batch), NOW))


@functools.cache
def _alone(record: bytes | None) -> tuple:
    return _fates(_decode(Decoder(LEARNING), [record]))[0]


@settings(max_examples=100)
@given(st.data())
def test_neighbours_and_the_past_never_matter(data):
    # Given good and bad records among 150 good ones
    batch: list[bytes | None] = list(PADDING)
    for record in data.draw(st.lists(anything, min_size=1, max_size=12)):
        batch.insert(data.draw(st.integers(0, len(batch))), record)
    # When they are decoded alone, all at once, once more, and in two batches
    alone = {i: _alone(record) for i, record in enumerate(batch)}
    decoder = Decoder(LEARNING)
    together = _fates(_decode(decoder, batch))
    again = _fates(_decode(decoder, batch))
    cut = data.draw(st.integers(0, len(batch)))
    split = _fates(_decode(decoder, batch[:cut])) | _fates(_decode(decoder, batch[cut:]), cut)
    # Then each has one and the same fate
    assert together == alone
    assert again == alone
    assert split == alone


@settings(max_examples=20)
@given(st.lists(st.sampled_from([1, 2**63 - 1, 2**63, "1", "x", True, None]), min_size=65, max_size=200))
def test_mixed_categories_come_out_alike(users):
    batch = [json.dumps({"user": user, "label": 1}).encode() for user in users]
    assert _fates(_decode(Decoder(LEARNING), batch)) == {i: _alone(record) for i, record in enumerate(batch)}


def test_a_bad_record_does_not_send_its_neighbours_the_slow_way(monkeypatch):
    # Given a parser that counts what is asked of the reference
    parser = Parser(COLUMNS, 1_000_000)
    asked: list[int] = []
    reference = parser._ask_reference
    monkeypatch.setattr(parser, "_ask_reference", lambda v, index, p: (asked.extend(index), reference(v, index, p)))
    batch = PADDING * 20
    batch[1234] = b'{"label":{}}'
    # When one of 3,000 records is bad
    table, index, rejected = parser.parse(batch)
    # Then it alone was looked at once more
    assert [one.index for one in rejected] == [1234]
    assert len(index) == table.num_rows == 2999
    assert asked == [1234]


def test_large_batches_are_cut_by_size():
    # Given 200 records of half a megabyte
    record = b'{"label":1,"user":"' + b"u" * 500_000 + b'"}'
    table, index, rejected = Parser(COLUMNS, 1_000_000).parse([record] * 200)
    # Then all are there, from more than one call of the scanner
    assert index.tolist() == list(range(200))
    assert rejected == []
    assert table.column("user").num_chunks > 1
    assert set(pa.compute.utf8_length(table.column("user")).to_pylist()) == {500_000}
