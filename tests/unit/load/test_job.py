import json
from pathlib import Path
from typing import Any

import pytest

from worker.config import Config
from worker.errors import ConfigurationError
from worker.load.job import _slices, events
from worker.load.mapping import EventMapping, LabelRule
from worker.load.reading import BadRowError

CONFIG = Config.model_validate({"features": {"user": {}}, "events": {"max_bytes": 1_000}})


def put(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def loaded(*paths: Path, mapping: EventMapping | None = None, **how: str) -> list[tuple[bytes, Any]]:
    return [(key, json.loads(value)) for key, value in events(CONFIG, paths, mapping or EventMapping(), **how)]


def test_events_are_keyed_by_the_partition_key_in_the_order_of_the_files(tmp_path: Path) -> None:
    one = put(tmp_path / "1.jsonl", {"user": "zoë", "label": 1}, {"user": -7, "label": 0, "x": None})
    two = put(tmp_path / "2.jsonl", {"user": "a", "label": 0.5})
    assert loaded(two, one) == [
        (b"a", {"user": "a", "label": 0.5}),
        ("zoë".encode(), {"user": "zoë", "label": 1}),
        (b"-7", {"user": -7, "label": 0}),
    ]


def test_sorting_is_stable_and_across_files(tmp_path: Path) -> None:
    one = put(tmp_path / "1.jsonl", *({"user": f"a{n}", "label": 0, "t": n % 3} for n in range(6)))
    two = put(tmp_path / "2.jsonl", *({"user": f"b{n}", "label": 0, "t": n % 3} for n in range(3)))
    mapping = EventMapping(sources={"time": "t"})
    assert [key for key, _ in loaded(one, two, mapping=mapping, sort_by="time")] == [
        b"a0", b"a3", b"b0", b"a1", b"a4", b"b1", b"a2", b"a5", b"b2",
    ]  # fmt: skip


def test_what_cannot_be_sorted_is_told(tmp_path: Path) -> None:
    path = put(tmp_path / "1.jsonl", {"user": "a", "label": 0, "t": 1}, {"user": "a", "label": 0, "t": "x"})
    with pytest.raises(ConfigurationError, match="'t' cannot be sorted by"):
        loaded(path, sort_by="t")
    path = put(tmp_path / "2.jsonl", {"user": "a", "label": 0, "t": 1}, {"user": "a", "label": 0})
    with pytest.raises(BadRowError, match=r"2\.jsonl, line 2: it has no 't' to sort by"):
        loaded(path, sort_by="t")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"label": 1}, "no 'user', which decides its partition"),
        ({"user": "", "label": 1}, "'user' decides the partition"),
        ({"user": 1.5, "label": 1}, "'user' decides the partition"),
        ({"user": True, "label": 1}, "'user' decides the partition"),
        ({"user": "u"}, "no 'label' to learn from"),
        ({"user": "u", "label": 1, "x": {"y": 1}}, "column 'x'"),
        ({"user": "u", "label": 1, "x": "y" * 1_000}, "events.max_bytes = 1,000"),
        ({"user": "u", "label": 1, "time": "soon"}, "column 'time'"),
    ],
)
def test_a_row_that_makes_no_event_is_named(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = put(tmp_path / "1.jsonl", {"user": "u", "label": 1}, row)
    with pytest.raises(BadRowError, match=rf"1\.jsonl, line 2: .*{problem}"):
        loaded(path)


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        (EventMapping(sources={"user": "userid"}), r"no column 'userid'; the columns are userId, rating"),
        (EventMapping(sources={"user": "userId"}, label=LabelRule.parse("stars>=4")), "no column 'stars'"),
        (EventMapping(sources={"user": "userId"}, types={"time": "s"}), "no column 'time'"),
        (EventMapping(), "no column becomes the event's 'user': use --map user=COLUMN"),
        (EventMapping(sources={"user": "userId"}), "no column becomes the event's 'label': use .*--label"),
        (
            EventMapping(sources={"user": "userId", "label": "rating"}, only=("label",)),
            "event's 'user'|no column 'user'",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_the_file_is_refused(tmp_path: Path, mapping: EventMapping, problem: str) -> None:
    path = put(tmp_path / "1.jsonl", {"userId": "u", "rating": 5})
    with pytest.raises(ConfigurationError, match=problem):
        loaded(path, mapping=mapping)


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    assert loaded(put(tmp_path / "1.jsonl")) == []


def test_all_files_are_checked_before_the_first_event(tmp_path: Path) -> None:
    path = put(tmp_path / "1.jsonl", {"user": "u", "label": 1})
    with pytest.raises(ConfigurationError, match=r"2\.jsonl: no such file"):
        events(CONFIG, [path, tmp_path / "2.jsonl"], EventMapping())


def test_what_came_before_a_bad_row_is_handed_on() -> None:
    def pairs():
        yield from [(b"k", b"%d" % n) for n in range(5)]
        raise BadRowError("line 6")

    slices = _slices(pairs(), 2)
    assert [next(slices) for _ in range(3)] == [
        ([b"k", b"k"], [b"0", b"1"]), ([b"k", b"k"], [b"2", b"3"]), ([b"k"], [b"4"]),
    ]  # fmt: skip
    with pytest.raises(BadRowError, match="line 6"):
        next(slices)
