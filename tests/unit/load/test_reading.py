import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worker.errors import ConfigurationError
from worker.load.reading import BATCH_ROWS, BadRowError, check_files, read


def rows(path: Path, types: dict[str, str] | None = None) -> list[tuple[int, Any]]:
    batches = list(read(path, types or {}))
    assert all(len(batch.rows) <= BATCH_ROWS for batch in batches)
    return [pair for batch in batches for pair in zip(batch.numbers, batch.rows, strict=True)]


def put(path: Path, data: str | bytes) -> Path:
    data = data.encode() if isinstance(data, str) else data
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.b.jsonl", "a.jsonl.gz", "A.JSONL.GZ"])
def test_json_lines_are_numbered_as_in_an_editor(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    data = b'\xef\xbb\xbf{"a":1}\n\n  \r\n{"b":["x"]}\r\n{"c":null}'
    path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    assert rows(path) == [(1, {"a": 1}), (4, {"b": ["x"]}), (5, {"c": None})]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a":', "not JSON"), (b"[1]", "not a JSON object"), (b"\xff\xfe", "not JSON"), (b'{"a":NaN}', "not JSON"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "not JSON"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: bytes, problem: str) -> None:
    path = put(tmp_path / "a.jsonl", b'{"a":1}\n\n' + line + b"\n")
    with pytest.raises(BadRowError, match=rf"a\.jsonl, line 3: {problem}"):
        rows(path)


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.csv.gz", ","), ("a.tsv", "\t")])
def test_csv_cells_get_their_types_and_empty_ones_are_null(tmp_path: Path, name: str, comma: str) -> None:
    lines = ["user,n,x,flag,text,when", '1,2,1.5,true,"a;b",2025-01-01 00:00:00', ",,NaN,,null,", "3,4,5,false,NA,"]
    path = put(tmp_path / name, "\n".join(lines).replace(",", comma) + "\n")
    nothing = dict.fromkeys(("user", "n", "x", "flag", "text", "when"))
    assert rows(path) == [
        (2, {"user": 1, "n": 2, "x": 1.5, "flag": True, "text": "a;b", "when": "2025-01-01 00:00:00"}),
        (3, nothing),
        (4, nothing | {"user": 3, "n": 4, "x": 5.0, "flag": False, "text": "NA"}),
    ]


def test_a_type_goes_before_a_guess(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "zip,age\n01234,7\n")
    assert rows(path) == [(2, {"zip": 1234, "age": 7})]
    assert rows(path, {"zip": "string", "age": "number"}) == [(2, {"zip": "01234", "age": 7.0})]


def test_a_csv_row_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRowError, match=r"a\.csv: .*Row #3.*Expected 2 columns, got 1"):
        rows(put(tmp_path / "a.csv", "a,b\n1,2\n3\n"))
    # A type that was guessed from the first megabyte and is wrong further on: the message says how to name it.
    many = "a,b\n" + "1,2\n" * 400_000
    with pytest.raises(BadRowError, match="--type user=string"):
        rows(put(tmp_path / "b.csv", many + "x,2\n"))


def test_parquet_becomes_what_json_has(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([1, None], pa.uint32()),
            "name": pa.array(["x", None]).dictionary_encode(),
            "price": pa.array([Decimal("1.50"), None]),
            "at": pa.array([noon, None], pa.timestamp("us", "UTC")),
            "naive": pa.array([noon.replace(tzinfo=None), None], pa.timestamp("ns")),
            "day": pa.array([date(2025, 1, 1), None]),
            "raw": pa.array([b"x", None], pa.binary()),
            "tags": pa.array([["a", "b"], None]),
            "codes": pa.array([[1, 2], []], pa.list_(pa.int16())),
        }
    )
    pq.write_table(table, path)
    first = {
        "id": 1, "name": "x", "price": 1.5, "at": "2025-01-01 12:00:00.000000Z", "day": "2025-01-01",
        "naive": "2025-01-01 12:00:00.000000000", "raw": "x", "tags": ["a", "b"], "codes": [1, 2],
    }  # fmt: skip
    assert rows(path) == [(1, first), (2, dict.fromkeys(first) | {"codes": []})]


def test_large_files_come_in_batches_with_running_numbers(tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 5
    table = pa.table({"n": range(count)})
    pq.write_table(table, tmp_path / "a.parquet")
    put(tmp_path / "a.csv", "n\n" + "".join(f"{n}\n" for n in range(count)))
    put(tmp_path / "a.jsonl", "".join(f'{{"n":{n}}}\n' for n in range(count)))
    for name, first in (("a.parquet", 1), ("a.csv", 2), ("a.jsonl", 1)):
        assert rows(tmp_path / name) == [(n + first, {"n": n}) for n in range(count)], name


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.parquet"])
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises((BadRowError, ConfigurationError), match=name.replace(".", r"\.")):
        rows(path)


def test_a_gzip_that_breaks_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    for name, data in (("a.csv.gz", b"a,b\n1,2\n"), ("a.jsonl.gz", b'{"a":1}\n')):
        (tmp_path / name).write_bytes(gzip.compress(data)[:-6])
        with pytest.raises((BadRowError, ConfigurationError), match=name.replace(".", r"\.")):
            rows(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("a.xlsx", "extension"), ("a", "extension"), ("a.gz", "extension"), ("a.parquet.gz", "unpack"),
     ("gone.csv", "no such file"), ("folder.csv", "a folder")],
)  # fmt: skip
def test_files_are_checked_before_anything_is_read(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigurationError, match=f"{name}: .*{problem}"):
        check_files([tmp_path / name])
