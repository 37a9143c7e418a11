import pytest

from worker.errors import ConfigurationError
from worker.events.columns import Column, columns_of
from worker.events.rejects import Reason, RejectError
from worker.learning import Learning


def _uses(features: dict, *, labelled: bool = True, **events) -> dict[str, str]:
    learning = Learning.model_validate({"features": features, "events": events})
    return {name: column.use for name, column in columns_of(learning, labelled=labelled).items()}


def test_a_field_is_read_once_however_many_features_use_it():
    features = {
        "age": {"kind": "numeric"},
        "age_band": {"kind": "numeric", "field": "age", "transform": "buckets", "edges": [18, 65]},
        "tags": {"kind": "multi"},
        "user": {},
        "user_age": {"kind": "cross", "of": ["user", "age_band"]},
    }
    assert _uses(features, weight="w") == {
        "age": "number",
        "tags": "list",
        "user": "category",
        "label": "label",
        "time": "number",
        "w": "number",
    }
    assert _uses(features, labelled=False, weight="w") == {"age": "number", "tags": "list", "user": "category"}


def test_the_partition_key_of_an_event_to_score_is_read_whether_it_is_a_feature_or_not():
    assert _uses({"item": {}}, labelled=False, partition_key="shop") == {"item": "category", "shop": "category"}
    assert "shop" not in _uses({"item": {}}, partition_key="shop")


def test_a_field_with_several_uses_accepts_what_all_accept():
    assert _uses({"time": {"kind": "numeric"}})["time"] == "number"
    assert _uses({"label": {"kind": "numeric"}})["label"] == "number"
    assert _uses({"a": {"field": "x"}, "b": {"field": "x", "kind": "numeric"}})["x"] == "integer"
    assert _uses({"hour": {"field": "time"}})["time"] == "integer"


def test_uses_that_exclude_each_other_are_refused():
    with pytest.raises(ConfigurationError, match="'x' is read as category and as list"):
        _uses({"a": {"field": "x"}, "b": {"field": "x", "kind": "multi"}})


@pytest.mark.parametrize(
    ("use", "value", "expected"),
    [
        ("category", "a", "a"),
        ("category", "", ""),
        ("category", 123, "123"),
        ("category", 2**64 - 1, str(2**64 - 1)),
        ("category", True, "true"),
        ("category", None, None),
        ("list", ["a", 1, False, None], ["a", "1", "false", None]),
        ("list", [], []),
        ("label", True, 1.0),
        ("label", 0, 0.0),
        ("number", 1.5, 1.5),
        ("integer", -3, -3),
    ],
)
def test_accepted(use, value, expected):
    converted = Column(name="x", use=use).convert(value)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("use", "value"),
    [
        ("category", 1.0),
        ("category", 2**64),
        ("category", {}),
        ("category", ["a"]),
        ("list", "a"),
        ("list", [["a"]]),
        ("list", [1.5]),
        ("list", {}),
        ("label", "1"),
        ("number", True),
        ("number", "1"),
        ("integer", 1.0),
        ("integer", 2**63),
        ("integer", "1"),
    ],
)
def test_refused(use, value):
    with pytest.raises(RejectError, match=r"^x: ") as caught:
        Column(name="x", use=use).convert(value)
    assert caught.value.reason == Reason.WRONG_TYPE
