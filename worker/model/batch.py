"""Events as numbers: what the learner sees."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# The bit of a key that tells a row that all shards add to from one that a single shard learns.
SHARED = np.uint64(1 << 63)
NOWHERE = np.int64(-1)  # the route of a row that does not belong to one partition key


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The active feature values of n events over F fields, in compressed sparse rows.

    The entries of event e in field f are `starts[e * F + f] : starts[e * F + f + 1]`; none means missing.
    Field 0 is the bias.
    """

    fields: int
    keys: NDArray[np.uint64]  # [entries] hash of (feature, value)
    values: NDArray[np.float32]  # [entries] the multiplier x of the row
    starts: NDArray[np.int64]  # [n * fields + 1]
    # [n, S] of the S fields that are standardised, NaN where missing: their values stand for nothing until they are,
    # see `standardising`. None where there is no such field, or all are.
    numbers: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """Count the events."""
        return (len(self.starts) - 1) // self.fields


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Labelled events of one shard, in offset order."""

    entries: Entries
    labels: NDArray[np.float32]  # [n]
    weights: NDArray[np.float32]  # [n] 1 counts once, 0 is predicted but not learned
    times: NDArray[np.int64]  # [n] event time, milliseconds since 1970
    routes: NDArray[np.int64] | None = None  # [entries] hash of the partition key that a row belongs to, or NOWHERE

    def __len__(self) -> int:
        """Count the events."""
        return len(self.labels)

    def __getitem__(self, events: slice) -> "Batch":
        """Take some events in a row; their entries keep their numbers, among those of all."""
        entries, first = self.entries, events.start * self.entries.fields
        return Batch(
            entries=replace(
                entries,
                starts=entries.starts[first : events.stop * entries.fields + 1],
                numbers=None if entries.numbers is None else entries.numbers[events],
            ),
            labels=self.labels[events],
            weights=self.weights[events],
            times=self.times[events],
            routes=self.routes,
        )

    def part(self, start: int, stop: int) -> "Batch":
        """Take the events number start to stop, as if there were no others."""
        starts = self.entries.starts[start * self.entries.fields : stop * self.entries.fields + 1]
        first, last = starts[0], starts[-1]
        return Batch(
            entries=Entries(
                fields=self.entries.fields,
                keys=self.entries.keys[first:last],
                values=self.entries.values[first:last],
                starts=starts - first,
                numbers=None if self.entries.numbers is None else self.entries.numbers[start:stop],
            ),
            labels=self.labels[start:stop],
            weights=self.weights[start:stop],
            times=self.times[start:stop],
            routes=self.routes[first:last] if self.routes is not None else None,
        )

    def only(self, some: NDArray[np.bool_]) -> "Batch":
        """Take the events of a mask [n], as if there were no others."""
        fields = self.entries.fields
        counts = np.diff(self.entries.starts).reshape(-1, fields)
        entries = np.repeat(some, counts.sum(axis=1))
        return Batch(
            entries=Entries(
                fields=fields,
                keys=self.entries.keys[entries],
                values=self.entries.values[entries],
                starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[some].ravel())]),
                numbers=None if self.entries.numbers is None else self.entries.numbers[some],
            ),
            labels=self.labels[some],
            weights=self.weights[some],
            times=self.times[some],
            routes=self.routes[entries] if self.routes is not None else None,
        )
