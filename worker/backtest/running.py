"""One run of a backtest: a configuration, from nothing, over all of a recording."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue

from worker import __version__
from worker.backtest.base_rate import BaseRate
from worker.backtest.blocks import Blocks
from worker.backtest.deciding import measured
from worker.backtest.deferred import Deferred
from worker.backtest.resharded import Resharded
from worker.backtest.timing import Timing
from worker.evaluation.configuration import changed
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.rejections import Rejections
from worker.evaluation.runlog import RunLog
from worker.events.partition import Partitioner
from worker.events.rejects import Rejected
from worker.learning import Learning
from worker.model.batch import Batch
from worker.quality.progress import Judged
from worker.recording.reading import Recording
from worker.recording.records import Records
from worker.replay.engine import Engine
from worker.replay.exchange import Alone, InStep
from worker.replay.fresh import Fresh
from worker.replay.source import Source
from worker.snapshot.state import ShardState

Kind = Literal["online", "batch", "base rate"]
_FORMAT: Final = 2  # of what a run measures: another one is another digest
_NO_VERSIONS_MS: Final = 10**15  # a window that never ends: where shards are not merged, a version changes no bit


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Where(_Told):
    """Which records: the arguments of `worker.recording.Recording`, and of how many shards."""

    location: str
    topic: str | None = None
    begin: int | None = None  # milliseconds since 1970
    end: int | None = None
    partitions: tuple[int, ...] | None = None
    shards: int | None = None  # by the keys of records; None: the partitions as they were recorded
    parted: str | None = None  # the file that holds the records by these shards, once they are parted

    def recording(self) -> Recording:
        """Look at the files.

        Raises:
            HeadraceError: they are not there, or damaged.
        """
        return Recording(
            self.location,
            self.topic,
            begin=self.begin,
            end=self.end,
            partitions=self.partitions,
            lean=self.shards is None,  # keys are for sharding only
        )

    def open(self) -> Source:
        """Look at the files, and give the shards; raises as `recording` does."""
        return self.recording() if self.parted is None else Resharded(Path(self.parted))


class Task(_Told):
    """A run that is to be made: all that a process has to be told."""

    name: str
    kind: Kind
    where: Where
    records: str  # the digest of these
    learning: dict[str, JsonValue]
    interval_ms: int  # from one commit to the next, by the log's time
    poll_events: int
    delay_ms: int
    batch_ms: int  # 0 for a model that learns online
    edges: tuple[int, ...]  # when blocks of time begin; what is earlier is not measured

    @property
    def partitioner(self) -> Partitioner:
        """Name what finds the shard of a key, where shards are made of keys."""
        return Learning.model_validate(self.learning).events.partitioner

    @property
    def digest(self) -> str:
        """Digest all that decides what is measured: 32 hexadecimal digits."""
        learning = Learning.model_validate(self.learning)
        told = self.model_dump(mode="json", exclude={"name", "where", "poll_events", "learning", "interval_ms"})
        told |= {"learning": measured(learning), "features": list(learning.features), "shards": self.where.shards}
        told |= {"interval_ms": self.interval_ms if self.meets(learning) else 0}
        told |= {"headrace": __version__, "format": _FORMAT}
        return xxhash.xxh3_128_hexdigest(orjson.dumps(told, option=orjson.OPT_SORT_KEYS))

    def meets(self, learning: Learning) -> bool:
        """Tell whether shards are merged, window by window."""
        return learning.model.merge and self.kind != "base rate"


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a run measured, after the warm-up."""

    log: RunLog
    blocks: Blocks

    def write(self, folder: Path, task: Task) -> None:
        """Keep it. The log comes last: where it is, all is.

        Raises:
            HeadraceError: it cannot be written.
        """
        self.blocks.write(folder / f"{task.digest}.npz")
        self.log.write(folder / f"{task.digest}.json")

    @classmethod
    def read(cls, folder: Path, task: Task) -> "Measured | None":
        """Give what such a run measured before; None where there was none.

        Raises:
            IncompatibleDataError: what is there is damaged.
        """
        path = folder / f"{task.digest}.json"
        if not path.exists():
            return None
        log = RunLog.read(path).model_copy(update={"name": task.name})
        return cls(log=log, blocks=Blocks.read(folder / f"{task.digest}.npz"))


