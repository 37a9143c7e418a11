"""The columns that a Parquet file may have, and what they become."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.errors import DamagedRecordingError
from worker.recording.records import NO_TIMESTAMP
from worker.recording.rows import check_rows
from worker.recording.schema import SCHEMA

_KNOWN: Final = frozenset(SCHEMA.names)


def check_ours(path: str, schema: Any) -> None:  # noqa: ANN401 - Arrow has no types
    """Make sure that a file of ours has the columns that we write.

    Raises:
        DamagedRecordingError: naming those that are missing or of another type.
    """
    there = set(schema.names)
    wrong = [field.name for field in SCHEMA if field.name not in there or schema.field(field.name).type != field.type]
    if wrong:
        raise DamagedRecordingError(
            f"{path}: the columns {', '.join(wrong)} are missing or of another type than `headrace record` writes: "
            "record it again"
        )


def is_plain(path: str, schema: Any) -> bool:  # noqa: ANN401
    """Tell whether another's file has the event's bytes in `value` (True), or its fields in columns (False).

    Raises:
        DamagedRecordingError: it can be neither.
    """
    there = set(schema.names)
    others = sorted(there - _KNOWN)
    if "value" not in there or (others and not _is_bytes(_inner(schema.field("value").type))):
        check_rows(path, schema)
        return False
    if others:
        raise DamagedRecordingError(
            f"{path}: beside `value` there are the columns {', '.join(others)}: is the event in `value`, or in the "
            f"columns? A recording has {', '.join(SCHEMA.names)}, or the event's own columns without a `value`"
        )
    for name, fits, wanted in _TYPES:
        if name in there and not fits(_inner(schema.field(name).type)):
            raise DamagedRecordingError(f"{path}: the column {name} is {schema.field(name).type}, not {wanted}")
    return True


def timestamps(column: Any) -> NDArray[np.int64]:  # noqa: ANN401
    """Give timestamps in milliseconds since 1970, -1 for a null."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", tz=column.type.tz), safe=False).cast(pa.int64())
    found: NDArray[np.int64] = column.cast(pa.int64()).fill_null(NO_TIMESTAMP).to_numpy(zero_copy_only=False)
    return found


def binary(column: Any) -> Any:  # noqa: ANN401
    """Give keys or values as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column.cast(pa.binary())
    if pa.types.is_large_string(column.type):
        return column.cast(pa.large_binary())
    return column


def _inner(kind: Any) -> Any:  # noqa: ANN401
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_bytes(kind: Any) -> bool:  # noqa: ANN401
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
    return any(test(kind) for test in tests)


def _is_headers(kind: Any) -> bool:  # noqa: ANN401
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    fields = {field.name: field.type for field in kind.value_type}
    return fields.keys() == {"key", "value"} and _is_bytes(fields["key"]) and _is_bytes(fields["value"])


_TYPES: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("offset", pa.types.is_integer, "an integer"),
    ("timestamp", lambda kind: pa.types.is_integer(kind) or pa.types.is_timestamp(kind), "a timestamp or an integer"),
    ("timestamp_type", pa.types.is_integer, "an integer"),
    ("key", _is_bytes, "binary or a string"),
    ("value", _is_bytes, "binary or a string"),
    ("headers", _is_headers, "a list of struct<key: string, value: binary>"),
)
