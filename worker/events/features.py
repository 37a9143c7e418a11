"""Features: the columns of events to the keys and values that the learner sees.

| kind | key | value |
|---|---|---|
| bias | of ("bias", "") | 1 |
| categorical | of (feature, value) | 1 |
| numeric | of (feature, "") | (transform(v) - shift) / scale; 0 until it is standardised, where it is to be |
| numeric, buckets | of (feature, number of edges at or below v) | 1 |
| multi | of (feature, value), each distinct one | 1 / how many: the list weighs as much as a single category |
| cross | of the parts' keys, in the order of `of` | product of the parts' |
| rare | of (feature, the byte FF), which is no text | the sum of those it stands for: see `worker.model.admission` |

Keys are explained in `hashing`; their highest bit tells the rows that shards share from those of one shard alone. A
null has no entry, nor has a cross without one of its parts.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.errors import IncompatibleDataError
from worker.events.arrays import floats, integers, lists, present, spread, texts, whole
from worker.events.assemble import cross, distinct, interleave, routes, starts_of
from worker.events.hashing import hash_integers, hash_texts, key_of, rare_key_of, seed_of
from worker.events.numeric import bucketed, scaled, transformed
from worker.events.partition import hashes_of
from worker.learning import Feature, Learning
from worker.model.admission import Thresholds
from worker.model.batch import SHARED, Entries

_BIAS = "bias"


class _Fields:
    """Entries field by field, of n events: growing flat arrays and each field's starts in them."""

    def __init__(self, events: int, fields: int) -> None:
        self.keys: list[NDArray[np.uint64]] = []
        self.values: list[NDArray[np.float32]] = []
        self.starts = np.empty((fields, events + 1), np.int64)
        self._order: list[int] = []
        self.size = 0

    def add(self, field: int, keys: NDArray[np.uint64], values: NDArray[np.float32], starts: NDArray[np.int64]) -> None:
        """Take the entries of one field."""
        self._order.append(field)
        self.keys.append(keys)
        self.values.append(values)
        np.add(starts, self.size, out=self.starts[field])
        self.size += len(keys)

    def flat(self) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
        """Give all keys and all values so far."""
        return np.concatenate(self.keys), np.concatenate(self.values)

    def mark(self, shared: NDArray[np.bool_]) -> None:
        """Set the bit that tells the rows of shared fields [fields] from local ones."""
        for field, keys in zip(self._order, self.keys, strict=True):
            if shared[field]:
                np.bitwise_or(keys, SHARED, out=keys)
            else:
                np.bitwise_and(keys, ~SHARED, out=keys)


