"""Arrow streams that others wrote, before any of it is believed: what reading may raise, what is to be unpacked."""

import struct

import pyarrow as pa
import pyarrow.ipc

# What bytes that are no stream raise: Arrow's own errors, those of types that Python has no class for, and those of
# looking into the stream's headers.
UNREADABLE = (
    pa.ArrowException, OSError, MemoryError, ValueError, TypeError, LookupError, NotImplementedError, struct.error,
)  # fmt: skip
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # kinds of the format's messages, and below the numbers of their fields
_KIND, _HEADER, _DATA, _BUFFERS, _COMPRESSION = 1, 2, 1, 2, 3


def unpacked_bytes(value: bytes) -> int:
    """Sum up what the compressed buffers of a stream claim to be long; nothing is unpacked.

    Arrow allocates what a buffer claims, and then refuses one that unpacks to anything else. So the sum bounds what
    reading takes beside the stream itself; it is 0 where nothing is compressed.

    Raises:
        One of `UNREADABLE`: it is no stream.
    """
    total = 0
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(value)):
        meta = memoryview(message.metadata)
        root = struct.unpack_from("<I", meta)[0]
        header = _follow(meta, _place(meta, root, _HEADER))
        kind = meta[place] if (place := _place(meta, root, _KIND)) else 0
        if kind == _DICTIONARY_BATCH:
            header = _follow(meta, _place(meta, header, _DATA))
        elif kind != _RECORD_BATCH:
            continue
        if not _place(meta, header, _COMPRESSION) or not (place := _place(meta, header, _BUFFERS)):
            continue
        body, vector = memoryview(message.body), _follow(meta, place)
        (count,) = struct.unpack_from("<I", meta, vector)
        for offset, length in struct.iter_unpack("<qq", meta[vector + 4 : vector + 4 + 16 * count]):
            if length >= 8:
                total += max(struct.unpack_from("<q", body, offset)[0], 0)  # -1: stored as it is
    return total


def _place(meta: memoryview, table: int, field: int) -> int:
    """Find a field of a flatbuffers table; 0 where it is not there."""
    vtable = table - struct.unpack_from("<i", meta, table)[0]
    (size,) = struct.unpack_from("<H", meta, vtable)
    at = 4 + 2 * field
    place: int = struct.unpack_from("<H", meta, vtable + at)[0] if at < size else 0
    return table + place if place else 0


def _follow(meta: memoryview, place: int) -> int:
    target: int = place + struct.unpack_from("<I", meta, place)[0]
    return target
