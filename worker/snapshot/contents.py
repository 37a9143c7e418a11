"""What the data records of a version say: rows, pair weights and progressive sums, read whole before any is used."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.errors import CorruptSnapshotError
from worker.model.cells import Words
from worker.model.ledger import Contribution
from worker.model.rows import Rows
from worker.quality.progress import BINS, Progress
from worker.quality.watch import Watch, Watching
from worker.snapshot.assembler import Version
from worker.snapshot.columns import decode
from worker.snapshot.records import (
    Kind,
    decode_contribution,
    decode_keys,
    decode_ledger,
    decode_rows,
    decode_words,
)
from worker.snapshot.state import ShardState


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The weights of some pairs of fields; field 0 is the bias, then come the features in their order."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    means: NDArray[np.float32]
    precisions: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The data of a version, decoded."""

    rows: list[Rows]
    contributions: list[Contribution]
    ledgers: list[tuple[Contribution, Contribution]]  # own, merged
    pairs: list[Pairs]
    progress: list[Progress]
    words: list[Words]
    evicted: list[NDArray[np.uint64]]  # keys of local rows that are gone
    watches: list[Watch]  # none where it was watched by other settings


def contents_of(version: Version, state: ShardState) -> Contents:  # noqa: C901 - a kind of record each
    """Decode a version's data records for a state.

    Raises:
        CorruptSnapshotError: a record does not say what it should, though its bytes are those that were sent.
        IncompatibleDataError: its rows are of another size.
    """
    layout, fields = state.model.table.prior, len(state.model.pair_means)
    factors = layout.factors
    rows, pairs, progress = [], [], []
    contributions, ledgers, words, evicted, watches = [], [], [], [], list[Watch]()
    for record in version.data:
        try:
            if record.kind in (Kind.ROWS, Kind.BASE):
                rows.append(decode_rows(record.value, factors, layout.columns))
            elif record.kind is Kind.CONTRIBUTION:
                contributions.append(decode_contribution(record.value, factors))
            elif record.kind is Kind.LEDGER:
                ledgers.append(decode_ledger(record.value, factors))
            elif record.kind is Kind.EVICTED:
                evicted.append(decode_keys(record.value))
            elif record.kind is Kind.PAIRS:
                pairs.append(_pairs(record.value, fields))
            elif record.kind in (Kind.CELLS, Kind.BASE_CELLS):
                words.append(decode_words(record.value, len(state.cells)))
            elif record.kind is Kind.PROGRESS:
                progress.append(decode_progress(record.value, logistic=state.progress.logistic))
            elif record.kind is Kind.WATCH:
                watches += decode_watch(record.value, state.watch.watching)
        except (ValueError, pa.ArrowException) as error:  # a column of another type or length
            raise CorruptSnapshotError(f"{record.name} cannot be used: {error}") from error
    return Contents(
        rows=rows, contributions=contributions, ledgers=ledgers, pairs=pairs, progress=progress, words=words,
        evicted=evicted, watches=watches,
    )  # fmt: skip


def pair_columns(state: ShardState) -> dict[str, pa.Array]:
    """Give the pair weights of a state as the columns of a record."""
    left, right = np.triu_indices(len(state.model.pair_means), 1)
    return {
        "left": pa.array(left.astype(np.int32)),
        "right": pa.array(right.astype(np.int32)),
        "weight": pa.array(state.model.pair_means[left, right]),
        "weight_precision": pa.array(state.model.pair_precisions[left, right]),
    }


def progress_columns(progress: Progress) -> dict[str, pa.Array]:
    """Give the sums of progressive evaluation as the columns of a record, one row long."""
    sums = pa.FixedSizeListArray.from_arrays(pa.array(progress.sums), len(progress.sums))
    histogram = pa.FixedSizeListArray.from_arrays(pa.array(progress.histogram.ravel()), 2 * BINS)
    return {"sums": sums, "histogram": histogram}


def decode_progress(value: bytes, *, logistic: bool) -> Progress:
    """Read the sums of progressive evaluation back.

    Raises:
        CorruptSnapshotError: the record does not hold them.
    """
    columns = decode(value, {"sums": None, "histogram": None})
    progress = Progress(logistic=logistic)
    sums, histogram = _numbers(columns["sums"]), _numbers(columns["histogram"])
    if sums.shape != progress.sums.shape or histogram.size != progress.histogram.size:
        raise CorruptSnapshotError(f"a record of progress holds {sums.size} sums and {histogram.size} bins")
    progress.sums[:] = sums
    progress.histogram[:] = histogram.reshape(progress.histogram.shape)
    return progress


def watch_columns(watch: Watch) -> dict[str, pa.Array]:
    """Give what is watched of a shard as the columns of a record, one row long."""
    return {
        "settings": pa.array([watch.watching.settings]),
        "words": pa.FixedSizeListArray.from_arrays(pa.array(watch.words), len(watch.words)),
        "slices": pa.array([watch.slices.ravel().tolist()], pa.list_(pa.float64())),
    }


def decode_watch(value: bytes, watching: Watching) -> list[Watch]:
    """Read what is watched of a shard back; nothing where it was watched by other settings.

    Raises:
        CorruptSnapshotError: the record does not hold it.
    """
    columns = decode(value, {"settings": pa.string(), "words": None, "slices": None})
    if columns["settings"].to_pylist() != [watching.settings]:
        return []
    watch = Watch.fresh(watching)
    words, slices = _numbers(columns["words"]), _numbers(columns["slices"])
    if words.shape != watch.words.shape or slices.size != watch.slices.size:
        raise CorruptSnapshotError(f"a record of what is watched holds {words.size} words, {slices.size} of slices")
    watch.words[:] = words
    watch.slices[:] = slices.reshape(watch.slices.shape)
    return [watch]


def _pairs(value: bytes, fields: int) -> Pairs:
    numbers = {"weight": pa.float32(), "weight_precision": pa.float32()}
    columns = decode(value, {"left": pa.int32(), "right": pa.int32(), **numbers})
    left, right = columns["left"].to_numpy(), columns["right"].to_numpy()
    if len(left) and not (min(left.min(), right.min()) >= 0 and max(left.max(), right.max()) < fields):
        raise CorruptSnapshotError(f"a record of pairs names fields that are none of the {fields}")
    return Pairs(
        left=left, right=right, means=columns["weight"].to_numpy(), precisions=columns["weight_precision"].to_numpy()
    )


def _numbers(lists: pa.Array) -> NDArray[np.float64]:
    """Give the numbers of lists, one list after the other."""
    kind = lists.type
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) or kind.value_type != pa.float64():
        raise CorruptSnapshotError(f"a data record holds {kind} where lists of doubles are expected")
    return np.asarray(lists.flatten().to_numpy(zero_copy_only=False))
