"""Records: what goes in comes out, bit for bit; what was changed on the way is found out."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.model.forgetting import NEVER
from worker.model.ledger import Contribution
from worker.model.rows import FACTORS, Rows
from worker.snapshot.columns import decode, encode
from worker.snapshot.records import (
    FORMAT,
    Kind,
    Record,
    checksum,
    contribution_bytes,
    decode_contribution,
    decode_ledger,
    decode_rows,
    encode_contribution,
    encode_ledger,
    encode_rows,
    entry_bytes,
    read,
    row_bytes,
    rows_per_record,
    split,
)


@st.composite
def some_rows(draw) -> Rows:
    n, factors = draw(st.integers(0, 20)), draw(st.sampled_from([0, 1, 4, 16]))
    times = st.one_of(st.just(int(NEVER)), st.integers(-(2**62), 2**62))
    return Rows(
        keys=draw(arrays.arrays(np.uint64, n)),
        seen=np.array(draw(st.lists(times, min_size=n, max_size=n)), np.int64),
        # any bits that are a number: subnormal ones and minus zero among them
        parameters=draw(
            arrays.arrays(np.float32, (n, FACTORS + factors), elements=st.floats(width=32, allow_nan=False))
        ),
    )


def same(one: Rows, other: Rows) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ("keys", "seen", "parameters")
    )


@given(some_rows())
def test_rows_come_back_bit_for_bit(rows):
    factors = rows.parameters.shape[1] - FACTORS
    back = decode_rows(encode_rows(rows), factors)
    assert same(rows, back)
    assert back.keys.dtype == np.uint64
    assert back.parameters.dtype == np.float32


@pytest.mark.parametrize("columns", [("weight",), ("weight", "z", "n")])
def test_rows_of_other_numbers_come_back_and_are_not_taken_for_those_of_another_kind(columns):
    parameters = np.arange(2 * len(columns), dtype=np.float32).reshape(2, -1)
    rows = Rows(keys=np.array([1, 2], np.uint64), seen=np.array([NEVER, 5]), parameters=parameters, columns=columns)
    value = encode_rows(rows)
    back = decode_rows(value, 0, columns)
    assert same(rows, back)
    assert back.columns == columns
    assert back[1:].columns == columns
    with pytest.raises(CorruptSnapshotError, match="no column 'weight_precision'"):
        decode_rows(value, 0)


@st.composite
def some_contributions(draw, n: int, width: int) -> Contribution:
    times = st.one_of(st.just(int(NEVER)), st.integers(-(2**62), 2**62))
    return Contribution(
        keys=draw(arrays.arrays(np.uint64, n)),
        seen=np.array(draw(st.lists(times, min_size=n, max_size=n)), np.int64),
        amounts=draw(arrays.arrays(np.int64, (n, width))),
    )


def equal(one: Contribution, other: Contribution) -> bool:
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ("keys", "seen", "amounts"))


@given(st.data(), st.integers(0, 20), st.sampled_from([0, 1, 4, 16]))
def test_contributions_and_ledgers_come_back_to_the_unit(data, n, factors):
    own, merged = (data.draw(some_contributions(n, FACTORS + factors)) for _ in range(2))
    assert equal(decode_contribution(encode_contribution(own), factors), own)
    back = decode_ledger(encode_ledger(replace(own, keys=merged.keys), merged), factors)
    assert equal(back[0], replace(own, keys=merged.keys))
    assert equal(back[1], merged)


def test_contributions_and_ledgers_are_arrow_streams_that_say_what_they_are():
    contribution = Contribution(
        keys=np.array([1], np.uint64), seen=np.array([NEVER]), amounts=np.array([[1, 2, 3, 4]], np.int64)
    )
    time, amounts = pa.timestamp("ms", "UTC"), pa.list_(pa.int64(), 4)
    table = pa.ipc.open_stream(encode_contribution(contribution)).read_all()
    assert table.schema == pa.schema([("key", pa.uint64()), ("seen", time), ("amounts", amounts)])
    assert table.to_pylist() == [{"key": 1, "seen": None, "amounts": [1, 2, 3, 4]}]
    table = pa.ipc.open_stream(encode_ledger(contribution, contribution)).read_all()
    assert table.schema == pa.schema(
        [("key", pa.uint64()), ("seen", time), ("own_seen", time), ("own", amounts), ("merged", amounts)]
    )


def test_a_contribution_of_another_size_is_refused():
    contribution = Contribution(
        keys=np.zeros(1, np.uint64), seen=np.zeros(1, np.int64), amounts=np.zeros((1, 7), np.int64)
    )
    with pytest.raises(IncompatibleDataError, match="as amounts, not 11 integers"):
        decode_contribution(encode_contribution(contribution), 8)
    with pytest.raises(IncompatibleDataError, match="as own, not 11 integers"):
        decode_ledger(encode_ledger(contribution, contribution), 8)


def test_rows_are_an_arrow_stream_that_says_what_it_is():
    rows = Rows(
        keys=np.array([1, 2**64 - 1], np.uint64),
        seen=np.array([NEVER, 1_735_689_600_000]),
        parameters=np.arange(10, dtype=np.float32).reshape(2, 5),
    )
    table = pa.ipc.open_stream(io.BytesIO(encode_rows(rows))).read_all()
    assert table.schema == pa.schema(
        [
            ("key", pa.uint64()),
            ("seen", pa.timestamp("ms", "UTC")),
            ("route", pa.int64()),
            ("weight", pa.float32()),
            ("weight_precision", pa.float32()),
            ("factor_precision", pa.float32()),
            ("factors", pa.list_(pa.float32(), 2)),
        ]
    )
    assert table["key"].to_pylist() == [1, 2**64 - 1]
    assert [None if seen is None else seen.year for seen in table["seen"].to_pylist()] == [None, 2025]
    assert table["factors"].to_pylist() == [[3, 4], [8, 9]]


@given(st.integers(0, 30), st.integers(1, 10))
def test_pieces_are_the_whole(n, per_record):
    rows = Rows(
        keys=np.arange(n, dtype=np.uint64),
        seen=np.arange(n),
        parameters=np.arange(3 * n, dtype=np.float32).reshape(n, 3),
    )
    pieces = list(split(rows, per_record))
    assert all(0 < len(piece) <= per_record for piece in pieces)
    assert np.concatenate([np.empty(0, np.uint64), *(piece.keys for piece in pieces)]).tolist() == rows.keys.tolist()


@pytest.mark.parametrize("factors", [0, 16, 256])
@pytest.mark.parametrize("limit", [16_384, 1_048_588])
def test_a_record_of_as_many_rows_as_are_promised_stays_below_the_limit(factors, limit):
    n = rows_per_record(row_bytes(factors), limit)
    rows = Rows(
        keys=np.arange(n, dtype=np.uint64),
        seen=np.where(np.arange(n) % 2, NEVER, 0),
        parameters=np.ones((n, FACTORS + factors), np.float32),
    )
    assert size(record_of(Kind.ROWS, encode_rows(rows))) <= limit
    assert (n + 1) * row_bytes(factors) + 8_192 > limit, "and it is not wasted"


@pytest.mark.parametrize("factors", [0, 16, 256])
@pytest.mark.parametrize("limit", [16_384, 1_048_588])
@pytest.mark.parametrize(
    ("kind", "bytes_of", "encoded"),
    [
        (Kind.CONTRIBUTION, contribution_bytes, encode_contribution),
        (Kind.LEDGER, entry_bytes, lambda added: encode_ledger(added, added)),
    ],
)
def test_a_record_of_as_much_added_as_is_promised_stays_below_the_limit(factors, limit, kind, bytes_of, encoded):
    n = rows_per_record(bytes_of(factors), limit)
    added = Contribution(
        keys=np.arange(n, dtype=np.uint64),
        seen=np.where(np.arange(n) % 2, NEVER, 0),
        amounts=np.ones((n, FACTORS + factors), np.int64),
    )
    assert size(record_of(kind, encoded(added))) <= limit
    assert (n + 1) * bytes_of(factors) + 8_192 > limit, "and it is not wasted"


def size(record: Record) -> int:
    headers = sum(len(name) + len(value) + 10 for name, value in record.headers)
    return len(record.value) + len(record.key) + headers + 100


def test_a_topic_whose_records_hold_no_row_is_refused():
    with pytest.raises(IncompatibleDataError, match=r"max\.message\.bytes = 9000 .* raise it"):
        rows_per_record(row_bytes(256), 9_000)


def record_of(kind: Kind, value: bytes, **changes) -> Record:
    given = {"kind": kind, "model": "m", "shard": 3, "version": 7, "sequence": 2, "value": value}
    return Record(**{**given, "checksum": checksum(value), **changes})


@pytest.mark.parametrize("kind", list(Kind))
def test_a_record_is_read_as_it_was_written(kind):
    record = record_of(kind, b"some bytes")
    assert read(record.value, record.headers) == record


def test_keys_address_records():
    assert record_of(Kind.ROWS, b"").key == b"m/3/7/2"
    assert record_of(Kind.MANIFEST, b"").key == b"m/3/7/manifest"


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_is_found(value, data):
    record = record_of(Kind.ROWS, value)
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    flipped = bytearray(value)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptSnapshotError, match=r"record 2 \(rows\) of version 7 of shard 3 .* bytes were changed"):
        read(bytes(flipped), record.headers)


def test_a_value_that_is_gone_is_found():
    with pytest.raises(CorruptSnapshotError, match="bytes were changed"):
        read(None, record_of(Kind.ROWS, b"x").headers)


def changed(record: Record, name: str, content: bytes | None) -> list:
    return [(header, content if header == name else value) for header, value in record.headers]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("headrace-kind", b"rews"),
        ("headrace-kind", b"\xff"),
        ("headrace-shard", b"three"),
        ("headrace-version", None),
        ("headrace-sequence", b""),
        ("headrace-checksum", b"\xff"),
    ],
)
def test_a_damaged_header_is_found(name, content):
    record = record_of(Kind.ROWS, b"x")
    with pytest.raises(CorruptSnapshotError, match="damaged header"):
        read(record.value, changed(record, name, content))


@pytest.mark.parametrize("headers", [None, [], [("content-type", b"text/plain")], [("headrace-format", None)]])
def test_a_record_that_is_not_ours_is_refused(headers):
    with pytest.raises(IncompatibleDataError, match="who else writes there") as caught:
        read(b"hello", headers)
    assert caught.value.exit_code == 4


def test_a_format_that_is_not_known_is_refused():
    record = record_of(Kind.ROWS, b"x")
    with pytest.raises(IncompatibleDataError, match=rf"format 2, this release reads {FORMAT}: upgrade") as caught:
        read(record.value, changed(record, "headrace-format", b"2"))
    assert not isinstance(caught.value, CorruptSnapshotError)


@pytest.mark.parametrize("value", [b"", b"no arrow", encode({"other": pa.array([1])})])
def test_what_is_no_stream_of_the_needed_columns_is_refused(value):
    with pytest.raises(CorruptSnapshotError):
        decode(value, {"key": None})


def test_rows_of_another_size_are_refused():
    rows = Rows(keys=np.zeros(1, np.uint64), seen=np.zeros(1, np.int64), parameters=np.zeros((1, 7), np.float32))
    with pytest.raises(IncompatibleDataError, match="not 8 numbers"):
        decode_rows(encode_rows(rows), 8)
    without = Rows(keys=rows.keys, seen=rows.seen, parameters=rows.parameters[:, :FACTORS])
    with pytest.raises(CorruptSnapshotError, match="no column 'factors'"):
        decode_rows(encode_rows(without), 4)
