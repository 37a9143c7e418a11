"""Partitions as producers choose them, so that a reader knows which shard has learned a key.

`murmur2` is the default of Java clients and of librdkafka's `murmur2_random`; `crc32` is librdkafka's `consistent` and
`consistent_random`, the default of everything built on it. A record without a key is spread at random by some of
these; here it goes where librdkafka's `murmur2` and `consistent` put it: where the empty key goes.
"""

import functools
import zlib
from typing import Literal

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from worker.errors import IncompatibleDataError
from worker.events.arrays import present, spread, texts, whole
from worker.model.compiling import leaf

Partitioner = Literal["murmur2", "crc32"]

_SEED = np.uint32(0x9747B28C)
_MULTIPLIER = np.uint32(0x5BD1E995)
_S8, _S13, _S15, _S16, _S24 = (np.uint32(s) for s in (8, 13, 15, 16, 24))
_POSITIVE = np.uint32(0x7FFFFFFF)
_ALL = np.uint32(0xFFFFFFFF)
_BYTE = np.uint32(0xFF)


def partition(key: bytes | None, partitions: int, partitioner: Partitioner) -> int:
    """Give the partition of a record's key.

    >>> partition(b"foobar", 12, "murmur2"), partition(b"foobar", 12, "crc32")
    (6, 5)
    """
    data = key or b""
    if partitioner == "crc32":
        return zlib.crc32(data) % partitions
    return (murmur2(data) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Give Kafka's variant of MurmurHash2, as an unsigned 32-bit integer."""
    return int(_murmur2(np.frombuffer(data, np.uint8), 0, len(data)))


def partition_of(column: pa.Array | pa.ChunkedArray, partitions: int, partitioner: Partitioner) -> NDArray[np.int32]:
    """Give the partitions of n keys; see `hashes_of`."""
    return (hashes_of(column, partitioner) % partitions).astype(np.int32)


def hashes_of(column: pa.Array | pa.ChunkedArray, partitioner: Partitioner) -> NDArray[np.int64]:
    """Give the hashes of n keys, whose remainders are the partitions; strings by their UTF-8, others by their text.

    Raises:
        IncompatibleDataError: the column holds neither strings nor integers nor booleans
    """
    array = whole(column)
    kind = array.type
    if pa.types.is_dictionary(kind):
        hashes = spread(array, hashes_of(array.dictionary, partitioner))
        return np.where(present(array), hashes, hashes_of(pa.nulls(1), partitioner))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        array = array.cast(pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise IncompatibleDataError(f"partition key: a column of {kind} where strings or integers are expected")
    data, offsets = texts(array)
    return np.asarray(_hashes(data, offsets, present(array), partitioner == "crc32", _crc_table()))


@njit(cache=True, nogil=True)
def _hashes(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    given: NDArray[np.bool_],
    crc: bool,
    table: NDArray[np.uint32],
) -> NDArray[np.int64]:
    results = np.empty(len(given), np.int64)
    for i in range(len(given)):
        begin, end = offsets[i], offsets[i + 1] if given[i] else offsets[i]
        h = _crc32(data, begin, end, table) if crc else _murmur2(data, begin, end) & _POSITIVE
        results[i] = np.int64(h)
    return results


@leaf
def _murmur2(data: NDArray[np.uint8], begin: int, end: int) -> np.uint32:
    # Utils.murmur2 of Apache Kafka; numba widens 32-bit arithmetic, so every product is cut back
    h = np.uint32(_SEED ^ np.uint32(end - begin))
    i = begin
    while i + 4 <= end:
        k = np.uint32(data[i]) | np.uint32(data[i + 1]) << _S8
        k = np.uint32(k | np.uint32(data[i + 2]) << _S16 | np.uint32(data[i + 3]) << _S24)
        k = np.uint32(k * _MULTIPLIER)
        k = np.uint32(np.uint32(k ^ (k >> _S24)) * _MULTIPLIER)
        h = np.uint32(np.uint32(h * _MULTIPLIER) ^ k)
        i += 4
    rest = end - i
    if rest == 3:
        h = np.uint32(h ^ np.uint32(data[i + 2]) << _S16)
    if rest >= 2:
        h = np.uint32(h ^ np.uint32(data[i + 1]) << _S8)
    if rest >= 1:
        h = np.uint32(np.uint32(h ^ np.uint32(data[i])) * _MULTIPLIER)
    h = np.uint32(np.uint32(h ^ (h >> _S13)) * _MULTIPLIER)
    return np.uint32(h ^ (h >> _S15))


@leaf
def _crc32(data: NDArray[np.uint8], begin: int, end: int, table: NDArray[np.uint32]) -> np.uint32:
    c = _ALL
    for i in range(begin, end):
        c = np.uint32(table[(c ^ np.uint32(data[i])) & _BYTE] ^ (c >> _S8))
    return np.uint32(c ^ _ALL)


@functools.cache
def _crc_table() -> NDArray[np.uint32]:
    """Read the 256 constants off zlib: crc32 of the byte b is table[0xFF ^ b] ^ 0xFF000000."""
    return np.array([zlib.crc32(bytes([0xFF ^ i])) ^ 0xFF000000 for i in range(256)], np.uint32)
