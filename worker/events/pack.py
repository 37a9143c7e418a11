"""Events to packed messages, and single rows of a message to messages of their own."""

from collections.abc import Mapping, Sequence

import orjson
import pyarrow as pa
import pyarrow.ipc

from worker.events.arrow_streams import UNREADABLE

_MOST_TIMES = 16  # so long may the rows cut out of a message be, in units of the longest message


def pack(events: Sequence[Mapping[str, object]]) -> bytes:
    """Write events, as they were parsed from JSON, as one Arrow IPC stream of one batch.

    A column is of what its values have in common; where they have nothing in common, of their texts, which are the
    same categories.

    >>> table = pa.ipc.open_stream(pack([{"user": 1, "label": True}, {"user": "a"}])).read_all()
    >>> table.to_pylist()
    [{'user': '1', 'label': True}, {'user': 'a', 'label': None}]
    """
    names = list(dict.fromkeys(name for event in events for name in event))
    return write(pa.RecordBatch.from_arrays([_array([event.get(name) for event in events]) for name in names], names))


def write(batch: pa.RecordBatch) -> bytes:
    """Write a batch as one stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def rows_of(value: bytes, rows: Sequence[int], names: Sequence[str], max_bytes: int) -> list[bytes]:
    """Give some rows of a message whose columns `names` are valid, each as a stream of its own.

    A row has all the columns of the message, without dictionaries. Columns that nobody reads may be damaged: then it
    has those that are read. Where it would be longer than `max_bytes`, its largest columns are left out. Where all of
    them would be longer than a few times that (dictionaries make it possible), there are none.
    """
    try:
        table = pa.ipc.open_stream(value).read_all()
        table.validate(full=True)
        return _rows(table, rows, max_bytes)
    except UNREADABLE:
        schema = pa.ipc.open_stream(value).schema
        read = [at for at, name in enumerate(schema.names) if name in names]
        table = pa.ipc.open_stream(value, options=pa.ipc.IpcReadOptions(included_fields=read)).read_all()
        return _rows(table, rows, max_bytes)


def _rows(table: pa.Table, rows: Sequence[int], max_bytes: int) -> list[bytes]:
    found: list[bytes] = []
    left = _MOST_TIMES * max_bytes
    for row in rows:
        found.append(_row(table, row, max_bytes))
        left -= len(found[-1])
        if left < 0:
            return []
    return found


def _row(table: pa.Table, row: int, max_bytes: int) -> bytes:
    (batch,) = table.slice(row, 1).to_batches()
    columns = [_plain(column) for column in batch.columns]
    kept = list(range(len(columns)))
    while len(value := write(_batch(columns, batch.schema.names, kept))) > max_bytes and kept:
        kept.remove(max(kept, key=lambda at: columns[at].nbytes))
    return value


def _batch(columns: list[pa.Array], names: list[str], kept: list[int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([columns[at] for at in kept], [names[at] for at in kept])


def _plain(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column.dictionary_decode()
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_dictionary(kind.value_type):
        elements = column.flatten()
        offsets = pa.array([0, len(elements)], pa.int32())
        mask = column.is_null() if column.null_count else None
        return pa.ListArray.from_arrays(offsets, elements.dictionary_decode(), mask=mask)
    return column


def _array(values: list[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        if all(value is None or isinstance(value, list) for value in values):
            return pa.array([_texts(value) if isinstance(value, list) else None for value in values])
        return pa.array(_texts(values))


def _texts(values: list[object]) -> list[str | None]:
    return [value if value is None or isinstance(value, str) else orjson.dumps(value).decode() for value in values]
