"""Columns to the value of a data record and back: an Arrow IPC stream of one batch, which is not believed when read.

Whoever may write to the model topic can make a checksum fit. So nothing is unpacked before it is known how long it
claims to be, and nothing is read of a buffer before Arrow has held it against what the stream says of it.
"""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from worker.errors import CorruptSnapshotError
from worker.events.arrow_streams import UNREADABLE, unpacked_bytes

# The sums of a shard, which stand in every version, are a hundredth of this. What is more is not compressed.
MOST_UNPACKED_BYTES: Final = 1_048_576
_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)  # a few buffers of some kilobytes
_PLAIN: Final = pa.ipc.IpcWriteOptions()


def encode(columns: dict[str, pa.Array], *, compressed: bool = False, **said: int) -> bytes:
    """Write columns as an Arrow IPC stream of one batch, and numbers as its schema's metadata.

    Args:
        columns: equally long, by name.
        compressed: each buffer by zstd, for what is mostly zeros. Its bytes may differ between versions of Arrow.
        said: the numbers.
    """
    batch = pa.record_batch(columns, metadata={name: str(number) for name, number in said.items()} or None)
    compressed = compressed and batch.nbytes <= MOST_UNPACKED_BYTES // 2  # what is added to fill up words counts too
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_COMPRESSED if compressed else _PLAIN) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def decode(value: bytes, needed: Mapping[str, pa.DataType | None]) -> dict[str, pa.Array]:
    """Read the columns of an Arrow IPC stream, whether it is compressed or not.

    Args:
        value: the stream.
        needed: the types of columns that have to be there, by name; None where the caller looks at it.

    Raises:
        CorruptSnapshotError: it is no such stream, claims to be longer than it may be, or a needed column is not there
            or of another type.
    """
    try:
        if (claimed := unpacked_bytes(value)) > MOST_UNPACKED_BYTES:
            raise CorruptSnapshotError(
                f"a data record of {len(value)} bytes claims {claimed} bytes unpacked, {MOST_UNPACKED_BYTES} at most "
                "are read"
            )
        table = pa.ipc.open_stream(value).read_all()
        table.validate(full=True)
        if table.num_rows > 8 * (len(value) + claimed):  # a column of nulls takes no bytes
            raise CorruptSnapshotError(f"a data record of {len(value)} bytes claims {table.num_rows} rows")
        columns = {name: table[name].combine_chunks() for name in table.column_names}
    except UNREADABLE as error:
        raise CorruptSnapshotError(f"a data record is not an Arrow stream: {error}") from error
    for name, kind in needed.items():
        if name not in columns:
            raise CorruptSnapshotError(f"a data record has no column {name!r}")
        if kind is not None and columns[name].type != kind:
            raise CorruptSnapshotError(f"a data record holds {columns[name].type} as {name!r}, not {kind}")
    return columns
