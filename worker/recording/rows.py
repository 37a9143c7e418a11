"""Events whose fields are columns of their own: each row becomes the JSON that the topic might have carried."""

import json
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from worker.errors import DamagedRecordingError

_SIMPLE: Final = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean,
    pa.types.is_timestamp, pa.types.is_null,
)  # fmt: skip


def check_rows(path: str, schema: Any) -> None:  # noqa: ANN401 - Arrow has no types
    """Refuse columns that have no obvious JSON.

    Raises:
        DamagedRecordingError: naming them.
    """
    wrong = [f"{field.name} ({field.type})" for field in schema if not _is_simple(field.type)]
    if wrong:
        raise DamagedRecordingError(
            f"{path}: there is no `value` column, and of the event's own columns these are no texts, numbers, "
            f"booleans, times, or lists of them: {', '.join(wrong)}. Leave them out, or write the event's bytes "
            "into `value`"
        )


def json_values(batch: Any) -> Any:  # noqa: ANN401 - Arrow has no types
    """Make a JSON object of every row: a binary array. Null cells are left out, times are milliseconds since 1970.

    A number that is not finite stays what it is, NaN or Infinity, as some encoders write it: a record with one is
    rejected where it is read, whichever way it comes. As null it would be a value that is missing.
    """
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()  # noqa: PLW2901
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms", tz=column.type.tz), safe=False).cast(pa.int64())  # noqa: PLW2901
        columns.append(column)
    rows = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    cells = [{name: cell for name, cell in row.items() if cell is not None} for row in rows]
    values = list(map(orjson.dumps, cells))
    for number in _not_finite(columns):
        values[number] = json.dumps(cells[number], ensure_ascii=False, separators=(",", ":")).encode()
    return pa.array(values, pa.binary())


def _not_finite(columns: list[Any]) -> list[int]:
    """Find the rows that hold a number which JSON has not, and orjson would write as null."""
    found = set[int]()
    for column in columns:
        cells, rows = column, None
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            cells, rows = pc.list_flatten(column), pc.list_parent_indices(column).to_numpy()
        if pa.types.is_floating(cells.type):
            there = cells.is_valid().to_numpy(zero_copy_only=False)
            at = np.flatnonzero(there & ~np.isfinite(cells.to_numpy(zero_copy_only=False)))
            found.update((at if rows is None else rows[at]).tolist())
    return sorted(found)


def _is_simple(kind: Any) -> bool:  # noqa: ANN401
    if pa.types.is_dictionary(kind):
        return _is_simple(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return not pa.types.is_timestamp(kind.value_type) and any(test(kind.value_type) for test in _SIMPLE)
    return any(test(kind) for test in _SIMPLE)
