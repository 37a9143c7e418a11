"""A backtest from its beginning to its result: what is to be run is checked first, and what was run before is kept."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from worker import __version__
from worker.backtest import processes
from worker.backtest.candidates import Candidate, distinct, interval_ms, with_baselines
from worker.backtest.ranking import Entry, Ranked, ranking
from worker.backtest.resharded import Resharded
from worker.backtest.running import Measured, Task, Where
from worker.backtest.survey import Survey, survey
from worker.backtest.timing import Timing
from worker.backtest.winner import as_toml
from worker.config import Config
from worker.errors import ConfigurationError
from worker.evaluation.runlog import RunLog, write_whole
from worker.recording.reading import Recording
from worker.recording.times import as_text
from worker.replay.source import Source, require_events
from worker.report.page import write_report

WARM_UP: Final = 0.1  # of the records: the model knows nothing yet, so who knows less is better off
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a backtest has found.

    Attributes:
        ranking: the best first; all are compared with the first configuration.
        winner: the best configuration that learns online.
        logs: of the runs, in the order of the ranking.
        measured_from_ms: what was before is learned and not measured, milliseconds since 1970.
        measured: events that were measured, of each run the same.
        records: of the recording.
        kept: runs that were there already.
        folder: where all of it is.
    """

    ranking: list[Ranked]
    winner: Candidate
    logs: list[RunLog]
    measured_from_ms: int
    measured: int
    records: int
    kept: int
    folder: Path


