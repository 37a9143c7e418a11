"""What the scanner calls plain means what the reference says; whatever else stands around it, it reads no further."""

import json
import struct
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.events.test_parse import COLUMNS, anything, records
from worker.events.record import parse
from worker.events.rejects import RejectError
from worker.events.scanned import Scanner, join

USUAL = [
    b'{"user":"u1","item":17,"label":1,"time":1700000000000,"price":2.5,"tags":["a","b"],"age":30,"w":1}',
    b'{"user": "u2", "item": true, "label": false, "price": -1e-7, "tags": [], "age": -5, "other": {"a": [1, {}]}}',
    b'{"label":0.25,"user":null,"note":"a \\"quoted\\" \\ud83d\\ude00 text","other":[[],{"b":null}],"tags":[1,null]}',
    '{"user":"Анна","item":"寿司","label":1,"tags":["é","😀",""],"price":0.1234567890123456}'.encode(),
]


def _scan(batch: list[bytes]) -> dict[int, list[object]]:
    """Give the values of the plain ones of these records by number."""
    table, plain = Scanner(list(COLUMNS.values())).scan(join(batch), np.array([len(one) for one in batch], np.int64))
    table.validate(full=True)
    assert [str(field.type) for field in table.schema] == [str(column.type) for column in COLUMNS.values()]
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return dict(zip(plain.tolist(), map(list, rows), strict=True))


def _reference(record: bytes) -> list[object] | None:
    try:
        parsed = parse(record, 1_000_000)
        return [column.convert(parsed.get(column.name)) for column in COLUMNS.values()]
    except RejectError:
        return None


def _bits(values: list[object] | None) -> list[object] | None:
    """Make doubles comparable bit for bit; the sign of 0 says nothing."""
    return values and [struct.pack("d", value + 0.0) if isinstance(value, float) else value for value in values]


def _agrees(batch: list[bytes]) -> dict[int, list[object]]:
    found = _scan(batch)
    for number, values in found.items():
        assert _bits(values) == _bits(_reference(batch[number])), batch[number]
    return found


def test_usual_records_are_plain():
    # Given records of several makes, among them some whose keys come and go
    batch = USUAL * 5
    # Then all of them are plain
    assert list(_agrees(batch)) == list(range(len(batch)))


@settings(max_examples=500)
@given(st.lists(anything.filter(bool), min_size=1, max_size=6))
@example([b'{"label":1', b',"user":2}'])
@example([b'{"label":1,"user":"a"}', b'{"label":1', b',"user":"b"}'])
@example([b'{"label":1\n,"user":"a"}', b'{"label":2', b',"user":"b"}'])
@example([b'{"tags":[1,', b"2]}"])
@example([b'{"other":[', b"1]}"])
@example([b'{"user":"a', b'b"}', b'{"user":"\\', b'u0041"}'])
def test_what_is_plain_means_what_the_reference_says(batch):
    _agrees(batch)


@settings(max_examples=500)
@given(st.sampled_from(USUAL), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2), st.binary(max_size=3))))
def test_spoilt_bytes_do_not_mislead_it(record, spoils):
    # Given a usual record, spoilt, and one behind it that goes the way of the record before
    spoilt = bytearray(record)
    for at, cut, junk in spoils:
        place = at % (len(spoilt) + 1)
        spoilt[place : place + cut] = junk
    found = _agrees([record, bytes(spoilt) or b" ", record])
    # Then its neighbours are as they were
    assert {0, 2} <= found.keys()
    assert found[2] == found[0]


JUNK = [
    b"",
    b'"',
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"0",
    b"-",
    b".",
    b"e",
    b"\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b" ",
]


@pytest.mark.parametrize("record", USUAL)
def test_every_byte_of_a_usual_record_counts(record):
    # Given a record in which, byte by byte, each is left out, or another one stands there or before it
    batch = [record[:at] + junk + record[at + cut :] for at in range(len(record)) for junk in JUNK for cut in (0, 1)]
    batch.append(record)
    # Then what is still plain means what the reference says
    assert len(batch) - 1 in _agrees(batch)


@settings(max_examples=300)
@given(st.lists(records(), min_size=1, max_size=4))
def test_plain_is_what_most_of_the_accepted_are(batch):
    # Given records that the reference accepts, and that have no second key, escaped key or number beyond what is known
    for number, record in enumerate(batch):
        if _reference(record) is None or b"\\u0075" in record or record.count(b'"') > 60:
            continue
        try:
            pairs: list[tuple[str, object]] = json.loads(record, object_pairs_hook=list)
        except ValueError:
            continue
        names = [name for name, _ in pairs]
        numbers = [value for _, value in pairs if isinstance(value, int | float)]
        if len(set(names)) < len(names) or not names or any(abs(value) >= 2**53 for value in numbers):
            continue
        if b"NaN" in record or b"Infinity" in record or b"1e-400" in record:
            continue
        if any(0 < abs(value) < sys.float_info.min for value in numbers):  # with fewer bits than all others have
            continue
        # Then they are plain
        assert number in _scan(batch), record


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_numbers_are_the_nearest_doubles(value):
    batch = [f'{{"price":{text}}}'.encode() for text in (repr(value), f"{value:.17e}", f"{value:.3e}", f"{value:.18g}")]
    _agrees(batch)


