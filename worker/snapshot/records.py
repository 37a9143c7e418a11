"""The records of the model topic: Arrow IPC data records and JSON manifests, each with its checksum in the headers.

A data record is an Arrow IPC stream of one batch, which any Arrow library in any language reads. Its kind tells what it
carries: `rows` (touched since the version before), `base` (a part of a full copy of them), `contribution` (what was
added to rows that all shards share), `ledger` (a part of a full copy of what was ever added to them), `pairs` (the pair
weights, where shards are not merged), `progress` (the sums of progressive evaluation), `cells` (what the shard
remembers beside rows, as far as it was written since the version before), `base_cells` (a part of a full copy) and
`watch` (whether the shard goes wrong: detectors, the window that is open, slices).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.model.batch import NOWHERE
from worker.model.cells import Words
from worker.model.forgetting import NEVER
from worker.model.ledger import Contribution
from worker.model.rows import COLUMNS, FACTORS, Rows
from worker.snapshot.columns import decode, encode

FORMAT = 1
_ARROW = b"application/vnd.apache.arrow.stream"
_JSON = b"application/json"
_TIME = pa.timestamp("ms", "UTC")
_KEYED: dict[str, pa.DataType | None] = {"key": pa.uint64(), "seen": _TIME}
_ENVELOPE_BYTES = 8_192  # room for the schema, the headers, the key and Kafka's own framing


Part = TypeVar("Part", Rows, Contribution, Words)


class Kind(StrEnum):
    """What a record of the model topic carries."""

    ROWS = "rows"
    BASE = "base"
    CONTRIBUTION = "contribution"
    LEDGER = "ledger"
    PAIRS = "pairs"
    PROGRESS = "progress"
    EVICTED = "evicted"
    CELLS = "cells"
    BASE_CELLS = "base_cells"
    WATCH = "watch"
    MANIFEST = "manifest"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of the model topic, as written and as read."""

    kind: Kind
    model: str
    shard: int
    version: int
    sequence: int
    value: bytes
    checksum: str  # XXH3-64 of the value, hexadecimal

    @property
    def key(self) -> bytes:
        """Address of the record: model, shard, version, and sequence or the word manifest."""
        last = "manifest" if self.kind is Kind.MANIFEST else self.sequence
        return f"{self.model}/{self.shard}/{self.version}/{last}".encode()

    @property
    def name(self) -> str:
        """Give the record's name for people."""
        what = "the manifest" if self.kind is Kind.MANIFEST else f"record {self.sequence} ({self.kind})"
        return f"{what} of version {self.version} of shard {self.shard}"

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """What the record says of itself."""
        return [
            ("content-type", _JSON if self.kind is Kind.MANIFEST else _ARROW),
            ("headrace-format", str(FORMAT).encode()),
            ("headrace-model", self.model.encode()),
            ("headrace-shard", str(self.shard).encode()),
            ("headrace-version", str(self.version).encode()),
            ("headrace-kind", self.kind.encode()),
            ("headrace-sequence", str(self.sequence).encode()),
            ("headrace-checksum", self.checksum.encode()),
        ]


