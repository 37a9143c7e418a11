"""Events whose fields are columns of their own: each row becomes the JSON that the topic might have carried."""

from typing import Any, Final

import orjson
import pyarrow as pa

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
    """Make a JSON object of every row: a binary array. Null cells are left out, times are milliseconds since 1970."""
    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()  # noqa: PLW2901
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms", tz=column.type.tz), safe=False).cast(pa.int64())  # noqa: PLW2901
        columns.append(column)
    rows = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    return pa.array(
        [orjson.dumps({name: cell for name, cell in row.items() if cell is not None}) for row in rows], pa.binary()
    )


def _is_simple(kind: Any) -> bool:  # noqa: ANN401
    if pa.types.is_dictionary(kind):
        return _is_simple(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return not pa.types.is_timestamp(kind.value_type) and any(test(kind.value_type) for test in _SIMPLE)
    return any(test(kind) for test in _SIMPLE)