def test_nearly_all_doubles_are_known():
    # Given doubles with the 17 digits that tell them apart, and fractions of powers of 2, which may be halfway
    rng = np.random.default_rng(0)
    values = rng.standard_normal(5_000) * 10.0 ** rng.integers(-290, 290, 5_000)
    fractions = rng.integers(0, 2**50, 5_000) * 0.5 ** rng.integers(0, 28, 5_000)
    values = [f"{value:.16e}" for value in values.tolist()] + [repr(value) for value in fractions.tolist()]
    batch = [f'{{"price":{value}}}'.encode() for value in values]
    # Then none of them is left to the reference
    assert len(_agrees(batch)) == len(batch)


HALVES = [
    "9007199254740993", "9007199254740992.5", "1.00000000000000011102230246251565", "8.5e22", "5e-324", "1e23",
    "2.2250738585072014e-308", "2.2250738585072011e-308", "1.7976931348623157e308", "1.7976931348623159e308",
    "123456789012345678e-30", "9223372036854775807", "9223372036854775808", "18446744073709551615", "0e999", "0.0e-5",
    "10.00000000000000000001", "0.00000000000000000000", "0.00000000000000000001", "0.0000123456789012345678",
    "0.00001234567890123456789", "10.000000000000000000", "00.1", "0.10000000000000000000000000001",
    "18446744073709551616", "0.500000000000000166533453693773481063544750213623046875",
]  # fmt: skip


@pytest.mark.parametrize("text", HALVES)
@pytest.mark.parametrize("sign", ["", "-"])
def test_numbers_between_doubles(text, sign):
    _agrees([f'{{"price":{sign}{text},"age":{sign}{text},"user":{sign}{text}}}'.encode()])
    _agrees([f'{{"price":{sign}{text}}}'.encode()])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("0", True), ("-0", True), ("18446744073709551615", True), ("18446744073709551616", False),
        ("-9223372036854775808", True), ("-9223372036854775809", False), ("99999999999999999999", False),
        ("19999999999999999999", False), ("10000000000000000000", True), ("1.0", False), ("1e2", False),
        ("01", False), ("-", False), ("--1", False), ("1" * 40, False), ("true", True), ("tru", False), ("nul", False),
        ('"\\u00e9\\n\\/"', True), ('"\\ud83d\\ude00"', True), ('"\\ud83d"', False), ('"\\ude00"', False),
        ('"\\x"', False), ('"\t"', False), ('"' + "long " * 40 + '"', True), ("[]", False), ("{}", False),
    ],
)  # fmt: skip
def test_categories(text, plain):
    record = f'{{"label":1,"user":{text}}}'.encode()
    assert (0 in _agrees([record])) == plain
    assert (1 in _agrees([b'{"label":1,"user":"u"}', record])) == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("[]", True), ("{}", True), ("[1,[2,{}],null]", True), ('{"a":{"b":[{"c":"}"}]},"d":1e400}', True),
        ("[1,]", False), ("[,1]", False), ("[1 2]", False), ("{1:2}", False), ('{"a"}', False), ('{"a":}', False),
        ('{"a":1,}', False), ("[1}", False), ('{"a":1]', False), ("[", False), ("]", False), ("[NaN]", False),
        ("[" * 32 + "]" * 32, True), ("[" * 33 + "]" * 33, False), ("9" * 5000, True),
        ('"' + "\\\\" * 100 + '"', True), ('"\\u12x4"', False), ("[ ]", True), ('{ "a" : [ 1 , 2 ] }', True),
    ],
)  # fmt: skip
def test_what_nobody_reads_is_held_to_be_json(text, plain):
    record = f'{{"other":{text},"label":1}}'.encode()
    assert (0 in _agrees([record])) == plain


def test_a_key_given_twice_is_not_plain_where_it_is_read():
    assert list(_agrees([b'{"user":1,"user":2}', b'{"x":1,"x":2}', b'{"user":null,"user":"a"}'])) == [1]


def test_more_keys_than_can_be_remembered():
    # Given records of which each has 1,000 keys of its own beside those that are read
    noise = ",".join(f'"key {number}":{number}' for number in range(1000))
    batch = [f'{{{noise},"user":"u{number}",{noise.replace("key", f"k{number}")}}}'.encode() for number in range(5)]
    # Then all are read
    assert [values[0] for values in _agrees(batch).values()] == [f"u{number}" for number in range(5)]


def test_no_records_and_no_columns():
    assert _scan([]) == {}
    table, plain = Scanner([]).scan(join([b'{"a":1}', b"{"]), np.array([7, 1]))
    assert table.num_columns == 0
    assert plain.tolist() == [0]