def checksum(value: bytes) -> str:
    """XXH3-64 of some bytes, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(value)


def read(value: bytes | None, headers: list[tuple[str, bytes]] | None) -> Record:
    """Read a record as its writer meant it.

    Raises:
        IncompatibleDataError: it is of a format that this release does not know, or not one of ours.
        CorruptSnapshotError: its bytes are not those of its checksum.
    """
    said = {name: content or b"" for name, content in headers or []}
    try:
        written = int(said["headrace-format"])
    except (KeyError, ValueError):
        raise IncompatibleDataError(
            "a record of the model topic lacks headrace's headers: who else writes there?"
        ) from None
    if written != FORMAT:
        raise IncompatibleDataError(
            f"the model topic is written in format {written}, this release reads {FORMAT}: upgrade headrace"
        )
    try:
        record = Record(
            kind=Kind(said["headrace-kind"].decode()),
            model=said["headrace-model"].decode(),
            shard=int(said["headrace-shard"]),
            version=int(said["headrace-version"]),
            sequence=int(said["headrace-sequence"]),
            value=value or b"",
            checksum=said["headrace-checksum"].decode(),
        )
    except (KeyError, ValueError) as error:
        raise CorruptSnapshotError(f"a record of the model topic has a damaged header: {error}") from error
    if checksum(record.value) != record.checksum:
        raise CorruptSnapshotError(
            f"{record.name} does not match its checksum {record.checksum}: its bytes were changed"
        )
    return record


def row_bytes(factors: int, *, fades: bool = False) -> int:
    """Give the bytes of one row in a data record: key, parameters, then event time, route and tick as far as given."""
    return 8 + 4 * (FACTORS + factors) + (3 if fades else 2) * (8 + 1)


def entry_bytes(factors: int) -> int:
    """Give the bytes of one row of a ledger in a data record: key, event times and amounts, own and of all."""
    return 8 + 2 * (8 + 1) + 2 * 8 * (FACTORS + factors)


def contribution_bytes(factors: int) -> int:
    """Give the bytes of one row of a contribution in a data record: key, event time and amounts."""
    return 8 + (8 + 1) + 8 * (FACTORS + factors)


KEY_BYTES = 8  # of a row that is gone
WORD_BYTES = 16  # of a word in a data record: its place and itself


def rows_per_record(each_bytes: int, limit_bytes: int) -> int:
    """Give how many rows of so many bytes fit a record of a topic whose `max.message.bytes` is the limit."""
    count = (limit_bytes - _ENVELOPE_BYTES) // each_bytes
    if count < 1:
        raise IncompatibleDataError(
            f"max.message.bytes = {limit_bytes} of the model topic does not hold a row of {each_bytes} bytes: raise it"
        )
    return count


def encode_rows(rows: Rows) -> bytes:
    """Write rows as an Arrow IPC stream."""
    columns: dict[str, pa.Array] = {
        "key": pa.array(rows.keys),
        "seen": _times(rows.seen),
        "route": _given(np.full(len(rows), NOWHERE) if rows.routes is None else rows.routes, NOWHERE),
    }
    columns |= {name: pa.array(rows.parameters[:, number]) for number, name in enumerate(rows.columns)}
    if rows.as_of is not None and (rows.as_of != NEVER).any():
        columns["as_of"] = _given(rows.as_of, NEVER)
    factors = rows.parameters.shape[1] - len(rows.columns)
    if factors:
        flat = pa.array(np.ascontiguousarray(rows.parameters[:, len(rows.columns) :]).ravel())
        columns["factors"] = pa.FixedSizeListArray.from_arrays(flat, factors)
    return encode(columns)


def decode_rows(value: bytes, factors: int, numbers: tuple[str, ...] = COLUMNS) -> Rows:
    """Read rows of these numbers and K = `factors` back, bit for bit."""
    needed = _KEYED | {"route": pa.int64()} | dict.fromkeys(numbers, pa.float32())
    columns = decode(value, needed | {"factors": None} if factors else needed)
    n = len(columns["key"])
    parameters = np.empty((n, len(numbers) + factors), np.float32)
    for number, name in enumerate(numbers):
        parameters[:, number] = columns[name]
    if factors:
        held = columns["factors"]
        if held.type != pa.list_(pa.float32(), factors):
            raise IncompatibleDataError(f"a row holds {held.type} as factors, not {factors} numbers")
        parameters[:, len(numbers) :] = held.flatten().to_numpy().reshape(n, factors)
    return Rows(
        keys=columns["key"].to_numpy(),
        seen=_filled(columns["seen"], NEVER),
        parameters=parameters,
        as_of=_filled(columns["as_of"], NEVER) if "as_of" in columns else None,
        routes=_filled(columns["route"], NOWHERE),
        columns=numbers,
    )


def decode_keys(value: bytes) -> NDArray[np.uint64]:
    """Read the keys of rows, or of what was added to rows, and nothing else."""
    return np.asarray(decode(value, {"key": pa.uint64()})["key"].to_numpy())


def encode_contribution(contribution: Contribution, *, compressed: bool = False) -> bytes:
    """Write what was added to shared rows as an Arrow IPC stream."""
    columns = _keyed(contribution) | {"amounts": _lists(contribution.amounts)}
    return encode(columns, compressed=compressed, tick=contribution.tick)


def decode_contribution(value: bytes, factors: int) -> Contribution:
    """Read it back."""
    columns = decode(value, _KEYED | {"amounts": None})
    return _contribution(columns, "amounts", factors, _tick(value, "tick"))


def encode_ledger(own: Contribution, merged: Contribution) -> bytes:
    """Write what was ever added to the same shared rows, by the shard itself and by all that it knew of."""
    both = {"own_seen": _times(own.seen), "own": _lists(own.amounts), "merged": _lists(merged.amounts)}
    return encode(_keyed(merged) | both, own_tick=own.tick, merged_tick=merged.tick)


def decode_ledger(value: bytes, factors: int) -> tuple[Contribution, Contribution]:
    """Read it back: own, merged."""
    columns = decode(value, _KEYED | {"own_seen": _TIME, "own": None, "merged": None})
    own = _contribution(columns | {"seen": columns["own_seen"]}, "own", factors, _tick(value, "own_tick"))
    return own, _contribution(columns, "merged", factors, _tick(value, "merged_tick"))


def encode_words(words: Words) -> bytes:
    """Write words of a shard's cells as an Arrow IPC stream."""
    return encode({"place": pa.array(words.places, pa.int64()), "word": pa.array(words.values)})


