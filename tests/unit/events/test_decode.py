"""The fate of single records and what they say; each case alone, and among enough others to go through Arrow."""

import json

import numpy as np
import pytest

from worker.errors import ConfigurationError
from worker.events.decode import Decoded, Decoder, Reason
from worker.learning import Learning

NOW = 1_700_000_000_000
GOOD = b'{"user":"u","item":"i","label":1,"time":1700000000000,"price":2.5,"tags":["a","b"]}'
FEATURES = {
    "user": {},
    "item": {},
    "price": {"kind": "numeric", "standardise": "off"},
    "tags": {"kind": "multi", "max_values": 3},
}


def _learning(features=FEATURES, model=None, **events) -> Learning:
    return Learning.model_validate({"features": features, "events": events, "model": model or {}})


def _decode(learning: Learning, records: list, *, timestamp: int = NOW, labelled: bool = True) -> Decoded:
    return Decoder(learning, labelled=labelled).decode(records, np.full(len(records), timestamp))


def _fate(record, *, timestamp: int = NOW, learning: Learning | None = None) -> Reason | None:
    """Tell why a record is rejected, None if it is not; the same alone and amid 200 others."""
    learning = learning or _learning()
    alone = _decode(learning, [record], timestamp=timestamp)
    amid = _decode(learning, [GOOD] * 100 + [record] + [GOOD] * 100, timestamp=timestamp)
    assert len(alone.index) + len(alone.rejected) == 1
    assert len(amid.index) + len(amid.rejected) == 201
    reasons = [one.reason for one in alone.rejected]
    assert [(one.index, one.reason) for one in amid.rejected if one.index == 100] == [(100, r) for r in reasons]
    assert all(one.index == 100 for one in amid.rejected)
    return reasons[0] if reasons else None


def _with(**fields) -> bytes:
    return json.dumps(json.loads(GOOD) | fields).encode()


def test_a_good_record():
    decoded = _decode(_learning(), [GOOD] * 100)
    assert decoded.index.tolist() == list(range(100))
    assert decoded.rejected == []
    assert decoded.table.slice(99).to_pylist() == [{"user": "u", "item": "i", "price": 2.5, "tags": ["a", "b"]}]
    for column, expected, kind in (
        (decoded.labels, 1, np.float32),
        (decoded.weights, 1, np.float32),
        (decoded.times, NOW, np.int64),
    ):
        assert column.tolist() == [expected] * 100
        assert column.dtype == kind


@pytest.mark.parametrize(("price", "reason"), [(b"1e39", None), (b"-1e308", None), (b"1e309", Reason.NOT_FINITE)])
def test_a_number_that_is_standardised_may_be_of_any_size(price, reason):
    learning = _learning({"price": {"kind": "numeric"}})
    assert _fate(GOOD.replace(b"2.5", price), learning=learning) is reason


