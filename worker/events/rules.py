"""What the values of an event must be, column by column."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.events.arrays import floats, lists, present, whole
from worker.events.numeric import scaled, transformed
from worker.events.rejects import Reason, Rejected
from worker.learning import Feature, Learning

_TO_MILLISECONDS = {"s": (1000.0, 1.0), "ms": (1.0, 1.0), "us": (1.0, 1000.0)}  # multiply, divide: both exact
_LAST_TIME = 2.0**53  # milliseconds: from here on a double misses integers
_UNKNOWN = -1  # a record's timestamp that the broker does not know


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The rows of a table that are fit to be learned from."""

    keep: NDArray[np.bool_]  # [n]
    labels: NDArray[np.float32]  # [m] of the kept rows, as are the others
    weights: NDArray[np.float32]  # [m]
    times: NDArray[np.int64]  # [m] milliseconds since 1970
    rejected: list[Rejected]


class _Verdicts:
    """Collects refusals; the first one of a row stands."""

    def __init__(self, index: NDArray[np.int64]) -> None:
        self.index = index
        self.keep = np.ones(len(index), np.bool_)
        self.rejected: list[Rejected] = []

    def refuse(self, rows: NDArray[np.bool_], reason: Reason, detail: Callable[[int], str]) -> None:
        """Refuse the rows of a mask; `detail` words it for one of them."""
        for row in np.flatnonzero(rows & self.keep).tolist():
            self.rejected.append(Rejected(index=int(self.index[row]), reason=reason, detail=detail(row)))
        self.keep &= ~rows


class Rules:
    """Judges parsed events; without labels, only what features read."""

    def __init__(self, learning: Learning, *, labelled: bool) -> None:
        self._events = learning.events
        self._logistic = learning.model.loss == "logistic"
        self._labelled = labelled
        self._earliest = datetime.fromisoformat(learning.events.earliest_time).timestamp() * 1000
        self._features = [(name, learning.field_of(name), feature) for name, feature in learning.features.items()]

    def judge(self, table: pa.Table, index: NDArray[np.int64], timestamps: NDArray[np.int64]) -> Judged:
        """Judge the n rows of a table.

        Args:
            table: the columns of `columns_of`
            index: [n] the records' positions, for the rejected
            timestamps: [n] the records' timestamps, milliseconds since 1970, -1 where unknown
        """
        verdicts = _Verdicts(index)
        labels = np.zeros(len(index), np.float32)
        weights = np.ones(len(index), np.float32)
        times = timestamps
        if self._labelled:
            labels = self._labels(table, verdicts)
            weights = self._weights(table, weights, verdicts)
            times = self._times(table, timestamps, verdicts)
        for name, field, feature in self._features:
            if feature.kind == "numeric":
                _judge_numbers(name, feature, whole(table.column(field)), verdicts)
            elif feature.kind == "multi":
                _judge_lists(name, feature, whole(table.column(field)), verdicts)
        keep = verdicts.keep
        return Judged(
            keep=keep, labels=labels[keep], weights=weights[keep], times=times[keep], rejected=verdicts.rejected
        )

    def _labels(self, table: pa.Table, verdicts: _Verdicts) -> NDArray[np.float32]:
        field = self._events.label
        column = whole(table.column(field))
        labels = floats(column)
        verdicts.refuse(~present(column), Reason.LABEL_MISSING, lambda _: f"{field}: no label")
        stored = _stored(labels)
        verdicts.refuse(~np.isfinite(stored), Reason.NOT_FINITE, lambda row: f"{field}: {labels[row]} is not finite")
        if self._logistic:
            outside = (labels < 0) | (labels > 1)
            verdicts.refuse(
                outside, Reason.LABEL_OUT_OF_RANGE, lambda row: f"{field}: {labels[row]} is outside of 0 to 1"
            )
        return stored

    def _weights(self, table: pa.Table, ones: NDArray[np.float32], verdicts: _Verdicts) -> NDArray[np.float32]:
        field = self._events.weight
        if field is None:
            return ones
        column = whole(table.column(field))
        weights = np.where(present(column), floats(column), 1.0)
        stored = _stored(weights)
        verdicts.refuse(~np.isfinite(stored), Reason.NOT_FINITE, lambda row: f"{field}: {weights[row]} is not finite")
        verdicts.refuse(weights < 0, Reason.WEIGHT_OUT_OF_RANGE, lambda row: f"{field}: {weights[row]} is negative")
        return stored

    def _times(self, table: pa.Table, timestamps: NDArray[np.int64], verdicts: _Verdicts) -> NDArray[np.int64]:
        field = self._events.time
        column = whole(table.column(field))
        given = present(column)
        factor, divisor = _TO_MILLISECONDS[self._events.time_unit]
        with np.errstate(over="ignore"):
            exact = np.where(given, np.rint(floats(column) * factor / divisor), timestamps.astype(np.float64))
        known = timestamps != _UNKNOWN
        latest = np.where(known, timestamps + self._events.max_future_seconds * 1000.0, _LAST_TIME)
        verdicts.refuse(~given & ~known, Reason.TIME_MISSING, lambda _: f"{field}: no time, nor has the record one")
        verdicts.refuse(np.isnan(exact), Reason.NOT_FINITE, lambda _: f"{field}: not a number")
        verdicts.refuse(
            exact < self._earliest,
            Reason.TIME_TOO_EARLY,
            lambda row: f"{field}: {exact[row]:.0f} ms is before {self._events.earliest_time}",
        )
        verdicts.refuse(
            (exact > latest) | (exact >= _LAST_TIME),
            Reason.TIME_TOO_LATE,
            lambda row: f"{field}: {exact[row]:.0f} ms is after {latest[row]:.0f} ms, the latest believed",
        )
        return np.where(verdicts.keep, exact, 0.0).astype(np.int64)


def _judge_numbers(name: str, feature: Feature, column: pa.Array, verdicts: _Verdicts) -> None:
    values = floats(column)
    if feature.transform == "buckets":
        finite = np.isfinite(values)
    else:
        finite = np.isfinite(transformed(feature, values) if feature.standardised else scaled(feature, values))
    infinite = ~finite & present(column)
    verdicts.refuse(
        infinite, Reason.NOT_FINITE, lambda row: f"feature {name}: {values[row]} is not finite, or too large"
    )


def _judge_lists(name: str, feature: Feature, column: pa.Array, verdicts: _Verdicts) -> None:
    _, offsets = lists(column)
    counts, limit = np.diff(offsets), feature.max_values
    too_long = (counts > limit) & present(column)
    verdicts.refuse(
        too_long, Reason.TOO_MANY_VALUES, lambda row: f"feature {name}: {counts[row]} values, {limit} allowed"
    )


def _stored(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to single precision; what does not fit becomes an infinity, -0 becomes 0 (parsers disagree about it)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32) + np.float32(0)
