"""Decode: the bytes of records to the columns of events, and the reason for each record that is none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.events.columns import columns_of, read_of
from worker.events.parse import Parser
from worker.events.rejects import Reason, Rejected
from worker.events.rules import Rules
from worker.learning import Learning

__all__ = ["Decoded", "Decoder", "Reason", "Rejected"]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The m accepted events of n records, in their order."""

    table: pa.Table  # m rows; what features read, and the id, or the partition key where labels are not asked for
    index: NDArray[np.int64]  # [m] positions in the records handed in
    labels: NDArray[np.float32]  # [m] zeros where labels are not asked for
    weights: NDArray[np.float32]  # [m]
    times: NDArray[np.int64]  # [m] event time, milliseconds since 1970; the record's where labels are not asked for
    rejected: list[Rejected]  # by index
    rows: NDArray[np.int64] | None = None  # [m] numbers in their records, where these hold many events

    def only(self, some: NDArray[np.bool_] | None) -> "Decoded":
        """Take the events of a mask [m], or all of them."""
        if some is None or some.all():
            return self
        return replace(
            self,
            table=self.table.filter(pa.array(some)),
            index=self.index[some],
            labels=self.labels[some],
            weights=self.weights[some],
            times=self.times[some],
            rows=None if self.rows is None else self.rows[some],
        )


class Decoder:
    """Decodes JSON records.

    The fate of a record and what it says depend on nothing but the record and the configuration: not on its neighbours
    in the batch, nor on what was decoded before. (A category column may come as strings, integers or booleans: its
    keys are the same.)

    Args:
        learning: the fields to read and the rules for them
        labelled: whether events are to be learned from; without, label, time and weight are not read

    Raises:
        ConfigurationError: one field is to be read in ways that exclude each other
    """

    def __init__(self, learning: Learning, *, labelled: bool = True) -> None:
        columns = columns_of(learning, labelled=labelled)
        self._parser = Parser(columns, learning.events.max_bytes)
        self._rules = Rules(learning, labelled=labelled)
        self._read = read_of(learning, columns)

    def pieces(self, values: Sequence[bytes | None] | pa.Array, timestamps: NDArray[np.int64]) -> Iterator[Decoded]:
        """Decode n records, in their order; see `decode`."""
        yield self.decode(values, timestamps)

    def decode(self, values: Sequence[bytes | None] | pa.Array, timestamps: NDArray[np.int64]) -> Decoded:
        """Decode n records.

        Args:
            values: the records' values, or a binary array of them; None is a tombstone
            timestamps: [n] the records' timestamps, milliseconds since 1970, -1 where unknown
        """
        table, index, rejected = self._parser.parse(values)
        judged = self._rules.judge(table, index, np.asarray(timestamps, np.int64)[index])
        table = table.select(self._read)
        if not judged.keep.all():
            table, index = table.filter(pa.array(judged.keep)), index[judged.keep]
        return Decoded(
            table=table,
            index=index,
            labels=judged.labels,
            weights=judged.weights,
            times=judged.times,
            rejected=sorted(rejected + judged.rejected, key=lambda one: one.index),
        )
