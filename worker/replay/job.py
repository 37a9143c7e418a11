"""One replay, from its beginning to its result: a run log, and a digest of every shard."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from worker.config import Config
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.evaluation.configuration import changed
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.rejections import Rejections
from worker.evaluation.runlog import RunLog
from worker.pipeline import Pipeline
from worker.quality.watch import Watch
from worker.replay.beginning import begin_at, put_in_step
from worker.replay.chain import Chain
from worker.replay.course import Noting
from worker.replay.engine import Engine
from worker.replay.exchange import Alone, InStep
from worker.replay.fresh import Fresh
from worker.replay.guard import Guard
from worker.replay.source import Source, require_events, require_shards
from worker.replay.verifying import Again, Verdict, counted, require_equal
from worker.snapshot.kinds import breaker_of, watching_of
from worker.snapshot.state import ShardState
from worker.stream.block import Refused
from worker.stream.tail import TrimmedError

Mode = Literal["fresh", "as recorded"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a replay.

    Attributes:
        log: what it measured.
        states: the shards at the end, by number.
        verdicts: of a replay as recorded, how each shard compared.
        taken: of one of merged shards, those whose events were not there: what they added was taken as published.
        frozen: of a fresh one, by shard, the block that the poison breaker refused: nothing from it on was learned.
        records: that were read; of packed ones each holds many events.
    """

    log: RunLog
    states: dict[int, ShardState]
    verdicts: list[Verdict] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    frozen: dict[int, Refused] = field(default_factory=dict)
    records: int = 0

    @property
    def digests(self) -> dict[int, str]:
        """Give the digest of each shard: equal exactly when the shards are."""
        return self.log.digests


