from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.load.mapping import EventMapping, LabelRule
from worker.load.mapping_file import mapping_of

FILE = """
label = "rating>=4"
only = ["user", "time"]
[map]
user = "userId"
time = "timestamp"
[type]
time = "s"
[split]
genres = "|"
"""


def test_a_file_is_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "ratings.toml"
    path.write_text(FILE)
    assert mapping_of(path, {}) == EventMapping(
        sources={"user": "userId", "time": "timestamp"},
        types={"time": "s"},
        splits={"genres": "|"},
        label=LabelRule.parse("rating>=4"),
        only=("user", "time"),
    )


def test_what_is_given_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ratings.toml"
    path.write_text(FILE)
    mapping = mapping_of(path, {"map": {"user": "who", "item": "what"}, "label": "rating>=3", "only": ["item"]})
    assert mapping.sources == {"user": "who", "time": "timestamp", "item": "what"}
    assert mapping.label == LabelRule.parse("rating>=3")
    assert mapping.only == ("item",)
    assert mapping.types == {"time": "s"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("maps = 1", "did you mean map"),
        ("columns = 1", "'columns'"),
        ("map = 1", r"\[map\]"),
        ("[type]\ntime = 1", r"\[type\]"),
        ("label = 4", "label must be a text"),
        ("only = 'user'", "only must be a list"),
        ("label = ", "not a TOML file"),
        ("label = 'rating'", "cannot be read"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "ratings.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=problem):
        mapping_of(path, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"ratings\.toml"):
        mapping_of(tmp_path / "ratings.toml", {})
