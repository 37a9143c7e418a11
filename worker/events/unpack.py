"""Packed messages to columns: an Arrow IPC stream of many events, checked before a kernel may read it.

Kernels read buffers without looking at their bounds, so nothing of a message is believed: what it would take unpacked,
how many rows and elements it claims, that every offset and index lies inside, that texts are UTF-8. A message that
fails any of this is rejected whole. Columns that nobody reads are not decoded.
"""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from worker.events.arrow_streams import UNREADABLE, unpacked_bytes
from worker.events.columns import Column
from worker.events.rejects import Reason, RejectError
from worker.learning import Events

MOST_EVENTS = 262_144  # of a message: a column of nulls takes no bytes, so the size of the message bounds nothing
_END = b"\xff\xff\xff\xff\0\0\0\0"  # what every writer puts at the end; without it the stream was cut off
_READABLE = {
    "category": "texts, integers, booleans, or a dictionary of these",
    "list": "lists of texts, integers, booleans, or of a dictionary of these",
    "label": "numbers or booleans",
    "number": "numbers",
    "integer": "integers",
}
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


class Unpacker:
    """Reads columns from packed messages, each message for itself."""

    def __init__(self, columns: dict[str, Column], events: Events) -> None:
        self._columns = columns
        self._events = events

    def unpack(self, value: bytes | None) -> list[pa.RecordBatch]:
        """Give the events of a message as batches of at least one row, with the columns that are read, in their order.

        A column is of strings, int64, booleans, a dictionary<int32> or a list of these, or of numbers. Batches may
        differ in that: 123 and "123" are the same category.

        Raises:
            RejectError: the message is wrong as a whole
        """
        if value is None:
            raise RejectError(Reason.TOMBSTONE, "no value")
        if len(value) > self._events.max_bytes:
            raise RejectError(Reason.TOO_LARGE, f"{len(value)} bytes; events.max_bytes is {self._events.max_bytes}")
        if not value:
            raise RejectError(Reason.EMPTY, "no bytes")
        try:
            if (size := unpacked_bytes(value)) > self._events.max_bytes:
                raise RejectError(
                    Reason.TOO_LARGE, f"{size} bytes unpacked; events.max_bytes is {self._events.max_bytes}"
                )
            batches = list(self._read(value))
            return [self.columns_of(batch) for batch in batches]
        except UNREADABLE as error:
            raise RejectError(Reason.NOT_ARROW, _first_line(error)) from error

    def columns_of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Bring the columns of a batch that is valid to the types that are told above; absent ones are null.

        Raises:
            RejectError: a column is of a type that its use does not allow
        """
        arrays = []
        for name, column in self._columns.items():
            at = batch.schema.get_field_index(name)
            arrays.append(pa.nulls(batch.num_rows, column.type) if at < 0 else self._convert(column, batch[at]))
        return pa.RecordBatch.from_arrays(arrays, list(self._columns))

    def _read(self, value: bytes) -> Iterator[pa.RecordBatch]:
        """Read the columns that count, validated; RejectError or an exception of Arrow where that fails."""
        source = pa.BufferReader(value)
        schema = pa.ipc.open_stream(source).schema
        read = self._select(schema)
        source.seek(0)
        options = pa.ipc.IpcReadOptions(
            use_threads=False, included_fields=read, ensure_alignment=pa.ipc.Alignment.DataTypeSpecific
        )
        events = 0
        for batch in pa.ipc.open_stream(source, options=options):
            events += batch.num_rows
            if events > MOST_EVENTS:
                raise RejectError(Reason.TOO_LARGE, f"more than {MOST_EVENTS} events in one message")
            batch.validate(full=True)
            for array in batch.columns:
                _bound(array, 8 * len(value))
            if batch.num_rows:
                yield batch
        if source.tell() != len(value) or not value.endswith(_END):
            raise RejectError(Reason.NOT_ARROW, f"the stream does not end where its {len(value)} bytes do")

    def _select(self, schema: pa.Schema) -> list[int]:
        names = schema.names
        for name in self._columns:
            if names.count(name) > 1:
                raise RejectError(Reason.WRONG_TYPE, f"{name}: {names.count(name)} columns of this name")
        if self._events.label in self._columns and self._events.label not in names:
            raise RejectError(Reason.LABEL_MISSING, f"{self._events.label}: no such column")
        return [at for at, name in enumerate(names) if name in self._columns]

    def _convert(self, column: Column, array: pa.Array) -> pa.Array:
        kind = array.type
        if pa.types.is_null(kind):
            return pa.nulls(len(array), column.type)
        found = None
        if column.use == "category":
            found = _category(array)
        elif column.use == "list":
            found = _list(array)
        elif column.use == "integer":
            found = array.cast(pa.int64()) if pa.types.is_integer(kind) else None
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            # What reads it makes double of it, for many messages at once: a call of Arrow costs as much as 1,000 rows.
            found = array.cast(pa.float64()) if pa.types.is_float16(kind) else array
        elif column.use == "label" and pa.types.is_boolean(kind):
            found = array
        elif column.name == self._events.time and pa.types.is_timestamp(kind):
            found = self._times(array)
        if found is None:
            raise RejectError(
                Reason.WRONG_TYPE, f"{column.name}: a column of {kind} where {_READABLE[column.use]} are expected"
            )
        return found

    def _times(self, array: pa.Array) -> pa.Array:
        """Turn timestamps to what `events.time_unit` counts."""
        counts = array.view(pa.int64()).cast(pa.float64(), safe=False)
        wanted, given = _PER_SECOND[self._events.time_unit], _PER_SECOND[array.type.unit]
        return pc.multiply(counts, wanted / given) if wanted > given else pc.divide(counts, given / wanted)


def _category(array: pa.Array) -> pa.Array | None:
    """Give strings, int64, booleans, or a dictionary of these; None where it cannot be."""
    kind = array.type
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(kind.value_type):
        values = _category(array.dictionary)
        return None if values is None else _indexed(array.indices, values)
    if pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_int64(kind):
        return array
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_integer(kind):
        beyond = pa.types.is_uint64(kind) and (pc.max(array).as_py() or 0) >= 2**63
        return array.cast(pa.string() if beyond else pa.int64())
    return None


def _indexed(indices: pa.Array, values: pa.Array) -> pa.Array:
    """Make a dictionary whose values hold no null: a value is not decoded once for each row that names it."""
    if len(values) == 0:
        return pa.nulls(len(indices), pa.string())
    indices = indices.cast(pa.int32())
    if values.null_count:
        indices = pc.if_else(values.is_valid().take(indices), indices, None)
    return pa.DictionaryArray.from_arrays(indices, values)


def _list(array: pa.Array) -> pa.Array | None:
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return None
    elements = _category(array.values)
    if elements is None:
        return None
    if elements is array.values and pa.types.is_list(kind):
        return array
    offsets = array.offsets.cast(pa.int32())
    return pa.ListArray.from_arrays(offsets, elements, mask=array.is_null() if array.null_count else None)


def _bound(array: pa.Array, most: int) -> None:
    """Refuse elements and dictionaries that claim to be longer than any bytes of the message could be."""
    kind = array.type
    inner = []
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner.append(array.values)
    elif pa.types.is_dictionary(kind):
        inner.append(array.dictionary)
    for part in inner:
        if len(part) > most:
            raise RejectError(Reason.TOO_LARGE, f"{len(part)} elements of a column, in {most // 8} bytes")
        _bound(part, most)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