class Replay:
    """The same engine on recorded events, as fast as the machine allows. It keeps nothing until it is done.

    Args:
        config: what is learned and how; `commit.interval_seconds` is that of the log's time.
        source: the events.
        mode: "fresh" learns by the configuration; "as recorded" learns what was published, and compares.
        chain: the published model: "as recorded" follows it, and a fresh replay may go on from it.
        from_version: a fresh replay goes on from this version of every shard,
        from_time: or from the newest version that was made by this time, milliseconds since 1970.
        to_version: a replay as recorded ends with this version of every shard; the last one, unless it is given.
        threads: how many work; the result is the same for any number.
        name: of the run, in reports.
        where: the events came from, for people.
        progress: called with the number of records that were learned since the last call.
        wall: milliseconds since 1970.
        clock: seconds that only ever rise.

    Raises:
        ConfigurationError: what is asked for does not go together.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        *,
        mode: Mode = "fresh",
        chain: Chain | None = None,
        from_version: int | None = None,
        from_time: int | None = None,
        to_version: int | None = None,
        threads: int = 1,
        name: str = "replay",
        where: str = "",
        progress: Callable[[int], None] = lambda _records: None,
        wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.config, self.source, self.mode, self.chain = config, source, mode, chain
        self.from_version, self.from_time, self.to_version = from_version, from_time, to_version
        self.threads, self.name, self.where = threads, name, where or source.topic
        self._progress, self._wall, self._clock = progress, wall, clock
        self._evaluations: dict[int, Evaluation] = {}
        self._rejections: dict[int, Rejections] = {}
        self._frozen: dict[int, Refused] = {}
        self._before: tuple[Counter[str], Counter[str]] = Counter(), Counter()  # what was counted before the replay
        if chain is None and (mode == "as recorded" or self._goes_on):
            raise ConfigurationError("a published model has to be named: its topic in Kafka, or a recording of that")
        if mode == "as recorded" and self._goes_on:
            raise ConfigurationError(
                "as recorded, a replay begins as far back as it can; only a fresh one begins at a version"
            )
        if mode == "fresh" and to_version is not None:
            raise ConfigurationError("only a replay as recorded ends with a version; bound the events of a fresh one")

    def run(self) -> Result:
        """Replay all of it.

        Raises:
            HeadraceError: the events are not there, or do not fit; or the versions differ from those published.
        """
        when, began = self._wall(), self._clock()
        verdicts, taken = list[Verdict](), list[int]()
        if self.mode == "as recorded":
            states, verdicts, records, taken = self._again()
        else:
            states, records = self._fresh()
        log = self._log(states, when, self._clock() - began)
        return Result(log=log, states=states, verdicts=verdicts, taken=taken, frozen=self._frozen, records=records)

    @property
    def _goes_on(self) -> bool:
        return self.from_version is not None or self.from_time is not None

    def _again(self) -> tuple[dict[int, ShardState], list[Verdict], int, list[int]]:
        if self.chain is None:
            raise ConfigurationError("as recorded, a replay follows a published model")
        count = Counter[str]()

        def progress(records: int) -> None:
            count["records"] += records
            self._progress(records)

        here, there = set(self.source.ranges), set(self.chain.last)
        if not here & there:
            raise IncompatibleDataError(
                f"{self.chain.topic} has no version of shard {', '.join(map(str, sorted(here)))}: it has some of "
                f"{', '.join(map(str, sorted(there)))}"
            )
        taken = sorted(there - here) if self.config.model.merge else []
        again = Again(
            source=self.source, chain=self.chain, last=self.to_version, threads=self.threads,
            batch_events=self.config.run.poll_events, progress=progress, observer=self._observer,
            rejections=self._noting, shards=None if here >= there else here & there, taken=taken,
        )  # fmt: skip
        try:
            verdicts = again.run()
        except TrimmedError as error:
            if not taken:
                raise
            raise IncompatibleDataError(
                f"{error}: what the shards {', '.join(map(str, taken))} had added by then is needed, as their events "
                "are not replayed. Replay all partitions, or name a recording of the model topic that has it"
            ) from error
        require_equal(verdicts)
        self._before = again.counted_before
        return again.states, verdicts, count["records"], taken

    def _fresh(self) -> tuple[dict[int, ShardState], int]:
        require_events(self.source)
        learning = self.config.learning
        states = self._beginnings()
        self._before = counted(states.values())
        exchange = InStep(states) if learning.model.merge and len(states) > 1 else Alone()
        pipelines = {shard: Pipeline(learning, self._observer(shard)) for shard in states}
        noting = {shard: self._noting(shard) for shard in states}
        breaker, packed = breaker_of(learning), learning.events.format == "arrow"
        guards = {
            shard: Guard(breaker, pipelines[shard], packed=packed, note=noting[shard])
            for shard in states if breaker is not None
        }  # fmt: skip
        courses = [
            Fresh(
                state=state, source=self.source, pipeline=pipelines[shard], exchange=exchange,
                interval_ms=round(self.config.commit.interval_seconds * 1_000),
                batch_events=self.config.run.poll_events, note=noting[shard], guard=guards.get(shard),
            )
            for shard, state in states.items()
        ]  # fmt: skip
        engine = Engine(courses, exchange, threads=self.threads, progress=self._progress)
        engine.run()
        self._frozen = {shard: refused for shard, guard in guards.items() if (refused := guard.frozen) is not None}
        return states, engine.records

    def _beginnings(self) -> dict[int, ShardState]:
        shards, learning = sorted(self.source.ranges), self.config.learning
        if self.chain is None or not self._goes_on:
            return {shard: ShardState.fresh(shard, learning) for shard in shards}
        require_shards(self.source, self.chain.shards, self.chain.model)
        # Merged shards know what all have added, those too whose events are not replayed.
        wanted = range(self.chain.shards) if learning.model.merge else shards
        begun = {shard: begin_at(self.chain, shard, self.from_version, self.from_time) for shard in wanted}
        all_ = {shard: state or ShardState.fresh(shard, learning) for shard, state in begun.items()}
        if learning.model.merge:
            put_in_step(list(all_.values()))
        states, watching = {shard: all_[shard] for shard in shards}, watching_of(learning)
        for state in states.values():
            if state.watch.watching.settings != watching.settings:  # as when a worker goes on with others
                state.watch = Watch.fresh(watching)
        for shard, state in states.items():
            first, after = self.source.ranges[shard]
            if state.version and not first <= state.next_offset <= after:
                lacks = f"begins at {first}" if state.next_offset < first else f"ends at {after - 1}"
                raise ConfigurationError(
                    f"version {state.version} of shard {shard} was learned before offset {state.next_offset}, and the "
                    f"recording of partition {shard} {lacks}: what lies between is missing. Record that range too"
                )
        return states

    def _observer(self, shard: int) -> "Callable[..., None]":
        self._evaluations[shard] = Evaluation.of(self.config.learning, self._clock)
        return self._evaluations[shard].observe

    def _noting(self, shard: int) -> Noting:
        self._rejections[shard] = Rejections()
        return self._rejections[shard].add

    def _log(self, states: dict[int, ShardState], when: int, seconds: float) -> RunLog:
        whole, examples = Evaluation.of(self.config.learning, self._clock), Rejections()
        for shard in sorted(self._evaluations):
            whole.merge(self._evaluations[shard])
            examples.merge(self._rejections[shard])
        (rejected, skipped), before = counted(states.values()), self._before
        return RunLog.of(
            whole,
            name=self.name,
            mode=self.mode,
            when=when,
            seconds=seconds,
            source=self.where,
            configuration=changed(self.config.learning),
            rejected=dict(sorted((rejected - before[0]).items())),
            examples=dict(sorted(examples.examples.items())),
            skipped=dict(sorted((skipped - before[1]).items())),
            digests={shard: state.digest() for shard, state in sorted(states.items())},
        )
