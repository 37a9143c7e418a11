"""Sums by slices: how the events do whose field has a value that was configured, and all others of that field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.model.batch import SHARED, Entries

OTHER: Final = "other"
LOSS, WEIGHT, LABEL, SCORE = range(4)  # columns of the sums


@dataclass(frozen=True, kw_only=True)
class Slices:
    """The slices of some fields, in the order of their sums: of each field its values, then all others.

    `fields` are those of the entries; `starts` [fields + 1] where the keys of each begin, without the highest bit.
    """

    names: tuple[tuple[str, str], ...] = ()  # (field, value)
    fields: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))

    @classmethod
    def of(cls, values: Mapping[str, Sequence[tuple[str, np.uint64]]], numbers: Mapping[str, int]) -> "Slices":
        """Make them of values with their keys, by field, and the number of each field among the entries'."""
        counts = [len(values[name]) for name in values]
        return cls(
            names=tuple((name, value) for name in values for value in (*(it for it, _ in values[name]), OTHER)),
            fields=np.array([numbers[name] for name in values], np.int64),
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            keys=np.array([key for name in values for _, key in values[name]], np.uint64) & ~SHARED,
        )

    def __len__(self) -> int:
        """Count the slices."""
        return len(self.names)

    def add(
        self,
        entries: Entries,
        observed: NDArray[np.float32],
        labels: NDArray[np.float32],
        weights: NDArray[np.float32],
        losses: NDArray[np.float64],
        sums: NDArray[np.float64],
    ) -> None:
        """Add n events to the sums [slices, 4]."""
        _add(
            entries.keys, entries.starts, entries.fields, self.fields, self.starts, self.keys,
            observed, labels, weights, losses, sums,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _add(keys, starts, F, fields, firsts, wanted, observed, labels, weights, losses, sums):
    for n in range(len(labels)):
        weight = np.float64(weights[n])
        for i in range(len(fields)):
            place = starts[n * F + fields[i]]
            at = firsts[i]
            if place < starts[n * F + fields[i] + 1]:
                key = keys[place] & ~SHARED
                while at < firsts[i + 1] and wanted[at] != key:
                    at += 1
            else:
                at = firsts[i + 1]  # missing is another value
            at += i  # each field before has one more slice than values
            sums[at, LOSS] += weight * losses[n]
            sums[at, WEIGHT] += weight
            sums[at, LABEL] += weight * np.float64(labels[n])
            sums[at, SCORE] += weight * np.float64(observed[n])
