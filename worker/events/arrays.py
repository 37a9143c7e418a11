"""Arrow arrays as the numpy arrays that kernels read, without copies where none is needed.

Views are marked read-only throughout: numba compiles a kernel once per kind of array, writable or not.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Give a read-only view."""
    view = array.view()
    view.flags.writeable = False
    return view


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Join the chunks of a column."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def present(array: pa.Array) -> NDArray[np.bool_]:
    """Tell which of n values are not null."""
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return np.array(array.is_valid().to_numpy(zero_copy_only=False), np.bool_)


def texts(array: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """View n strings as their bytes and n + 1 offsets (int32 or int64); a null may have any extent."""
    width = np.int64 if pa.types.is_large_string(array.type) else np.int32
    _, offsets, data = array.buffers()
    return _view(data, np.uint8), _offsets(offsets, width, array)


def integers(array: pa.Array) -> NDArray[np.int64]:
    """View n int64 values; a null may have any value."""
    return _view(array.buffers()[1], np.int64)[array.offset : array.offset + len(array)]


def spread(array: pa.Array, of_values: NDArray[Any]) -> NDArray[Any]:
    """Give each of n rows of a dictionary what belongs to its value; a null gets anything."""
    if len(of_values) == 0:
        return np.zeros(len(array), of_values.dtype)
    places = array.indices.fill_null(0) if array.indices.null_count else array.indices
    return np.asarray(of_values[places.to_numpy()])


def floats(array: pa.Array) -> NDArray[np.float64]:
    """Give n numbers or booleans as float64; a null is NaN."""
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


def lists(array: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """View n lists as all of their elements and n + 1 offsets into those (int32 or int64)."""
    width = np.int64 if pa.types.is_large_list(array.type) else np.int32
    return array.values, _offsets(array.buffers()[1], width, array)


def _offsets(buffer: pa.Buffer | None, width: type, array: pa.Array) -> NDArray[np.int64]:
    if len(array) == 0:  # Arrow allows an empty array to have no offsets at all
        return frozen(np.zeros(1, width))
    return _view(buffer, width)[array.offset : array.offset + len(array) + 1]


def _view(buffer: pa.Buffer | None, kind: type) -> NDArray[Any]:
    if buffer is None:
        return frozen(np.zeros(0, kind))
    return frozen(np.frombuffer(buffer, kind, buffer.size // np.dtype(kind).itemsize))