class Backtest:
    """Configurations over one recording: each from nothing, predicting every event before it learns it.

    Args:
        recording: a folder, a file or an address of one.
        configurations: by their names; all are compared with the first.
        out: the folder for what is measured: runs that are there already are taken as they are.
        topic: which one, where the recording has several.
        begin: from this record timestamp on, milliseconds since 1970.
        end: before this one.
        partitions: only these.
        shards: of the model, by the keys of records; unless it is given, the partitions as they were recorded.
        delay_ms: after which an event's label is known; see `worker.backtest.timing`.
        batches: compare the first configuration with itself if it were retrained so often, such as ["1d"].
        base_rate: compare with the share of positive labels so far.
        warm_up: the share of records, or milliseconds, that are learned and not measured. At least up to where every
            retrained model was trained once.
        confidence: of intervals.
        seed: of the bootstrap.
        jobs: processes; the result is the same for any number. None: one for each core.

    Raises:
        ConfigurationError: what is asked for cannot be; nothing has run.

    See `docs` in the README for an example.
    """

    def __init__(
        self,
        recording: str | Path,
        configurations: dict[str, Config] | Sequence[Candidate],
        out: str | Path,
        *,
        topic: str | None = None,
        begin: int | None = None,
        end: int | None = None,
        partitions: Sequence[int] | None = None,
        shards: int | None = None,
        delay_ms: int = 0,
        batches: Sequence[str] = (),
        base_rate: bool = True,
        warm_up: float = WARM_UP,
        confidence: float = 0.95,
        seed: int = 0,
        jobs: int | None = None,
    ) -> None:
        found = (
            [Candidate(name=name, config=config) for name, config in configurations.items()]
            if isinstance(configurations, dict)
            else list(configurations)
        )
        if not found:
            raise ConfigurationError("a backtest needs at least one configuration")
        self.candidates = with_baselines(distinct(found), batches, base_rate=base_rate)
        self.where = Where(
            location=str(recording), topic=topic, begin=begin, end=end,
            partitions=None if partitions is None else tuple(partitions), shards=shards,
        )  # fmt: skip
        self.folder = Path(out)
        self.delay_ms, self.warm_up, self.confidence, self.seed = delay_ms, warm_up, confidence, seed
        self.jobs = (os.cpu_count() or 1) if jobs is None else jobs
        self._require_possible()

    def prepare(self, progress: Callable[[int], None] = lambda _records: None) -> "Prepared":
        """Look at all records, and say what is to be run; nothing is learned yet.

        Raises:
            HeadraceError: the recording cannot be read, or does not allow what is asked for.
        """
        recording = Recording(
            self.where.location, self.where.topic, begin=self.where.begin, end=self.where.end,
            partitions=self.where.partitions,
        )  # fmt: skip
        require_events(recording)
        self._require_fits(recording)
        looked = survey(recording, progress)
        if self.where.shards is not None and looked.keyless:
            raise ConfigurationError(
                f"{recording.location}: {looked.keyless:,} of {looked.records:,} records have no key, and shards are made "
                "of keys: leave out --shards, and take the partitions as they were recorded"
            )
        begin_ms = self._measured_from(looked)
        source: Source = (
            recording
            if self.where.shards is None
            else Resharded(recording, self.where.shards, self.candidates[0].config.events.partitioner)
        )
        edges = tuple(looked.edges(begin_ms).tolist())
        tasks = [self._task(candidate, looked, edges) for candidate in self.candidates]
        return Prepared(self, tasks, looked, begin_ms, len(source.ranges))

    def run(self, progress: Callable[[int], None] = lambda _records: None) -> Outcome:
        """Do all of it; `progress` is called with the number of records that were done since the last call."""
        return self.prepare().run(progress)

    def _task(self, candidate: Candidate, looked: Survey, edges: tuple[int, ...]) -> Task:
        return Task(
            name=candidate.name, kind=candidate.kind, where=self.where, records=looked.digest,
            learning=candidate.config.learning.model_dump(mode="json"), interval_ms=interval_ms(candidate.config),
            poll_events=candidate.config.run.poll_events, delay_ms=self.delay_ms, batch_ms=candidate.batch_ms,
            edges=edges,
        )  # fmt: skip

    def _require_possible(self) -> None:
        if self.delay_ms < 0:
            raise ConfigurationError("a label is not known before its event: the delay is 0 or more")
        if self.warm_up < 0:
            raise ConfigurationError("the warm-up is a share of the records, or a duration: 0 or more")
        if self.jobs < 1:
            raise ConfigurationError("at least one process is needed: --jobs 1 or more")
        if not 0 < self.confidence < 1:
            raise ConfigurationError("a confidence lies between 0 and 1, such as 0.95")
        if self.where.shards is not None and self.candidates[0].config.events.skip:
            raise ConfigurationError(
                "events.skip names partitions and offsets as they were recorded, and --shards makes others: leave out one"
            )

    def _require_fits(self, recording: Recording) -> None:
        beyond = sorted(set(self.candidates[0].config.events.skipped) - set(range(recording.shards)))
        if beyond:
            raise ConfigurationError(
                f"events.skip names partition {beyond[0]}, and {recording.topic} was recorded with {recording.shards}: "
                "this is the recording of another topic, or these ranges are"
            )

    def _measured_from(self, looked: Survey) -> int:
        """Give when the warm-up ends, milliseconds since 1970; refuse what leaves nothing to measure."""
        longest = max(one.batch_ms for one in self.candidates)
        for what, ms in (("--delay", self.delay_ms), ("--batch", longest)):
            if ms and ms >= looked.span_ms:
                raise ConfigurationError(
                    f"{what} {_duration(ms)} is as long as the recording, which spans {_duration(max(0, looked.span_ms))}, "
                    f"{_when(looked)}, by the timestamps of its records: nothing would ever be learned. Record more, or "
                    "ask for less"
                )
        if self.warm_up < 1:
            begin_ms = looked.share(self.warm_up) if self.warm_up else max(0, looked.first_ms)
        else:
            begin_ms = looked.first_ms + round(self.warm_up)
        for one in self.candidates:
            if one.batch_ms:
                begin_ms = max(begin_ms, self._first_training(looked, one.batch_ms))
        if begin_ms >= looked.last_ms and looked.span_ms > 0:
            raise ConfigurationError(
                f"the warm-up ends {as_text(begin_ms)}, and the recording spans {_when(looked)}: nothing is left to "
                "measure. Take a shorter --warm-up or --batch, or record more"
            )
        return begin_ms

    def _first_training(self, looked: Survey, batch_ms: int) -> int:
        """Give the first time at which a retrained model knows a label."""
        timing = Timing.of(self.delay_ms, batch_ms)
        known_at = timing.known_at(looked.first_ms // timing.tick_ms)
        return -(-known_at // batch_ms) * batch_ms


class Prepared:
    """A backtest that has looked at its recording, and can begin.

    Attributes:
        tasks: the runs, in the order of the configurations.
        waiting: those of them that were not made before.
        records: of the recording.
        shards: of each run.
    """

    def __init__(self, backtest: Backtest, tasks: list[Task], looked: Survey, begin_ms: int, shards: int) -> None:
        self._backtest, self.tasks, self._begin_ms = backtest, tasks, begin_ms
        self.records, self.shards = looked.records, shards
        self._runs = backtest.folder / "runs"
        self.waiting = [task for task in tasks if Measured.read(self._runs, task) is None]

    @property
    def total(self) -> int:
        """Count the records that all runs together will go through."""
        return self.records * len(self.waiting)

    def run(self, progress: Callable[[int], None] = lambda _records: None) -> Outcome:
        """Make the runs that are not there yet, rank them all, and write what was found.

        Args:
            progress: called with the number of records that were done since the last call.

        Raises:
            HeadraceError: a run has failed, or cannot be compared; those that are done are kept.
        """
        backtest = self._backtest
        self._runs.mkdir(parents=True, exist_ok=True)
        processes.make(self.waiting, self._runs, jobs=backtest.jobs, progress=progress)
        entries = []
        for candidate, task in zip(backtest.candidates, self.tasks, strict=True):
            measured = Measured.read(self._runs, task)
            if measured is None:
                raise ConfigurationError(f"{task.name}: what it has measured was removed meanwhile; start again")
            entries.append(Entry(candidate=candidate, digest=task.digest, measured=measured))
        ranked = ranking(entries, confidence=backtest.confidence, seed=backtest.seed)
        by_name = {entry.candidate.name: entry for entry in entries}
        winner = next(by_name[one.name] for one in ranked if one.kind == "online")
        outcome = Outcome(
            ranking=ranked, winner=winner.candidate, logs=[by_name[one.name].measured.log for one in ranked],
            measured_from_ms=self._begin_ms, measured=ranked[0].events or 0, records=self.records,
            kept=len(self.tasks) - len(self.waiting), folder=backtest.folder,
        )  # fmt: skip
        self._write(outcome)
        return outcome

    def _write(self, outcome: Outcome) -> None:
        folder, best = outcome.folder, outcome.winner
        loss = next(one.log_loss for one in outcome.ranking if one.name == best.name)
        remarks = [
            f"The best of a backtest of {len(outcome.ranking)} runs over {self._backtest.where.location}: {best.name}.",
            f"Mean loss {loss:.5f} over {outcome.measured:,} events. Settings that are not named are the defaults.",
        ]
        write_whole(folder / "winner.toml", as_toml(best.config, remarks).encode())
        write_whole(folder / "backtest.json", orjson.dumps(self.told(outcome), option=orjson.OPT_INDENT_2) + b"\n")
        write_report(folder / "report.html", outcome.logs, [one.compared for one in outcome.ranking])

    def told(self, outcome: Outcome) -> dict[str, object]:
        """Give what was found, for JSON."""
        backtest = self._backtest
        return {
            "headrace": __version__,
            "recording": backtest.where.model_dump(mode="json"),
            "records": outcome.records,
            "records_digest": self.tasks[0].records,
            "shards": self.shards,
            "delay_ms": backtest.delay_ms,
            "measured_from_ms": outcome.measured_from_ms,
            "measured_events": outcome.measured,
            "blocks": len(self.tasks[0].edges),
            "confidence": backtest.confidence,
            "seed": backtest.seed,
            "winner": outcome.winner.name,
            "winner_file": str(outcome.folder / "winner.toml"),
            "report": str(outcome.folder / "report.html"),
            "ranking": [one.model_dump(mode="json") for one in outcome.ranking],
        }


def _duration(ms: int) -> str:
    """Write a duration for people.

    >>> _duration(90_000), _duration(86_400_000), _duration(0)
    ('90 s', '1 d', '0 ms')
    """
    unit, name = next(((unit, name) for unit, name in _UNITS if ms and ms % unit == 0), (1, "ms"))
    if unit == 1 and ms > 1_000:
        unit, name = next((unit, name) for unit, name in _UNITS if ms >= 2 * unit)
        return f"about {ms / unit:.1f} {name}"
    return f"{ms // unit:,} {name}"


def _when(looked: Survey) -> str:
    return f"from {as_text(looked.first_ms)} to {as_text(looked.last_ms)}"
