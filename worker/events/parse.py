"""Records to columns: the scanner first, Arrow on joined records for the rest, the reference for what Arrow refuses.

The fate and the values of a record never depend on the records around it: what the scanner (`scan.scan`) or Arrow
accepts means what the reference (`record.parse`) says, and what both refuse is asked of the reference, one record at a
time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from worker.events.columns import Column
from worker.events.record import is_strict, parse
from worker.events.rejects import Rejected, RejectError
from worker.events.scanned import Scanner, join
from worker.events.screen import JOINABLE, SUSPECT, UNFIT, screen

_CHUNK_RECORDS = 16_384  # some 3 MB of usual events: larger joins fall out of the cache
_CHUNK_BYTES = 64 * 1024 * 1024  # Arrow's blocks end at 2 GiB
_FEW = 64  # a call of Arrow costs some 0.15 ms, which the reference needs for about as many records; the scanner, too
_BRANCHES = 4  # halving would call Arrow more often, more branches would parse the good records more often
_SAMPLE = 32


@dataclass(kw_only=True)
class Parsed:
    """Records as columns, so far in parts."""

    parts: list[tuple[NDArray[np.int64], pa.Table]] = field(default_factory=list)
    rows: list[tuple[int, list[object]]] = field(default_factory=list)  # index, values in the order of the columns
    rejected: list[Rejected] = field(default_factory=list)


class Parser:
    """Reads columns from JSON records.

    Its only state is what it has seen a topic send for a field (strings, integers or booleans), so that Arrow is told
    the type that it will find. It decides how fast records are read, not what they say.
    """

    def __init__(self, columns: dict[str, Column], max_bytes: int) -> None:
        self._columns = tuple(columns.values())
        self._max_bytes = max_bytes
        self._scanner = Scanner(self._columns)
        self._types = {column.name: column.types[0] for column in self._columns}

    def parse(self, values: Sequence[bytes | None]) -> tuple[pa.Table, NDArray[np.int64], list[Rejected]]:
        """Give the table of the accepted records, their positions in `values`, and the rejected ones.

        A column has one of its `types`, whichever is at hand: 123 and "123" are told apart by the type only.
        """
        parsed = Parsed()
        lengths = _lengths(values)
        for begin, end in _chunks(lengths):
            if end - begin <= _FEW:
                self._ask_reference(values, range(begin, end), parsed)
            else:
                self._parse_chunk(values, begin, lengths[begin:end], parsed)
        return (*self._merge(parsed), parsed.rejected)

    def _parse_chunk(
        self, values: Sequence[bytes | None], begin: int, lengths: NDArray[np.int64], parsed: Parsed
    ) -> None:
        index = np.arange(begin, begin + len(lengths))
        sized = (lengths >= 0) & (lengths <= self._max_bytes)
        candidates = index if sized.all() else index[sized]
        joined = join(_select(values[begin : begin + len(lengths)], None if sized.all() else candidates - begin))
        table, plain = self._scanner.scan(joined, lengths[sized])
        if len(plain):
            parsed.parts.append((candidates[plain], table))
        if len(plain) < len(candidates):
            self._parse_unusual(values, np.delete(candidates, plain), parsed)
        if len(candidates) < len(index):
            self._ask_reference(values, index[~sized].tolist(), parsed)

    def _parse_unusual(self, values: Sequence[bytes | None], index: NDArray[np.int64], parsed: Parsed) -> None:
        """Parse records of a bounded size by Arrow, as far as they may be joined."""
        if len(index) <= _FEW:
            self._ask_reference(values, index.tolist(), parsed)
            return
        records = _select(values, index)
        joined = b"\n".join(records)
        verdicts = screen(np.frombuffer(joined, np.uint8), np.fromiter(map(len, records), np.int64, len(records)))
        for i in np.flatnonzero(verdicts == SUSPECT).tolist():
            verdicts[i] = JOINABLE if is_strict(records[i]) else UNFIT
        if not _is_utf8(joined):
            verdicts[[not _is_utf8(record) for record in records]] = UNFIT
        good = index[verdicts == JOINABLE]
        self._parse_group(values, good, parsed, joined if len(good) == len(index) else None, adapt=True)
        if len(good) < len(index):
            self._ask_reference(values, index[verdicts != JOINABLE].tolist(), parsed)

    def _parse_group(
        self,
        values: Sequence[bytes | None],
        index: NDArray[np.int64],
        parsed: Parsed,
        joined: bytes | None = None,
        *,
        adapt: bool = False,
    ) -> None:
        """Parse joinable records; where Arrow refuses them, narrow down to those that are to blame."""
        if len(index) <= _FEW:
            self._ask_reference(values, index.tolist(), parsed)
            return
        if joined is None:
            joined = b"\n".join(_select(values, index))
        table = self._ask_arrow(joined, len(index))
        if table is None and adapt and self._adapt(_select(values, index[:_SAMPLE])):
            table = self._ask_arrow(joined, len(index))
        if table is not None:
            parsed.parts.append((index, table))
            return
        for part in np.array_split(index, _BRANCHES):
            self._parse_group(values, part, parsed)

    def _ask_arrow(self, joined: bytes, records: int) -> pa.Table | None:
        try:
            table = pj.read_json(
                pa.BufferReader(joined),
                read_options=pj.ReadOptions(use_threads=False, block_size=len(joined) + 1),  # one block
                parse_options=pj.ParseOptions(
                    explicit_schema=pa.schema(list(self._types.items())), unexpected_field_behavior="ignore"
                ),
            )
        except pa.ArrowException:
            return None
        return table.select(list(self._types)) if table.num_rows == records else None

    def _ask_reference(self, values: Sequence[bytes | None], index: Sequence[int], parsed: Parsed) -> None:
        for i in index:
            try:
                record = parse(values[i], self._max_bytes)
                parsed.rows.append((i, [column.convert(record.get(column.name)) for column in self._columns]))
            except RejectError as error:
                parsed.rejected.append(Rejected(index=i, reason=error.reason, detail=error.detail))

    def _adapt(self, records: Sequence[bytes]) -> bool:
        """Take the types from these records where they agree among themselves; tell whether any type changed."""
        sample = []
        for record in records:
            try:
                sample.append(parse(record, self._max_bytes))
            except RejectError:
                continue
        before = dict(self._types)
        for column in self._columns:
            observed = column.observed(record.get(column.name) for record in sample)
            if observed is not None:
                self._types[column.name] = observed
        return self._types != before

    def _merge(self, parsed: Parsed) -> tuple[pa.Table, NDArray[np.int64]]:
        parts = parsed.parts
        if parsed.rows or not parts:
            index, rows = zip(*parsed.rows, strict=True) if parsed.rows else ((), ())
            arrays = [pa.array([row[i] for row in rows], column.types[0]) for i, column in enumerate(self._columns)]
            names = [column.name for column in self._columns]
            parts = [*parts, (np.array(index, np.int64), pa.Table.from_arrays(arrays, names))]
        tables = [table for _, table in parts]
        for column in self._columns:
            if len({table.schema.field(column.name).type for table in tables}) > 1:
                tables = [_cast(table, column) for table in tables]
        table = pa.concat_tables(tables)
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


def _lengths(values: Sequence[bytes | None]) -> NDArray[np.int64]:
    """Measure the records; a tombstone has length -1."""
    try:
        return np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    except TypeError:  # a tombstone is rare, and asking each record whether it is one takes longer
        return np.fromiter((-1 if value is None else len(value) for value in values), np.int64, len(values))


def _select(values: Sequence[bytes | None], index: NDArray[np.int64] | None) -> Sequence[bytes]:
    """Give the records at these positions, or all; none of them is a tombstone."""
    return cast("Sequence[bytes]", values if index is None else [values[i] for i in index.tolist()])


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cast(table: pa.Table, column: Column) -> pa.Table:
    i = table.schema.get_field_index(column.name)
    return table.set_column(i, pa.field(column.name, column.types[0]), table.column(i).cast(column.types[0]))
