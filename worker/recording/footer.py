"""What the footer of a Parquet file tells of its row groups, so that most of them need not be read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from worker.recording.records import NO_TIMESTAMP
from worker.recording.schema import Cover

_MILLISECONDS: Final = {"s": (1_000, 1), "ms": (1, 1), "us": (1, 1_000), "ns": (1, 1_000_000)}  # times, over


@dataclass(frozen=True, kw_only=True)
class Group:
    """One row group."""

    begin: int  # row number of its first row
    rows: int
    offsets: tuple[int, int] | None  # the lowest and the highest, where statistics say so
    times: tuple[int, int] | None  # likewise, in milliseconds since 1970


def groups(metadata: Any, columns: Mapping[str, int], timestamp: Any) -> Iterator[Group]:  # noqa: ANN401
    """Tell of every row group, in the order of the rows.

    Args:
        metadata: of the file.
        columns: name -> number of the column, for `offset` and `timestamp` where there are such.
        timestamp: the Arrow type of the column `timestamp`.
    """
    milliseconds = _to_milliseconds(timestamp)
    begin = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        times = bounds(group, columns.get("timestamp"))
        yield Group(
            begin=begin,
            rows=group.num_rows,
            offsets=bounds(group, columns.get("offset")),
            times=None if times is None else (milliseconds(times[0]), milliseconds(times[1])),
        )
        begin += group.num_rows


def covered(cover: Cover) -> Iterator[Group]:
    """Tell the same of a file of ours, which says it itself."""
    begin = 0
    for rows, first, last, low, high in cover.groups:
        times = None if low == NO_TIMESTAMP else (low, high)
        yield Group(begin=begin, rows=rows, offsets=(first, last), times=times)
        begin += rows


def bounds(group: Any, column: int | None) -> tuple[int, int] | None:  # noqa: ANN401
    """Tell the lowest and the highest integer of a column in a row group; None where statistics do not say."""
    if column is None:
        return None
    found = group.column(column).statistics
    if found is None or not found.has_min_max or not isinstance(found.min_raw, int):
        return None
    return found.min_raw, found.max_raw


def _to_milliseconds(kind: Any) -> Callable[[int], int]:  # noqa: ANN401
    times, over = _MILLISECONDS[kind.unit] if kind is not None and pa.types.is_timestamp(kind) else (1, 1)
    return lambda raw: raw * times // over
