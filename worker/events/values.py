"""The values of records, as the decoders take them: a list of bytes, or an Arrow array of which no object is made.

A live worker has an object of each message anyway; a recording has arrays, and a replay would spend more on making
objects of them than on learning.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from worker.events.words import PADDING

_LINE_FEED, _SPACE, _PADDING = 0x0A, 0x20, len(PADDING)
_TOMBSTONE = -1  # in place of a length


class Values(Protocol):
    """The values of n records."""

    lengths: NDArray[np.int64]  # [n] bytes; -1 of a tombstone

    def __len__(self) -> int:
        """Count them."""
        ...

    def __getitem__(self, number: int) -> bytes | None:
        """Give one of them; None of a tombstone."""
        ...

    def __iter__(self) -> Iterator[bytes | None]:
        """Give each of them."""
        ...

    def joined(self, which: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Join some of them, none a tombstone, as the scanner reads them: a line feed after each, then `PADDING`."""
        ...


def values_of(values: Sequence[bytes | None] | pa.Array) -> Values:
    """Take the values of records as they come.

    Raises:
        TypeError: an Arrow array of something else than binary or large_binary.
    """
    return ArrowValues(values) if isinstance(values, pa.Array) else ListedValues(values)


class ListedValues:
    """Values that are objects."""

    def __init__(self, values: Sequence[bytes | None]) -> None:
        self._values = values
        try:
            self.lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
        except TypeError:  # a tombstone is rare, and asking each record whether it is one takes longer
            lengths = (_TOMBSTONE if value is None else len(value) for value in values)
            self.lengths = np.fromiter(lengths, np.int64, len(values))

    def __len__(self) -> int:
        """Count them."""
        return len(self._values)

    def __getitem__(self, number: int) -> bytes | None:
        """Give one of them."""
        return self._values[number]

    def __iter__(self) -> Iterator[bytes | None]:
        """Give each of them."""
        return iter(self._values)

    def joined(self, which: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Join some of them."""
        if len(which) and which[-1] - which[0] == len(which) - 1:
            some = self._values[int(which[0]) : int(which[-1]) + 1]
        else:
            some = [self._values[number] for number in which.tolist()]
        return np.frombuffer(b"\n".join([*some, PADDING]), np.uint8)  # type: ignore[list-item]  # none is a tombstone


class ArrowValues:
    """Values that stand one after the other in an Arrow array."""

    def __init__(self, values: pa.Array) -> None:
        if not (pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)):
            raise TypeError(f"values of records are binary or large_binary, not {values.type}")
        self._values = values
        _, offsets, data = values.buffers()
        kind = np.int32 if pa.types.is_binary(values.type) else np.int64
        first, n = values.offset, len(values)
        bounds = np.frombuffer(offsets, kind)[first : first + n + 1] if n else np.zeros(1, kind)
        self._starts = bounds[:-1].astype(np.int64)
        self._data = _read_only(np.frombuffer(data if data is not None and data.size else b"", np.uint8))
        self.lengths = np.diff(bounds).astype(np.int64)
        if values.null_count:
            self.lengths[values.is_null().to_numpy(zero_copy_only=False)] = _TOMBSTONE

    def __len__(self) -> int:
        """Count them."""
        return len(self._values)

    def __getitem__(self, number: int) -> bytes | None:
        """Give one of them."""
        value: bytes | None = self._values[number].as_py()
        return value

    def __iter__(self) -> Iterator[bytes | None]:
        """Give each of them."""
        return (value.as_py() for value in self._values)

    def joined(self, which: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Join some of them."""
        return _read_only(_joined(self._data, self._starts, self.lengths, which))


def _read_only(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Have kernels compiled once: an array that can be written is of another type to numba than the bytes of a list."""
    data.flags.writeable = False
    return data


@njit(cache=True, nogil=True)
def _joined(
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], which: NDArray[np.int64]
) -> NDArray[np.uint8]:
    size = len(which) + _PADDING
    for number in which:
        size += lengths[number]
    out = np.empty(size, np.uint8)
    at = 0
    for number in which:
        start, length = starts[number], lengths[number]
        for k in range(length):  # with unsigned indexes LLVM makes a copy of it, eight times as fast as slices are
            out[np.uint64(at + k)] = data[np.uint64(start + k)]
        out[at + length] = _LINE_FEED
        at += length + 1
    out[at:] = _SPACE
    return out
