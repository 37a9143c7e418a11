"""Files as the S3 sink of Kafka Connect writes them, and others that are close to them."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.recordings import START, make_records, rows, write
from worker.errors import ConfigurationError, DamagedRecordingError
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.recording import Recording

FOLDER = "topics/clicks/partition=0"


def put(folder: Path, start: int, content: bytes | pa.Table, extension: str, place: str = FOLDER) -> Path:
    path = folder / place / f"clicks+0+{start:010d}{extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    return path


def values(recording: Recording) -> list[Any]:
    return [value for records in recording for value in records.values.to_pylist()]


def test_lines_of_values_count_their_offsets_from_the_name(tmp_path: Path) -> None:
    put(tmp_path, 0, b'{"n":0}\n{"n":1}\n{"n":2}\n', ".json")
    put(tmp_path, 3, gzip.compress(b'{"n":3}\r\n\n{"n":4}'), ".json.gz")
    recording = Recording(tmp_path, strict=True)
    assert recording.ranges == {0: (0, 5)}
    assert rows(*recording) == [("clicks", 0, n, -1, 0, None, b'{"n":%d}' % n, None) for n in range(5)]
    assert rows(*recording.partition(0, 2, 4)) == rows(*recording)[2:4]


def test_many_lines_across_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.recording.lines._READ_BYTES", 10)
    put(tmp_path, 0, b"".join(b'{"n":%d}\n' % n for n in range(1_000)), ".json")
    assert values(Recording(tmp_path)) == [b'{"n":%d}' % n for n in range(1_000)]


def test_a_file_partitioned_by_time_is_placed_by_its_name(tmp_path: Path) -> None:
    put(tmp_path, 0, b"{}\n", ".json", "topics/clicks/year=2025/month=01")
    put(tmp_path, 1, b"{}\n", ".json", "topics/clicks/year=2025/month=02")
    assert Recording(tmp_path).ranges == {0: (0, 2)}


def test_a_line_that_is_cut_short_is_named(tmp_path: Path) -> None:
    put(tmp_path, 0, b'{"n":0}\n{"n":1', ".json")
    with pytest.raises(DamagedRecordingError, match=r"line 2: not JSON: .*cut short"):
        Recording(tmp_path)
    put(tmp_path, 0, gzip.compress(b'{"n":0}\n' * 1_000)[:-12], ".json.gz")
    (tmp_path / FOLDER / "clicks+0+0000000000.json").unlink()
    with pytest.raises(DamagedRecordingError, match="cut short"):
        Recording(tmp_path)


def test_a_gap_between_files_of_others_is_told_and_refused_when_strict(tmp_path: Path) -> None:
    put(tmp_path, 0, b"{}\n{}\n", ".json")
    put(tmp_path, 5, b"{}\n", ".json")
    recording = Recording(tmp_path)
    assert len(recording.warnings) == 1
    assert "offsets 2 to 4 are missing" in recording.warnings[0]
    with pytest.raises(DamagedRecordingError, match="offsets 2 to 4 are missing"):
        Recording(tmp_path, strict=True)


def test_lines_that_reach_into_the_next_file_overlap(tmp_path: Path) -> None:
    put(tmp_path, 0, b"{}\n{}\n{}\n", ".json")
    put(tmp_path, 2, b"{}\n", ".json")
    with pytest.raises(DamagedRecordingError, match="overlap"):
        Recording(tmp_path)


TEXTS = [pa.string(), pa.binary(), pa.large_string(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string())]


@pytest.mark.parametrize("kind", TEXTS)
def test_a_column_of_values_in_any_type_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    put(tmp_path, 4, pa.table({"value": pa.array(['{"n":1}', None], pa.string()).cast(kind)}), ".parquet")
    assert rows(*Recording(tmp_path)) == [
        ("clicks", 0, 4, -1, 0, None, b'{"n":1}', None),
        ("clicks", 0, 5, -1, 0, None, None, None),
    ]


def test_columns_of_records_in_the_types_of_others(tmp_path: Path) -> None:
    table = pa.table(
        {
            "key": ["a", None],
            "value": ["1", "2"],
            "offset": pa.array([10, 17], pa.uint32()),
            "timestamp": pa.array([datetime(2025, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
            "headers": pa.array(
                [[{"key": "h", "value": "v"}], []],
                pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())])),
            ),
        }
    )
    put(tmp_path, 10, table, ".parquet")
    recording = Recording(tmp_path)
    assert recording.ranges == {0: (10, 18)}
    assert rows(*recording) == [
        ("clicks", 0, 10, START, 1, b"a", b"1", [{"key": "h", "value": b"v"}]),
        ("clicks", 0, 17, -1, 0, None, b"2", []),
    ]
    assert Recording(tmp_path, begin=START).ranges == {0: (10, 18)}


def test_an_event_in_columns_becomes_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user": ["u1", "u2"],
            "label": [1, None],
            "price": [0.5, 2.0],
            "new": [True, False],
            "genres": [["drama", "crime"], []],
            "time": pa.array([datetime(2025, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("ms", "UTC")),
            "offset": [7, 7],  # the event's own: none of the record's
        }
    )
    put(tmp_path, 0, table, ".parquet")
    assert values(Recording(tmp_path)) == [
        b'{"user":"u1","label":1,"price":0.5,"new":true,"genres":["drama","crime"],"time":1735689600000,"offset":7}',
        b'{"user":"u2","price":2.0,"new":false,"genres":[],"time":1735689600000,"offset":7}',
    ]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_numbers_that_are_not_finite_are_rejected_as_those_in_json_are(tmp_path: Path, kind: pa.DataType) -> None:
    # Given events in columns with numbers that JSON has not, one of them in a feature that is not read
    numbers = [1.5, float("nan"), None, float("inf"), -float("inf"), 2.5]
    columns = {
        "user": pa.array(["a", "b", "c", "d", "e", "größe"]),
        "label": pa.array([1] * 6),
        "price": pa.array(numbers, kind),
        "tags": pa.array([[0.5], [], None, [float("nan"), 1.0], [None, 2.0], [float("nan")]], pa.list_(kind)),
        "time": pa.array([START] * 6),
    }
    put(tmp_path, 0, pa.table(columns), ".parquet")
    # When they are read
    found = values(Recording(tmp_path))
    head = [b'{"user":"%s","label":1' % user.encode() for user in ("a", "b", "c", "d", "e", "größe")]
    tail = b',"time":%d}' % START
    assert found == [
        head[0] + b',"price":1.5,"tags":[0.5]' + tail,
        head[1] + b',"price":NaN,"tags":[]' + tail,
        head[2] + tail,
        head[3] + b',"price":Infinity,"tags":[NaN,1.0]' + tail,
        head[4] + b',"price":-Infinity,"tags":[null,2.0]' + tail,
        head[5] + b',"price":2.5,"tags":[NaN]' + tail,
    ]
    # Then where they are read, they are rejected by the same reason as in JSON, and a missing one is none
    learning = Learning.model_validate({"features": {"user": {}, "price": {"kind": "numeric"}}})
    prepared = Pipeline(learning).prepare(found, np.full(6, START))
    assert [(bad.index, str(bad.reason)) for bad in prepared.rejected] == [(n, "not_finite") for n in (1, 3, 4)]
    assert prepared.events == 3


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"value": ["{}"], "user": ["u1"]}, "beside `value` there are the columns user"),
        ({"value": ["{}"], "offset": ["first"]}, "the column offset is string, not an integer"),
        ({"value": [3]}, "the column value is int64, not binary or a string"),
        ({"user": [{"id": 1}]}, r"user \(struct<id: int64>\)"),
        ({"value": ["{}"], "partition": [4]}, "records of other partitions than 0"),
        ({"value": ["{}"], "offset": [9]}, r"its offsets 9 to 9 are not those that it should hold, 10 to 10"),
        ({"value": ["{}"], "headers": [["a"]]}, "the column headers is"),
    ],
)
def test_wrong_columns_are_named(tmp_path: Path, columns: dict[str, list[Any]], said: str) -> None:
    put(tmp_path, 10, pa.table(columns), ".parquet")
    with pytest.raises(DamagedRecordingError, match=said):
        Recording(tmp_path)


def test_a_file_of_no_known_name_or_kind_says_what_it_should_be(tmp_path: Path) -> None:
    pq.write_table(pa.table({"value": ["{}"]}), tmp_path / "clicks.parquet")
    with pytest.raises(DamagedRecordingError, match=r"<topic>\+<partition>\+<first offset>"):
        Recording(tmp_path / "clicks.parquet")
    (tmp_path / "clicks.csv").write_text("a,b")
    with pytest.raises(ConfigurationError, match="its extension tells no format"):
        Recording(tmp_path / "clicks.csv")


def test_one_of_our_files_may_have_any_name(tmp_path: Path) -> None:
    write(tmp_path, make_records())
    moved = (tmp_path / FOLDER / "clicks+0+0000000000.parquet").rename(tmp_path / "tuesday.parquet")
    assert rows(*Recording(moved)) == rows(make_records())
