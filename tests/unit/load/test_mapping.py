import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ConfigurationError
from worker.load.mapping import EventMapping, LabelRule, Mapper


def event(row: dict[str, object], mapping: EventMapping | None = None, time_unit: str = "ms") -> dict[str, object]:
    return Mapper(mapping or EventMapping(), label="label", time="time", time_unit=time_unit).event(row)


@pytest.mark.parametrize(
    ("text", "column", "comparison", "value"),
    [
        ("rating>=4", "rating", ">=", 4.0),
        (" rating >= 4 ", "rating", ">=", 4.0),
        ("rating>3.5", "rating", ">", 3.5),
        ("delta<=-1e-3", "delta", "<=", -0.001),
        ("n<.5", "n", "<", 0.5),
        ("n==0", "n", "==", 0.0),
        ("n!=+7", "n", "!=", 7.0),
        ("watch time (s)>30", "watch time (s)", ">", 30.0),
        ("action=='add to cart'", "action", "==", "add to cart"),
        ("action != ''", "action", "!=", ""),
    ],
)
def test_label_rules_that_can_be_read(text: str, column: str, comparison: str, value: float | str) -> None:
    assert LabelRule.parse(text) == LabelRule(column=column, comparison=comparison, value=value)


@pytest.mark.parametrize(
    "text",
    [
        "", "rating", "rating>=", ">=4", "rating=>4", "rating=4", "rating>=four", "rating>=4 and x>1", "rating>=4;x",
        "__import__('os').system('true')", "rating>=1e999999x", "1<rating<5", "action>='a'", "rating>=0x10", "a=='b",
        "rating>=nan", "rating>=inf",
    ],
)  # fmt: skip
def test_label_rules_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="rating>=4"):
        LabelRule.parse(text)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_rule_compares_as_numbers_do(limit: float, cell: float) -> None:
    outcomes = {
        comparison: LabelRule.parse(f"x{comparison}{limit!r}").label(cell) for comparison in (">=", "<", "==", "!=")
    }
    assert outcomes == {">=": cell >= limit, "<": cell < limit, "==": cell == limit, "!=": cell != limit}


@pytest.mark.parametrize("cell", ["high", [4], {"stars": 4}])
def test_a_rule_refuses_what_it_cannot_compare(cell: object) -> None:
    mapping = EventMapping(label=LabelRule.parse("rating>=4"))
    with pytest.raises(ValueError, match="column 'rating'"):
        event({"rating": cell}, mapping)


def test_without_a_mapping_a_row_stays_as_it_is_less_what_is_missing() -> None:
    row = {"user": "u1", "item": 7, "label": True, "price": 1.5, "tags": ["a", 2], "none": None, "nan": float("nan"),
           "infinite": float("inf"), "empty": ""}  # fmt: skip
    assert event(row) == {"user": "u1", "item": 7, "label": True, "price": 1.5, "tags": ["a", 2], "empty": ""}


def test_a_rename_uses_its_column_up_and_may_serve_twice() -> None:
    row = {"userId": 5, "movieId": 6, "rating": 4.5}
    mapping = EventMapping(
        sources={"user": "userId", "buddy": "userId", "item": "movieId"}, label=LabelRule.parse("rating>=4")
    )
    assert event(row, mapping) == {"user": 5, "buddy": 5, "item": 6, "label": 1}
    kept = EventMapping(sources={"rating": "rating"}, label=LabelRule.parse("rating>=4"))
    assert event(row, kept) == {"userId": 5, "movieId": 6, "rating": 4.5, "label": 1}


def test_only_names_the_fields_that_are_sent() -> None:
    mapping = EventMapping(sources={"user": "u"}, only=("user", "item"), label=LabelRule.parse("rating>=4"))
    assert event({"u": 1, "item": 2, "rating": 3, "zip": "9"}, mapping) == {"user": 1, "item": 2, "label": 0}


def test_fields_swap_their_columns() -> None:
    assert event({"a": 1, "b": 2}, EventMapping(sources={"a": "b", "b": "a"})) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("string", 12, "12"), ("string", True, "true"), ("string", "x", "x"),
        ("integer", "12", 12), ("integer", 12.0, 12), ("integer", 12, 12),
        ("number", "1.5", 1.5), ("number", 2, 2.0),
        ("boolean", "Yes", True), ("boolean", 0, False), ("boolean", False, False),
        ("s", 881250949, 881250949000), ("s", "881250949.25", 881250949250), ("s", 0.0014, 1),
        ("ms", 12, 12), ("us", 1999, 1),
    ],
)  # fmt: skip
def test_types_convert(kind: str, cell: object, expected: object) -> None:
    converted = event({"x": cell}, EventMapping(types={"x": kind}))["x"]
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("integer", "1.5"), ("integer", 1.5), ("number", "a"), ("number", "nan"), ("boolean", "maybe"), ("s", "soon"),
     ("string", ["a"])],
)  # fmt: skip
def test_types_refuse_what_they_are_not(kind: str, cell: object) -> None:
    with pytest.raises(ValueError, match="column 'x'"):
        event({"x": cell}, EventMapping(types={"x": kind}))


@pytest.mark.parametrize(
    ("cell", "unit", "expected"),
    [
        (1735689600000, "ms", 1735689600000),
        ("1735689600000", "ms", 1735689600000),
        (1735689600000.0, "ms", 1735689600000),
        ("2025-01-01T00:00:00Z", "ms", 1735689600000),
        ("2025-01-01 00:00:00", "s", 1735689600),
        ("2025-01-01T01:00:00+01:00", "us", 1735689600000000),
        ("2025-01-01 00:00:00.123456789", "us", 1735689600123456),
        ("1969-12-31T23:59:59.9999Z", "ms", -1),
    ],
)
def test_times_are_numbers_or_iso_8601(cell: object, unit: str, expected: int) -> None:
    assert event({"time": cell}, time_unit=unit) == {"time": expected}


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'when'.*2025-01-31T12:00:00Z"):
        event({"when": "yesterday"}, EventMapping(sources={"time": "when"}))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("a|b", ["a", "b"]), (" a | |b|", ["a", "b"]), ("", []), ("a", ["a"]), (["a|b"], ["a|b"]), (3, ["3"])],
)
def test_a_text_is_split_into_a_list(cell: object, expected: list[str]) -> None:
    assert event({"genres": cell}, EventMapping(splits={"genres": "|"})) == {"genres": expected}


@pytest.mark.parametrize("cell", [{"os": "linux"}, [1.5], [["a"]], [None], b"bytes"])
def test_what_no_event_may_hold_is_refused(cell: object) -> None:
    with pytest.raises(ValueError, match="column 'x'"):
        event({"x": cell})


@pytest.mark.parametrize(
    "mapping",
    [{"types": {"x": "float"}}, {"types": {"x": "string"}, "splits": {"x": "|"}}, {"splits": {"x": ""}}],
)
def test_a_mapping_that_contradicts_itself_is_refused(mapping: dict[str, dict[str, str]]) -> None:
    with pytest.raises(ConfigurationError, match="'x'"):
        EventMapping(**mapping)