def test_no_records():
    decoded = _decode(_learning(), [])
    assert len(decoded.index) == len(decoded.labels) == len(decoded.times) == decoded.table.num_rows == 0
    assert decoded.table.column_names == ["user", "item", "price", "tags"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, Reason.TOMBSTONE),
        (b"", Reason.EMPTY),
        (b" \n\t\r", Reason.EMPTY),
        (b"x" * 1_048_577, Reason.TOO_LARGE),
        (b'{"pad":"' + b"x" * 5_000_000 + b'"}', Reason.TOO_LARGE),
        (b"not json", Reason.NOT_JSON),
        (GOOD[:-1], Reason.NOT_JSON),
        (GOOD + GOOD, Reason.NOT_JSON),
        (GOOD + b"\n" + GOOD, Reason.NOT_JSON),
        (GOOD + b"null" + GOOD, Reason.NOT_JSON),
        (GOOD + b"\0" + GOOD, Reason.NOT_JSON),
        (GOOD + b"\0", Reason.NOT_JSON),
        (b"\xef\xbb\xbf" + GOOD, Reason.NOT_JSON),
        (GOOD.replace(b'"u"', b'"u\0"'), Reason.NOT_JSON),
        (GOOD.replace(b'"u"', b'"u\n"'), Reason.NOT_JSON),
        (GOOD.replace(b'"u"', b'"\\ud800"'), Reason.NOT_JSON),
        (GOOD.replace(b'"u"', b"u"), Reason.NOT_JSON),
        (GOOD.replace(b'"u"', b"01"), Reason.NOT_JSON),
        (GOOD.replace(b"}", b",}"), Reason.NOT_JSON),
        (GOOD.replace(b"2.5", b"Inf"), Reason.NOT_JSON),
        (GOOD.replace(b"2.5", b"-NaN"), Reason.NOT_JSON),
        (b"{}}", Reason.NOT_JSON),
        (b'{"user":{}', Reason.NOT_JSON),
        (b"null", Reason.NOT_OBJECT),
        (b"[" + GOOD + b"]", Reason.NOT_OBJECT),
        (b'"text"', Reason.NOT_OBJECT),
        (b"17", Reason.NOT_OBJECT),
        (GOOD.replace(b'"u"', b'"\xff"'), Reason.INVALID_UTF8),
        (GOOD.replace(b'"u"', b'"\xc3"'), Reason.INVALID_UTF8),
        (GOOD.replace(b'"u"', b'"\xed\xa0\x80"'), Reason.INVALID_UTF8),
        (GOOD.replace(b'"user"', b'"\xff":1,"user"'), Reason.INVALID_UTF8),
        (GOOD[:-1] + b',"deep":' + b"[" * 10_000 + b"]" * 10_000 + b"}", Reason.TOO_DEEP),
        (GOOD[:-1] + b',"deep":' + b'{"a":' * 512 + b"1" + b"}" * 513, Reason.TOO_DEEP),
        (b"[" * 10_000, Reason.TOO_DEEP),
        (_with(user=1.5), Reason.WRONG_TYPE),
        (_with(user={}), Reason.WRONG_TYPE),
        (_with(user=["a"]), Reason.WRONG_TYPE),
        (_with(user=2**64), Reason.WRONG_TYPE),
        (_with(label="1"), Reason.WRONG_TYPE),
        (_with(label=[]), Reason.WRONG_TYPE),
        (_with(time="2024-01-01"), Reason.WRONG_TYPE),
        (_with(time=True), Reason.WRONG_TYPE),
        (_with(price="2.5"), Reason.WRONG_TYPE),
        (_with(price=True), Reason.WRONG_TYPE),
        (_with(tags="a"), Reason.WRONG_TYPE),
        (_with(tags=[1.5]), Reason.WRONG_TYPE),
        (_with(tags=[["a"]]), Reason.WRONG_TYPE),
        (_with(label=None), Reason.LABEL_MISSING),
        (b"{}", Reason.LABEL_MISSING),
        (_with(label=1.5), Reason.LABEL_OUT_OF_RANGE),
        (_with(label=-1), Reason.LABEL_OUT_OF_RANGE),
        (_with(label=float("nan")), Reason.NOT_FINITE),
        (_with(label=float("inf")), Reason.NOT_FINITE),
        (_with(label=-float("inf")), Reason.NOT_FINITE),
        (GOOD.replace(b"2.5", b"1e400"), Reason.NOT_FINITE),
        (GOOD.replace(b"2.5", b"-1e400"), Reason.NOT_FINITE),
        (GOOD.replace(b"2.5", b"9" * 400), Reason.NOT_FINITE),
        (GOOD.replace(b"2.5", b"1.7976931348623159e308"), Reason.NOT_FINITE),
        (GOOD.replace(b"2.5", b"1e39"), Reason.NOT_FINITE),  # beyond single precision
        (GOOD.replace(b"1700000000000", b"1e400"), Reason.TIME_TOO_LATE),
        (_with(time=0), Reason.TIME_TOO_EARLY),
        (_with(time=-1), Reason.TIME_TOO_EARLY),
        (_with(time=631_151_999_999), Reason.TIME_TOO_EARLY),
        (_with(time=NOW + 86_400_001), Reason.TIME_TOO_LATE),
        (_with(time=1e300), Reason.TIME_TOO_LATE),
        (_with(tags=["a", "b", "c", "d"]), Reason.TOO_MANY_VALUES),
        (_with(tags=["a", None, None, None]), Reason.TOO_MANY_VALUES),
    ],
)
def test_rejected(record, reason):
    assert _fate(record) == reason


