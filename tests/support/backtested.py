"""Backtests in tests: runs over records in memory, what was predicted one by one, and recordings in files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.lineage import learning_of
from tests.support.recordings import make_records, write
from tests.support.replayed import event
from worker.backtest.base_rate import BaseRate
from worker.backtest.deferred import Deferred
from worker.backtest.running import Kind, Task, Where
from worker.backtest.timing import Timing
from worker.learning import Learning
from worker.snapshot.state import ShardState

START = 1_735_689_600_000  # 2025-01-01, the beginning of a day
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LEARNING = learning_of(merge=False)


class Noted:
    """Notes every prediction by the time of its event."""

    def __init__(self) -> None:
        self.block = -1
        self.found: list[tuple[int, float, int]] = []  # time, prediction, block

    def __call__(self, _state, batch, observed, *_more) -> None:
        self.found += [(int(t), float(p), self.block) for t, p in zip(batch.times, observed, strict=True)]

    @property
    def predictions(self) -> dict[int, float]:
        assert len({time for time, _, _ in self.found}) == len(self.found)
        return {time: prediction for time, prediction, _ in sorted(self.found)}


def predicted(
    values: list[bytes], times: list[int], *, delay_ms: int = 0, batch_ms: int = 0, learning: Learning = LEARNING,
    base_rate: bool = False, batch: int = 10_000, edges: tuple[int, ...] = (0,),
) -> tuple[Noted, ShardState]:  # fmt: skip
    """Predict and learn the records of one partition, so many at once, and note the predictions."""
    noted, state = Noted(), ShardState.fresh(0, learning)
    kind = BaseRate if base_rate else Deferred
    pipeline = kind(learning, noted, Timing.of(delay_ms, batch_ms), np.array(edges, np.int64))
    for begin in range(0, len(values), batch):
        end = min(begin + batch, len(values))
        prepared = pipeline.prepare(values[begin:end], np.array(times[begin:end], np.int64))
        pipeline.take(state, prepared, end)
    pipeline.finish(state)
    return noted, state


def clicks(n: int, gap_ms: int, seed: int = 0, *, users: int = 20, items: int = 15) -> tuple[list[bytes], list[int]]:
    """Make events whose labels the users and items decide, and times that are never the same."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(users, size=n), rng.integers(items, size=n)
    taste: NDArray[np.float64] = rng.normal(size=users)[user] + rng.normal(size=items)[item]
    label = rng.random(n) < 1 / (1 + np.exp(-2 * taste))
    times = (START + np.cumsum(rng.integers(1, 2 * gap_ms, size=n))).tolist()
    return [
        event(*one) for one in zip(user.tolist(), item.tolist(), label.astype(int).tolist(), times, strict=True)
    ], times


def task_of(
    learning: Learning = LEARNING, *, name: str = "default", kind: Kind = "online", delay_ms: int = 0,
    batch_ms: int = 0, edges: tuple[int, ...] = (0,), poll_events: int = 10_000,
) -> Task:  # fmt: skip
    return Task(
        name=name, kind=kind, where=Where(location="memory"), records="", learning=learning.model_dump(mode="json"),
        interval_ms=500, poll_events=poll_events, delay_ms=delay_ms, batch_ms=batch_ms, edges=edges,
    )  # fmt: skip


def recorded(
    folder: Path, *, events: int = 3_000, gap_ms: int = HOUR // 12, partitions: int = 1, seed: int = 0
) -> Path:
    """Write a recording of some days."""
    values, times = clicks(events, gap_ms, seed)
    for number in range(partitions):
        mine = range(number, events, partitions)
        records = make_records(
            number, range(len(mine)), topic="interactions", times=[times[at] for at in mine],
            values=[values[at] for at in mine], keys=[b"u%d" % (at % 20) for at in mine],
        )  # fmt: skip
        write(folder, records, partitions=partitions)
    return folder
