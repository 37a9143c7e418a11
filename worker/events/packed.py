"""Decode packed messages: the columns of their events, and the reason for each event and each message that is none."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.errors import IncompatibleDataError
from worker.events.columns import columns_of, read_of
from worker.events.decode import Decoded
from worker.events.pack import rows_of
from worker.events.rejects import Reason, Rejected, RejectError
from worker.events.rules import Judged, Rules
from worker.events.unpack import Unpacker
from worker.events.values import Values, values_of
from worker.learning import Learning

_PIECE_EVENTS = 32_768  # decoded at once: large enough for the calls to cost nothing, small enough for the cache
_MOST_ROWS = 1_000  # of a message, set aside one by one; where more of them are bad, it is the message


@dataclass(kw_only=True)
class _Piece:
    """Neighbouring batches of the same types, and where in the records they come from."""

    batches: list[pa.RecordBatch] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)  # of each batch: its record, its first row there
    rejected: list[Rejected] = field(default_factory=list)
    events: int = 0

    def takes(self, batch: pa.RecordBatch) -> bool:
        """Tell whether a batch may go in too."""
        return not self.batches or (self.events < _PIECE_EVENTS and batch.schema == self.batches[0].schema)

    def add(self, batch: pa.RecordBatch, record: int, first: int) -> None:
        self.batches.append(batch)
        self.places.append((record, first))
        self.events += batch.num_rows


class PackedDecoder:
    """Decodes records that hold an Arrow IPC stream of many events each; what it gives means what `Decoder` says.

    Args:
        learning: the fields to read and the rules for them
        labelled: whether events are to be learned from; without, label, time and weight are not read

    Raises:
        ConfigurationError: one field is to be read in ways that exclude each other
    """

    def __init__(self, learning: Learning, *, labelled: bool = True) -> None:
        columns = columns_of(learning, labelled=labelled)
        self._names = list(columns)
        self._max_bytes = learning.events.max_bytes
        self._unpacker = Unpacker(columns, learning.events)
        self._rules = Rules(learning, labelled=labelled)
        self._read = read_of(learning, columns)
        self._numbered = labelled and learning.events.keep_negatives < 1.0  # who else asks for a row's number?
        self._empty = pa.RecordBatch.from_arrays(
            [pa.array([], column.type) for column in columns.values()], self._names
        )

    def pieces(self, values: Sequence[bytes | None] | pa.Array, timestamps: NDArray[np.int64]) -> Iterator[Decoded]:
        """Decode the events of n records, in their order, some ten thousand at a time; `index` names their records.

        Args:
            values: the records' values, or a binary array of them; None is a tombstone
            timestamps: [n] the records' timestamps, milliseconds since 1970, -1 where unknown
        """
        piece, values = _Piece(), values_of(values)
        for record, value in enumerate(values):
            try:
                batches = self._unpacker.unpack(value)
            except RejectError as error:
                piece.rejected.append(Rejected(index=record, reason=error.reason, detail=error.detail))
                continue
            first = 0
            for batch in batches:
                if not piece.takes(batch):
                    yield self._judge(piece, values, timestamps)
                    piece = _Piece()
                piece.add(batch, record, first)
                first += batch.num_rows
        yield self._judge(piece, values, timestamps)

    def decode(self, table: pa.Table | pa.RecordBatch) -> Decoded:
        """Decode the rows of a table; `index` and the rejected name them by their numbers.

        Raises:
            IncompatibleDataError: it is damaged, or a column is of a type that its use does not allow
        """
        try:
            table = table.select([at for at, name in enumerate(table.schema.names) if name in self._names])
            table.validate(full=True)
            table = table.take(pa.array(np.arange(table.num_rows)))  # a slice has offsets, which no message has
            whole = table.combine_chunks().to_batches() if isinstance(table, pa.Table) else [table]
            batches = [self._unpacker.columns_of(batch) for batch in whole]
        except (pa.ArrowException, RejectError) as error:
            raise IncompatibleDataError(f"the events cannot be read: {error}") from error
        piece = _Piece(batches=batches, events=sum(batch.num_rows for batch in batches))
        found, judged = self._apply(piece, np.full(piece.events, -1))
        return self._decoded(found, np.arange(piece.events), judged, sorted(judged.rejected, key=lambda one: one.index))

    def _judge(self, piece: _Piece, values: Values, timestamps: NDArray[np.int64]) -> Decoded:
        counts = [batch.num_rows for batch in piece.batches]
        records = np.repeat(np.array([record for record, _ in piece.places], np.int64), counts)
        table, judged = self._apply(piece, np.asarray(timestamps, np.int64)[records])
        rejected, rows = piece.rejected, None
        if judged.rejected or self._numbered:
            firsts = [np.arange(first, first + n) for (_, first), n in zip(piece.places, counts, strict=True)]
            rows = np.concatenate([np.empty(0, np.int64), *firsts])
        if judged.rejected and rows is not None:
            rejected = rejected + self._locate(judged.rejected, records, rows, values)
            rejected.sort(key=lambda one: (one.index, one.row or 0))
        decoded = self._decoded(table, records, judged, rejected)
        return replace(decoded, rows=rows[judged.keep]) if rows is not None else decoded

    def _apply(self, piece: _Piece, timestamps: NDArray[np.int64]) -> tuple[pa.Table, Judged]:
        table = pa.Table.from_batches(piece.batches or [self._empty])
        return table, self._rules.judge(table, np.arange(table.num_rows), timestamps)

    def _decoded(self, table: pa.Table, index: NDArray[np.int64], judged: Judged, rejected: list[Rejected]) -> Decoded:
        table = table.select(self._read)
        if not judged.keep.all():
            table, index = table.filter(pa.array(judged.keep)), index[judged.keep]
        return Decoded(
            table=table,
            index=index,
            labels=judged.labels,
            weights=judged.weights,
            times=judged.times,
            rejected=rejected,
        )

    def _locate(
        self,
        found: list[Rejected],
        records: NDArray[np.int64],
        rows: NDArray[np.int64],
        values: Values,
    ) -> list[Rejected]:
        """Say of each refused row of a piece in which record it stands, and cut it out of there."""
        by_record: dict[int, list[Rejected]] = defaultdict(list)
        for one in sorted(found, key=lambda one: one.index):
            at = one.index
            by_record[int(records[at])].append(replace(one, index=int(records[at]), row=int(rows[at])))
        located: list[Rejected] = []
        for record, bad in by_record.items():
            value = values[record]
            if value is None:
                continue
            few = [one.row or 0 for one in bad] if len(bad) <= _MOST_ROWS else []
            cut = rows_of(value, few, self._names, self._max_bytes)
            located += (
                [replace(one, value=part) for one, part in zip(bad, cut, strict=True)] if cut else _summed_up(bad)
            )
        return located


def _summed_up(bad: list[Rejected]) -> list[Rejected]:
    """Put the refused rows of one record together, by their reason."""
    by_reason: dict[Reason, list[Rejected]] = defaultdict(list)
    for one in bad:
        by_reason[one.reason].append(one)
    return [
        replace(
            many[0],
            row=None,
            events=len(many),
            detail=f"{len(many)} rows, the first is {many[0].row}: {many[0].detail}",
        )
        for many in by_reason.values()
    ]
