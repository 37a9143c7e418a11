"""Records to columns: by the scanner, and one by one by the reference where it is in doubt.

The fate and the values of a record never depend on the records around it: what the scanner (`scan.scan`) accepts means
what the reference (`record.parse`) says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.events.columns import Column
from worker.events.record import parse
from worker.events.rejects import Rejected, RejectError
from worker.events.scanned import Scanner
from worker.events.values import Values, values_of

_CHUNK_RECORDS = 16_384  # some 3 MB of usual events: larger joins fall out of the cache
_CHUNK_BYTES = 64 * 1024 * 1024  # tokens have 31 bits for a place


@dataclass(kw_only=True)
class _Parsed:
    """Records as columns, so far in parts."""

    parts: list[tuple[NDArray[np.int64], pa.Table]] = field(default_factory=list)
    rows: list[tuple[int, list[object]]] = field(default_factory=list)  # index, values in the order of the columns
    rejected: list[Rejected] = field(default_factory=list)


class Parser:
    """Reads columns from JSON records."""

    def __init__(self, columns: dict[str, Column], max_bytes: int) -> None:
        self._columns = tuple(columns.values())
        self._max_bytes = max_bytes
        self._scanner = Scanner(self._columns)

    def parse(self, values: Sequence[bytes | None] | pa.Array) -> tuple[pa.Table, NDArray[np.int64], list[Rejected]]:
        """Give the table of the accepted records, their positions in `values`, and the rejected ones."""
        parsed, some = _Parsed(), values_of(values)
        for begin, end in _chunks(some.lengths):
            self._parse_chunk(some, begin, some.lengths[begin:end], parsed)
        return (*self._merge(parsed), parsed.rejected)

    def _parse_chunk(self, values: Values, begin: int, lengths: NDArray[np.int64], parsed: _Parsed) -> None:
        index = np.arange(begin, begin + len(lengths))
        sized = (lengths >= 0) & (lengths <= self._max_bytes)
        candidates = index if sized.all() else index[sized]
        table, plain = self._scanner.scan(values.joined(candidates), lengths[sized])
        if len(plain):
            parsed.parts.append((candidates[plain], table))
        if len(plain) < len(index):
            self._ask_reference(values, np.setdiff1d(index, candidates[plain], assume_unique=True).tolist(), parsed)

    def _ask_reference(self, values: Values, index: Sequence[int], parsed: _Parsed) -> None:
        for i in index:
            try:
                record = parse(values[i], self._max_bytes)
                parsed.rows.append((i, [column.convert(record.get(column.name)) for column in self._columns]))
            except RejectError as error:
                parsed.rejected.append(Rejected(index=i, reason=error.reason, detail=error.detail))

    def _merge(self, parsed: _Parsed) -> tuple[pa.Table, NDArray[np.int64]]:
        parts = parsed.parts
        if parsed.rows or not parts:
            index, rows = zip(*parsed.rows, strict=True) if parsed.rows else ((), ())
            arrays = [pa.array([row[i] for row in rows], column.type) for i, column in enumerate(self._columns)]
            names = [column.name for column in self._columns]
            parts = [*parts, (np.array(index, np.int64), pa.Table.from_arrays(arrays, names))]
        table = pa.concat_tables([table for _, table in parts])
        order = np.concatenate([index for index, _ in parts])
        if np.all(order[1:] > order[:-1]):
            return table, order
        sort = np.argsort(order)
        return table.take(sort), order[sort]


def _chunks(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut a batch into ranges of bounded count and size."""
    ends = np.cumsum(np.maximum(lengths, 0))
    begin = 0
    while begin < len(lengths):
        before = ends[begin - 1] if begin else 0
        fitting = int(np.searchsorted(ends, before + _CHUNK_BYTES, side="right"))
        end = min(max(fitting, begin + 1), begin + _CHUNK_RECORDS, len(lengths))
        yield begin, end
        begin = end