@pytest.mark.parametrize(
    "record",
    [
        json.dumps(json.loads(GOOD), indent=2).encode(),
        GOOD + b"\n",
        b"\r\n" + GOOD + b" \t",
        _with(user=None, item=None, price=None, tags=None),
        b'{"label":0}',
        b'{"label":0,"":1}',
        _with(tags=[]),
        _with(tags=[None, "a", None]),
        _with(label=True),
        _with(label=0.25),
        _with(time=None),
        _with(time=NOW + 86_400_000),
        _with(time=631_152_000_000),
        _with(user="a\x00b"),
        _with(user="😀"),
        _with(other={"deep": [{"er": None}]}),
        GOOD[:-1] + b',"deep":' + b"[" * 511 + b"]" * 511 + b"}",
        GOOD.replace(b'"user"', b'"user":1.5,"user"'),  # of a name given twice, the last counts
        GOOD[:-1] + b',"other":1,"other":"2"}',
        GOOD[:-1] + b',"other":NaN}',  # not read, so it does no harm
        GOOD[:-1] + b',"other":-Infinity}',
        GOOD[:-1] + b',"other":1e400}',
        GOOD[:-1] + b',"other":' + b"9" * 5000 + b"}",
        GOOD[:-1] + b',"other":"Information about NaN"}',
    ],
)
def test_accepted(record):
    assert _fate(record) is None


def test_every_reason_says_which_field_or_limit():
    records = [_with(user=1.5), _with(label=7), _with(time=5), _with(tags=["a"] * 4), b'{"a":"\xff"}']
    details = [one.detail for one in _decode(_learning(), records).rejected]
    assert details == [
        "user: float where string, integer or boolean is expected",
        "label: 7.0 is outside of 0 to 1",
        "time: 5 ms is before 1990-01-01T00:00:00Z",
        "feature tags: 4 values, 3 allowed",
        "byte 6: invalid start byte",
    ]


@pytest.mark.parametrize("sent", [123, "123"])
@pytest.mark.parametrize("count", [1, 100])
def test_an_integer_and_its_text_are_one_category(sent, count):
    decoded = _decode(_learning(), [_with(user=sent)] * count)
    assert [str(user) for user in decoded.table.column("user").to_pylist()] == ["123"] * count


def test_a_category_beyond_int64_keeps_its_digits():
    decoded = _decode(_learning(), [_with(user=2**64 - 1)] + [_with(user=5)] * 100)
    assert decoded.table.column("user").to_pylist() == [str(2**64 - 1)] + ["5"] * 100


def test_categories_are_texts_whatever_a_topic_sends():
    # Given a topic whose users are integers, tags lists of integers, and labels booleans
    decoder = Decoder(_learning())
    records = [_with(user=i, tags=[i], label=i % 2 == 0) for i in range(100)]
    # When a batch is decoded
    decoded = decoder.decode(records, np.full(100, NOW))
    # Then they are read as their texts
    assert [str(decoded.table.schema.field(name).type) for name in ("user", "item")] == ["string", "string"]
    assert decoded.table.column("tags").to_pylist() == [[str(i)] for i in range(100)]
    assert decoded.labels.tolist() == [1.0, 0.0] * 50
    # And when the topic turns to strings, they are strings
    turned = decoder.decode([GOOD] * 100, np.full(100, NOW))
    assert turned.table.column("user").to_pylist() == ["u"] * 100


def test_booleans_as_categories():
    decoded = _decode(_learning(), [_with(user=True)] * 100 + [_with(user=False)] * 100 + [_with(user="true")])
    texts = [str(user).lower() for user in decoded.table.column("user").to_pylist()]
    assert texts == ["true"] * 100 + ["false"] * 100 + ["true"]


@pytest.mark.parametrize("label", [-3.5, 0, 1e30])
def test_squared_loss_takes_any_finite_label(label):
    learning = _learning(model={"loss": "squared"})
    assert _fate(_with(label=label), learning=learning) is None
    assert _decode(learning, [_with(label=label)]).labels.tolist() == [np.float32(label)]


@pytest.mark.parametrize("label", ["1e39", "1e400", "NaN"])
def test_squared_loss_refuses_a_label_that_is_not_finite(label):
    record = GOOD.replace(b'"label":1', f'"label":{label}'.encode())
    assert _fate(record, learning=_learning(model={"loss": "squared"})) == Reason.NOT_FINITE


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(0.5, 0.5), (0, 0.0), (None, 1.0), (-1, Reason.WEIGHT_OUT_OF_RANGE), (1e39, Reason.NOT_FINITE)],
)
def test_weights(weight, expected):
    learning = _learning(weight="w")
    record = _with(w=weight)
    if isinstance(expected, Reason):
        assert _fate(record, learning=learning) == expected
    else:
        assert _fate(record, learning=learning) is None
        assert _decode(learning, [record, GOOD]).weights.tolist() == [expected, 1.0]