class _Shard:
    """Measures a shard: is told of every batch by its pipeline, and of what is rejected by its course."""

    def __init__(self, task: Task, learning: Learning, number: int, clock: Callable[[], float]) -> None:
        edges = np.array(task.edges, np.int64)
        self.block = -1
        self.state = ShardState.fresh(number, learning)
        self.evaluation, self.rejections = Evaluation.of(learning, clock), Rejections()
        self.blocks = Blocks.empty(len(edges), logistic=learning.model.loss == "logistic")
        kind = BaseRate if task.kind == "base rate" else Deferred
        self.pipeline = kind(learning, self, Timing.of(task.delay_ms, task.batch_ms), edges)

    def __call__(  # noqa: PLR0917 - as the protocol has it
        self,
        state: ShardState,
        batch: Batch,
        observed: NDArray[np.float32],
        variances: NDArray[np.float32],
        weights: NDArray[np.float32],
        judged: Judged,
        /,
    ) -> None:
        if self.block >= 0 and len(batch):
            self.evaluation.observe(state, batch, observed, variances, weights, judged)
            self.blocks.add(self.block, observed, batch.labels, weights)

    def note(self, records: Records, rejected: Sequence[Rejected]) -> None:
        """Count what is rejected after the warm-up, as events are."""
        if self.pipeline.skipped_before is not None:
            self.rejections.add(records, rejected)

    @property
    def skipped(self) -> Counter[str]:
        """Count valid events that were not learned, after the warm-up."""
        before = self.pipeline.skipped_before
        return Counter() if before is None else self.state.skipped - before


def run(
    task: Task,
    source: Source | None = None,
    progress: Callable[[int], None] = lambda _records: None,
) -> Measured:
    """Make a run.

    Args:
        task: which.
        source: its records, where they are open already.
        progress: called with the number of records that were done since the last call.

    Raises:
        HeadraceError: the records are not there, or do not fit.
    """
    clock = time.perf_counter
    when, began = time.time_ns() // 1_000_000, clock()
    learning = Learning.model_validate(task.learning)
    source = task.where.open() if source is None else source
    shards = _learn(task, learning, source, progress, clock)
    rejections, skipped = Rejections(), Counter[str]()
    evaluation, blocks = Evaluation.of(learning, clock), Blocks.empty(len(task.edges), logistic=_logistic(learning))
    for number in sorted(shards):
        evaluation.merge(shards[number].evaluation)
        blocks.merge(shards[number].blocks)
        rejections.merge(shards[number].rejections)
        skipped += shards[number].skipped
    log = RunLog.of(
        evaluation,
        name=task.name,
        mode="backtest",
        when=when,
        seconds=clock() - began,
        source=task.where.location,
        configuration=changed(learning),
        rejected=dict(sorted(rejections.counts.items())),
        examples=dict(sorted(rejections.examples.items())),
        skipped=dict(sorted(skipped.items())),
        digests={number: shard.state.digest() for number, shard in sorted(shards.items())},
        learned=sum(shard.state.progress.events for shard in shards.values()),
    )
    return Measured(log=log, blocks=blocks)


def _learn(
    task: Task, learning: Learning, source: Source, progress: Callable[[int], None], clock: Callable[[], float]
) -> dict[int, _Shard]:
    shards = {number: _Shard(task, learning, number, clock) for number in sorted(source.ranges)}
    merged = task.meets(learning)
    exchange = InStep(shards) if merged and len(shards) > 1 else Alone()
    courses = [
        Fresh(
            state=shard.state, source=source, pipeline=shard.pipeline, exchange=exchange,
            interval_ms=task.interval_ms if merged else _NO_VERSIONS_MS, batch_events=task.poll_events,
            cut_ms=task.edges[0], note=shard.note,
        )
        for shard in shards.values()
    ]  # fmt: skip
    Engine(courses, exchange, progress=progress).run()
    for shard in shards.values():
        shard.pipeline.finish(shard.state)
    return shards


def _logistic(learning: Learning) -> bool:
    return learning.model.loss == "logistic"