class Features:
    """Encodes events: the bias and the features, in the order of the configuration."""

    def __init__(self, learning: Learning) -> None:
        self._features = dict(learning.features)
        self._columns = {name: learning.field_of(name) for name in self._features}
        self._seeds = {name: seed_of(name) for name in self._features}
        self.names: tuple[str, ...] = (_BIAS, *self._features)
        self.fields = len(self.names)
        self.local: NDArray[np.bool_] = np.array([False, *(learning.is_local(name) for name in self._features)])
        # Where shards are not merged every row is learned by one shard only, whatever its feature.
        self._shared = ~self.local & learning.model.merge
        follows = np.array([False, *(learning.follows_key(name) for name in self._features)])
        self._routed: NDArray[np.bool_] = follows & ~self._shared
        self._standardised = learning.standardised
        self._key, self._partitioner = learning.events.partition_key, learning.events.partitioner

    def encode(self, table: pa.Table) -> Entries:
        """Encode the rows of a table that holds the fields of `Decoded.table`.

        Raises:
            IncompatibleDataError: a column is absent, or of a type that its feature cannot have
        """
        events = table.num_rows
        fields = _Fields(events, self.fields)
        fields.add(0, np.full(events, key_of(_BIAS)), np.ones(events, np.float32), np.arange(events + 1))
        for field, (name, feature) in enumerate(self._features.items(), 1):
            if feature.kind != "cross":
                fields.add(field, *self._encode(name, feature, self._column(table, name)))
        for field, (name, feature) in enumerate(self._features.items(), 1):
            if feature.kind == "cross":
                parts = [self.names.index(part) for part in feature.of]
                fields.add(field, *cross(*fields.flat(), fields.starts[parts], self._seeds[name]))
        fields.mark(self._shared)
        keys, values, starts = interleave(*fields.flat(), fields.starts)
        return Entries(fields=self.fields, keys=keys, values=values, starts=starts, numbers=self._numbers(table))

    def _numbers(self, table: pa.Table) -> NDArray[np.float64] | None:
        """Give the numbers that are to be standardised, transformed [n, S]; NaN where an event has none."""
        if not self._standardised:
            return None
        numbers = np.full((table.num_rows, len(self._standardised)), np.nan)
        for at, name in enumerate(self._standardised):
            array = self._column(table, name)
            given = present(array)
            numbers[given, at] = transformed(self._features[name], floats(array)[given])
        return numbers

    def routes(self, table: pa.Table, entries: Entries) -> NDArray[np.int64] | None:
        """Tell which partition key the row of each entry belongs to, by its hash; None where none belongs to any."""
        if not self._routed.any():
            return None
        return np.asarray(routes(entries.starts, self._routed, hashes_of(table[self._key], self._partitioner)))

    def _column(self, table: pa.Table, name: str) -> pa.Array:
        column = self._columns[name]
        if column not in table.column_names:
            raise IncompatibleDataError(
                f"feature {name}: no column {column!r} in the events; add one of nulls if need be"
            )
        return whole(table.column(column))

    def _encode(
        self, name: str, feature: Feature, array: pa.Array
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        kind, seed = array.type, self._seeds[name]
        given = present(array)
        if feature.kind == "multi":
            if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
                raise IncompatibleDataError(f"feature {name}: a column of {kind} where lists are expected")
            elements, offsets = lists(array)
            keys, values, starts = distinct(hash_categories(name, elements, seed), present(elements), offsets, given)
            return keys, values, starts
        if feature.kind == "categorical":
            keys = hash_categories(name, array, seed)[given]
            values = np.ones(len(keys), np.float32)
        else:
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
                raise IncompatibleDataError(f"feature {name}: a column of {kind} where numbers are expected")
            if feature.transform == "buckets":
                keys = hash_integers(bucketed(feature, floats(array)[given]), seed)
                values = np.ones(len(keys), np.float32)
            else:
                keys = np.full(np.count_nonzero(given), key_of(name))
                values = (
                    np.zeros(len(keys), np.float32) if feature.standardised else scaled(feature, floats(array)[given])
                )
        return keys, values, starts_of(given)


def thresholds_of(learning: Learning) -> Thresholds:
    """Tell which fields hold rare values back, the bias first, and the keys of the rows that stand for these."""
    shared = [True, *(not learning.is_local(name) for name in learning.features)]
    keys = [rare_key_of(name) for name in (_BIAS, *learning.features)]
    return Thresholds(
        after=np.array([0, *(feature.admit_after for feature in learning.features.values())], np.int64),
        rare=np.array(
            [
                key | SHARED if of_all and learning.model.merge else key & ~SHARED
                for key, of_all in zip(keys, shared, strict=True)
            ],
            np.uint64,
        ),
    )


def hash_categories(name: str, array: pa.Array, seed: np.uint64) -> NDArray[np.uint64]:
    """Hash n categories; where the array is null the key means nothing."""
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(hash_texts(*texts(array), seed))
    if pa.types.is_boolean(kind):
        both = np.array([key_of(name, "false"), key_of(name, "true")])
        return np.asarray(both[array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.intp)])
    if pa.types.is_int64(kind):
        return np.asarray(hash_integers(integers(array), seed))
    if pa.types.is_dictionary(kind):
        return spread(array, hash_categories(name, array.dictionary, seed))
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        return np.asarray(hash_texts(*texts(array.cast(pa.string())), seed))
    raise IncompatibleDataError(f"feature {name}: a column of {kind} where strings, integers or booleans are expected")
