"""Recorded rows from files: JSON lines, CSV and Parquet, a batch at a time, never a whole file."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from worker.errors import ConfigurationError, IncompatibleDataError

FORMATS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
BATCH_ROWS = 10_000  # some megabytes at a time: fast enough, and as small as a stream should be
LINE_BYTES = 64 * 1024 * 1024  # a longer line is no event but a whole file without line breaks
# What an empty cell looks like. "NA" is not among them: it is Namibia as often as it is nothing.
NULLS = ["", "null", "NULL", "NaN", "nan", "\\N"]
_ARROW_TYPES = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.string()}


class BadRowError(IncompatibleDataError):
    """A recorded row cannot be made into an event: mend it, leave it out, or map its columns differently."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some rows of a file, and where in it they are."""

    where: str  # "line" or "row": what `numbers` counts, from 1; as in Arrow's messages, the header of a CSV is row 1
    numbers: Sequence[int]  # [n]
    rows: Sequence[Mapping[str, Any]]  # [n] column -> cell

    @property
    def columns(self) -> list[str]:
        """Name the columns that any of the rows has."""
        return list(dict.fromkeys(column for row in self.rows for column in row))


def check_files(paths: Sequence[Path]) -> None:
    """Refuse a file that is not there, or of no known kind, before the first event is sent."""
    for path in paths:
        _format(path)
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no such file"
            raise ConfigurationError(f"{path}: {what}; name files of JSON lines, CSV or Parquet")


def read(path: Path, types: Mapping[str, str]) -> Iterator[Rows]:
    """Read a file, its kind told by its extension, `.gz` behind it or not.

    Args:
        path: the file.
        types: column -> type (see `EventMapping`), for formats that would have to guess it.

    Raises:
        ConfigurationError: the file cannot be opened, or is of no known kind.
        BadRowError: it is not what its extension says.
    """
    kind, zipped = _format(path)
    try:
        if kind == "parquet":
            yield from _parquet(path)
        else:
            with pa.input_stream(str(path), compression="gzip" if zipped else None) as stream:
                yield from _json_lines(path, stream) if kind == "json" else _csv(stream, kind, types)
    except pa.ArrowInvalid as error:
        raise BadRowError(
            f"{path}: {error}; mend the file, or name the type of a column that was guessed wrong: --type user=string"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error


def _format(path: Path) -> tuple[str, bool]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = (suffixes[:-1] if zipped else suffixes)[-1:]
    kind = FORMATS.get(suffix[0]) if suffix else None
    if kind is None:
        known = ", ".join(FORMATS)
        raise ConfigurationError(f"{path}: its extension tells no format; give it one of {known} (and .gz)")
    if kind == "parquet" and zipped:
        raise ConfigurationError(f"{path}: Parquet cannot be read from gzip: unpack it (it is compressed inside)")
    return kind, zipped


def _json_lines(path: Path, stream: Any) -> Iterator[Rows]:  # noqa: ANN401 - Arrow has no types
    lines = io.BufferedReader(stream)
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    number = 0
    while line := lines.readline(LINE_BYTES):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.isspace() or not line:
            continue
        rows.append(_object(path, number, line))
        numbers.append(number)
        if len(rows) == BATCH_ROWS:
            yield Rows(where="line", numbers=numbers, rows=rows)
            numbers, rows = [], []
    if rows:
        yield Rows(where="line", numbers=numbers, rows=rows)


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadRowError(
            f"{path}, line {number}: not JSON: {error}; each line must be one JSON object: mend it or leave it out"
        ) from None
    if not isinstance(row, dict):
        raise BadRowError(f"{path}, line {number}: not a JSON object; each line must be one: mend it or leave it out")
    return row


def _csv(stream: Any, kind: str, types: Mapping[str, str]) -> Iterator[Rows]:  # noqa: ANN401 - Arrow has no types
    reader = pa.csv.open_csv(
        stream,
        read_options=pa.csv.ReadOptions(use_threads=False),  # only then do its messages name the row
        parse_options=pa.csv.ParseOptions(delimiter="\t" if kind == "tsv" else ",", newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            null_values=NULLS,
            strings_can_be_null=True,
            column_types={column: _ARROW_TYPES[name] for column, name in types.items() if name in _ARROW_TYPES},
        ),
    )
    yield from _numbered(reader, first=2)


def _parquet(path: Path) -> Iterator[Rows]:
    with pa.parquet.ParquetFile(path) as file:
        yield from _numbered(file.iter_batches(batch_size=BATCH_ROWS), first=1)


def _numbered(batches: Any, *, first: int) -> Iterator[Rows]:  # noqa: ANN401 - Arrow has no types
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            rows = _plain(batch.slice(start, BATCH_ROWS)).to_pylist()
            yield Rows(where="row", numbers=range(first, first + len(rows)), rows=rows)
            first += len(rows)


def _plain(batch: Any) -> Any:  # noqa: ANN401 - Arrow has no types
    """Bring the columns to types that JSON has: times become ISO 8601 texts, decimals become numbers."""
    columns = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()  # noqa: PLW2901
        elif pa.types.is_decimal(kind):
            column = column.cast(pa.float64())  # noqa: PLW2901
        elif pa.types.is_temporal(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            column = column.cast(pa.string())  # noqa: PLW2901
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
