"""One look at all records before anything is learned: what they are, when they were, and where blocks of time end."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from worker.backtest.timing import NOTHING_YET
from worker.recording.records import Records
from worker.replay.source import Source

BLOCKS = 240  # of a few hundred, quantiles of resampled sums are as good as those of all events
_SAMPLED = 1_000_000  # timestamps that blocks are told by


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What a recording holds.

    Attributes:
        records: their number.
        digest: of their offsets, timestamps and values, and of their keys where these decide: 32 hexadecimal digits.
        sample: [some] timestamps, rising: of each partition every nth, each as late as the latest one before it.
        keyless: records without a key.
    """

    records: int
    digest: str
    sample: NDArray[np.int64] = field(repr=False)
    keyless: int = 0

    @property
    def first_ms(self) -> int:
        """Give the time of the first record that has one, milliseconds since 1970; -1 where none has."""
        at = int(np.searchsorted(self.sample, 0))
        return int(self.sample[at]) if at < len(self.sample) else NOTHING_YET

    @property
    def last_ms(self) -> int:
        """Give the time of the last record, milliseconds since 1970; -1 where none has one."""
        return int(self.sample[-1]) if len(self.sample) else NOTHING_YET

    @property
    def span_ms(self) -> int:
        """Give the time from the first record to the last."""
        return self.last_ms - self.first_ms

    def share(self, share: float) -> int:
        """Give when a share of the records has been, milliseconds since 1970."""
        at = min(int(share * len(self.sample)), len(self.sample) - 1)
        return int(self.sample[at]) if len(self.sample) else NOTHING_YET

    def edges(self, begin_ms: int, blocks: int = BLOCKS) -> NDArray[np.int64]:
        """Give when each block begins, the first one at `begin_ms`: so that all hold about as many records.

        Fewer than asked for, where many records have the same time.
        """
        later = self.sample[np.searchsorted(self.sample, begin_ms) :]
        places = (np.arange(1, blocks) * len(later)) // blocks
        inner = later[places] if len(later) else later
        return np.unique(np.concatenate([np.array([begin_ms], np.int64), inner[inner > begin_ms]]))


def survey(source: Source, progress: Callable[[int], None] = lambda _records: None, *, keyed: bool = False) -> Survey:
    """Look at all records.

    Args:
        source: the records.
        progress: called with the number of records that were looked at since the last call.
        keyed: whether shards are made of keys: then these are in the digest too.
    """
    every = max(1, sum(after - first for first, after in source.ranges.values()) // _SAMPLED)
    whole, count, keyless, samples = xxhash.xxh3_128(), 0, 0, list[NDArray[np.int64]]()
    for number in sorted(source.ranges):
        columns = _Columns(keyed=keyed)
        latest, seen = NOTHING_YET, 0
        for records in source.partition(number):
            if not len(records):
                continue
            columns.add(records)
            times = np.maximum.accumulate(np.maximum(records.timestamps, latest))
            latest = int(times[-1])
            samples.append(times[(-seen) % every :: every])
            keyless += records.keys.null_count
            seen += len(records)
            progress(len(records))
        if seen and (seen - 1) % every:
            samples.append(np.array([latest], np.int64))  # so that the time of the last one is known
        count += seen
        whole.update(f"{number} {seen} {columns.digest()}".encode())
    sample = np.sort(np.concatenate(samples)) if samples else np.zeros(0, np.int64)
    return Survey(records=count, digest=whole.hexdigest(), sample=sample, keyless=keyless)


class _Columns:
    """Digests columns, each by itself, so that it does not matter how many records come at once."""

    def __init__(self, *, keyed: bool) -> None:
        self._numbers, self._values = xxhash.xxh3_128(), _Bytes()
        self._keys = _Bytes() if keyed else None

    def add(self, records: Records) -> None:
        self._numbers.update(np.stack([records.offsets, records.timestamps], axis=1).tobytes())
        self._values.add(records.values)
        if self._keys is not None:
            self._keys.add(records.keys)

    def digest(self) -> str:
        return " ".join(
            [self._numbers.hexdigest(), self._values.digest(), *([self._keys.digest()] if self._keys else [])]
        )


class _Bytes:
    """Digests a binary column: lengths by themselves, so that nobody takes one value's end for another's beginning."""

    def __init__(self) -> None:
        self._lengths, self._bytes = xxhash.xxh3_128(), xxhash.xxh3_128()

    def add(self, column: pa.Array) -> None:
        lengths = pc.fill_null(pc.binary_length(column), -1)
        self._lengths.update(np.ascontiguousarray(lengths, np.int64).tobytes())
        _, offsets, data = column.buffers()
        if data is not None:
            at = np.frombuffer(offsets, np.int64 if column.type == "large_binary" else np.int32)
            first, last = at[column.offset], at[column.offset + len(column)]
            self._bytes.update(memoryview(data)[first:last])

    def digest(self) -> str:
        return f"{self._lengths.hexdigest()} {self._bytes.hexdigest()}"