def decode_words(value: bytes, size: int) -> Words:
    """Read words of cells that are so many back.

    Raises:
        CorruptSnapshotError: a word has no place there.
    """
    columns = decode(value, {"place": pa.int64(), "word": pa.uint64()})
    words = Words(places=columns["place"].to_numpy(), values=columns["word"].to_numpy())
    if len(words) and not (words.places.min() >= 0 and words.places.max() < size):
        raise CorruptSnapshotError(f"a record of cells names places that are none of the {size}")
    return words


def encode_keys(keys: NDArray[np.uint64]) -> bytes:
    """Write the keys of rows that are gone as an Arrow IPC stream."""
    return encode({"key": pa.array(keys, pa.uint64())})


def _keyed(contribution: Contribution) -> dict[str, pa.Array]:
    return {"key": pa.array(contribution.keys), "seen": _times(contribution.seen)}


def _times(seen: NDArray[np.int64]) -> pa.Array:
    return pa.array(seen, pa.int64(), mask=seen == NEVER).cast(_TIME)


def _given(values: NDArray[np.int64], none: np.int64) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values == none)


def _filled(column: pa.Array, none: np.int64) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).fill_null(int(none)).to_numpy())


def _tick(value: bytes, name: str) -> int:
    said = pa.ipc.open_stream(value).schema.metadata or {}
    try:
        return int(said[name.encode()])
    except (KeyError, ValueError):
        raise CorruptSnapshotError(f"a data record does not say its {name}") from None


def _lists(amounts: NDArray[np.int64]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(amounts).ravel()), amounts.shape[1])


def _contribution(columns: dict[str, pa.Array], name: str, factors: int, tick: int) -> Contribution:
    width, held = FACTORS + factors, columns[name]
    if held.type != pa.list_(pa.int64(), width):
        raise IncompatibleDataError(f"a contribution holds {held.type} as {name}, not {width} integers")
    seen = _filled(columns["seen"], NEVER)
    amounts = held.flatten().to_numpy().reshape(len(seen), width)
    return Contribution(keys=columns["key"].to_numpy(), seen=seen, amounts=amounts, tick=tick)


def split(rows: Part, per_record: int) -> Iterator[Part]:
    """Cut rows, or what was added to rows, into pieces that fit a record each."""
    for start in range(0, len(rows), per_record):
        yield rows[start : start + per_record]