@pytest.mark.parametrize(
    ("unit", "time", "expected"),
    [
        ("ms", 1_699_999_999_999, 1_699_999_999_999),
        ("ms", 1_699_999_999_999.6, 1_700_000_000_000),
        ("s", 1_700_000_000, 1_700_000_000_000),
        ("s", 1_700_000_000.25, 1_700_000_000_250),
        ("s", 1_700_000_000.123, 1_700_000_000_123),
        ("us", 1_700_000_000_123_456, 1_700_000_000_123),
        ("us", 1_700_000_000_123_999, 1_700_000_000_124),
    ],
)
def test_time_units(unit, time, expected):
    assert _decode(_learning(time_unit=unit), [_with(time=time)]).times.tolist() == [expected]


def test_a_missing_time_is_that_of_the_record():
    record = _with(time=None)
    assert _decode(_learning(), [record], timestamp=NOW - 5).times.tolist() == [NOW - 5]
    assert _fate(record, timestamp=NOW - 5) is None
    assert _decode(_learning(), [record], timestamp=-1).rejected[0].reason == Reason.TIME_MISSING
    assert _decode(_learning(), [record], timestamp=5).rejected[0].reason == Reason.TIME_TOO_EARLY


def test_an_unknown_record_time_sets_no_limit():
    assert _fate(_with(time=NOW * 2), timestamp=-1) is None
    assert _fate(_with(time=NOW * 2), timestamp=NOW) == Reason.TIME_TOO_LATE
    assert _fate(_with(time=2**53), timestamp=-1) == Reason.TIME_TOO_LATE


def test_scoring_reads_features_only():
    # Given records whose label, time and weight are absent or nonsense
    records = [b'{"user":"u"}', b'{"user":"u","label":"x","time":"x","w":"x"}', b'{"user":1.5}'] * 50
    # When they are decoded without labels
    decoded = _decode(_learning(weight="w"), records, timestamp=-1, labelled=False)
    # Then only a wrong feature matters
    assert decoded.index.tolist() == [i for i in range(150) if i % 3 < 2]
    assert {one.reason for one in decoded.rejected} == {Reason.WRONG_TYPE}
    assert decoded.labels.tolist() == [0.0] * 100
    assert decoded.weights.tolist() == [1.0] * 100


def test_scoring_tells_the_partition_key_that_is_no_feature():
    learning = _learning({"item": {}}, partition_key="user")
    assert _decode(learning, [GOOD], labelled=False).table["user"].to_pylist() == ["u"]
    assert _decode(learning, [GOOD]).table.column_names == ["item"]


def test_label_time_and_weight_may_be_features_too():
    features = {"label": {"kind": "numeric"}, "hour": {"kind": "numeric", "field": "time"}, "w": {"kind": "numeric"}}
    decoded = _decode(_learning(features, weight="w"), [_with(w=2)] * 100)
    assert decoded.table.slice(99).to_pylist() == [{"label": 1.0, "time": float(NOW), "w": 2.0}]
    assert decoded.weights.tolist() == [2.0] * 100


def test_a_field_used_as_category_and_as_number_takes_integers_only():
    learning = _learning({"age": {}, "years": {"kind": "numeric", "field": "age"}})
    assert _decode(learning, [_with(age=30)] * 100).table.column("age").to_pylist() == [30] * 100
    assert _decode(learning, [_with(age=30.0)]).rejected[0].reason == Reason.WRONG_TYPE
    assert _decode(learning, [_with(age="30")]).rejected[0].reason == Reason.WRONG_TYPE


def test_more_records_than_one_chunk_keep_their_order():
    records = [_with(user=f"u{i}") for i in range(17_000)]
    records[16_500] = b"bad"
    decoded = _decode(_learning(), records)
    assert decoded.table.column("user").to_pylist() == [f"u{i}" for i in range(17_000) if i != 16_500]
    assert [one.index for one in decoded.rejected] == [16_500]


def test_the_earliest_time_has_a_zone():
    learning = _learning(earliest_time="2023-11-14T01:00:00+01:00")
    assert _fate(_with(time=1_699_920_000_000), learning=learning) is None
    assert _fate(_with(time=1_699_919_999_999), learning=learning) == Reason.TIME_TOO_EARLY


def test_uses_that_exclude_each_other_are_refused():
    with pytest.raises(ConfigurationError, match="'user' is read as category and as list"):
        Decoder(_learning({"user": {}, "days": {"kind": "multi", "field": "user"}}))
