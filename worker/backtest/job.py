"""A backtest from its beginning to its result: what is to be run is checked first, and what was run before is kept."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from worker.backtest.candidates import Candidate, distinct, with_baselines
from worker.backtest.deciding import interval_ms
from worker.backtest.outcome import Asked, Outcome, Prepared
from worker.backtest.running import Task, Where
from worker.backtest.survey import Survey, survey
from worker.backtest.timing import Timing
from worker.config import Config
from worker.errors import ConfigurationError
from worker.recording.reading import Recording
from worker.recording.times import as_text
from worker.replay.source import require_events

WARM_UP: Final = 0.1  # of the records: the model knows nothing yet, so who knows less is better off
_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))
_MANY = 1_000  # of a unit: then the next larger one tells more
MOST_SHARDS: Final = 1_024  # that keys are parted among: each takes a megabyte and more beside what it learns
# What ends one version of a merged shard, and folds in one version of another: measured, with few rows a version.
_VERSION_SECONDS, _FOLDING_SECONDS = 9e-4, 2e-5
_LONG_SECONDS = 60.0  # of a run, that is worth a warning


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

    See the README, *Backtest*, for an example.
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
        where = Where(
            location=str(recording), topic=topic, begin=begin, end=end,
            partitions=None if partitions is None else tuple(partitions), shards=shards,
        )  # fmt: skip
        self.asked = Asked(
            candidates=with_baselines(distinct(found, by_key=shards is not None), batches, base_rate=base_rate),
            where=where, folder=Path(out),
            delay_ms=delay_ms, warm_up=warm_up, confidence=confidence, seed=seed,
            jobs=len(os.sched_getaffinity(0)) if jobs is None else jobs,
        )  # fmt: skip
        self._require_possible()

    def prepare(self, progress: Callable[[int], None] = lambda _records: None) -> Prepared:
        """Look at all records, and say what is to be run; nothing is learned yet.

        Raises:
            HeadraceError: the recording cannot be read, or does not allow what is asked for.
        """
        recording = self.asked.where.recording()
        require_events(recording)
        self._require_fits(recording)
        looked = survey(recording, progress, keyed=self.asked.where.shards is not None)
        if self.asked.where.shards is not None and looked.keyless:
            raise ConfigurationError(
                f"{recording.location}: {looked.keyless:,} of {looked.records:,} records have no key, and shards are "
                "made of keys: leave out --shards, and take the partitions as they were recorded"
            )
        begin_ms = self._measured_from(looked)
        shards = len(recording.ranges) if self.asked.where.shards is None else self.asked.where.shards
        edges = tuple(looked.edges(begin_ms).tolist())
        tasks = [self._task(candidate, looked, edges) for candidate in self.asked.candidates]
        warnings = [*recording.warnings, *self._slow(looked, shards), *self._unguarded()]
        return Prepared(self.asked, tasks, looked, begin_ms, shards, warnings=warnings)

    def run(self, progress: Callable[[int], None] = lambda _records: None) -> Outcome:
        """Do all of it; `progress` is called with the number of records that were done since the last call."""
        return self.prepare().run(progress)

    def _task(self, candidate: Candidate, looked: Survey, edges: tuple[int, ...]) -> Task:
        return Task(
            name=candidate.name, kind=candidate.kind, where=self.asked.where, records=looked.digest,
            learning=candidate.config.learning.model_dump(mode="json"), interval_ms=interval_ms(candidate.config),
            poll_events=candidate.config.run.poll_events, delay_ms=self.asked.delay_ms, batch_ms=candidate.batch_ms,
            edges=edges,
        )  # fmt: skip

    def _require_possible(self) -> None:
        if self.asked.delay_ms < 0:
            raise ConfigurationError("a label is not known before its event: the delay is 0 or more")
        if self.asked.warm_up < 0:
            raise ConfigurationError("the warm-up is a share of the records, or a duration: 0 or more")
        if self.asked.jobs < 1:
            raise ConfigurationError("at least one process is needed: --jobs 1 or more")
        if not 0 < self.asked.confidence < 1:
            raise ConfigurationError("a confidence lies between 0 and 1, such as 0.95")
        if self.asked.where.shards is not None and not 1 <= self.asked.where.shards <= MOST_SHARDS:
            raise ConfigurationError(
                f"--shards {self.asked.where.shards}: from 1 to {MOST_SHARDS:,} shards can be tried; each has a model "
                "and sums of its own, in every run"
            )
        if self.asked.where.shards is not None and self.asked.candidates[0].config.events.skip:
            raise ConfigurationError(
                "events.skip names partitions and offsets as they were recorded, and --shards makes others: leave "
                "out one"
            )

    def _slow(self, looked: Survey, shards: int) -> list[str]:
        """Warn where runs would be busy with versions rather than with events."""
        intervals = [interval_ms(it.config) for it in self.asked.candidates if it.config.model.merge]
        if shards < 2 or not intervals:
            return []
        interval = max(1, min(intervals))
        versions = min(looked.records, shards * (looked.span_ms // interval + 1))
        seconds = versions * (_VERSION_SECONDS + (shards - 1) * _FOLDING_SECONDS)
        if seconds < _LONG_SECONDS:
            return []
        told = (
            f"merged, {shards:,} shards end up to {versions:,} versions a run, one for every {_duration(interval)} of "
            "the log in which they learn (commit.interval_seconds), and each folds in those of all others: "
            f"some {seconds / 60:,.0f} minutes a run. A longer interval or fewer shards make it less, model.merge = "
            "false none of it"
        )
        return [told]

    def _unguarded(self) -> list[str]:
        """Warn where a worker would judge blocks of events, which no run does."""
        if not any(it.config.quality.freeze_events for it in self.asked.candidates):
            return []
        told = (
            "the poison breaker (quality.freeze_events) is not at work in a backtest: every event is learned. "
            "events.skip passes ranges of offsets over"
        )
        return [told]

    def _require_fits(self, recording: Recording) -> None:
        beyond = sorted(set(self.asked.candidates[0].config.events.skipped) - set(range(recording.shards)))
        if beyond:
            raise ConfigurationError(
                f"events.skip names partition {beyond[0]}, and {recording.topic} was recorded with {recording.shards}: "
                "this is the recording of another topic, or these ranges are"
            )

    def _measured_from(self, looked: Survey) -> int:
        """Give when the warm-up ends, milliseconds since 1970; refuse what leaves nothing to measure."""
        longest = max(one.batch_ms for one in self.asked.candidates)
        for what, ms in (("--delay", self.asked.delay_ms), ("--batch", longest)):
            if ms and ms >= looked.span_ms:
                raise ConfigurationError(
                    f"{what} {_duration(ms)} is as long as the recording, which spans "
                    f"{_duration(max(0, looked.span_ms))}, {_when(looked)}, by the timestamps of its records: nothing "
                    "would ever be learned. Record more, or ask for less"
                )
        if self.asked.warm_up < 1:
            begin_ms = looked.share(self.asked.warm_up) if self.asked.warm_up else max(0, looked.first_ms)
        else:
            begin_ms = looked.first_ms + round(self.asked.warm_up)
        for one in self.asked.candidates:
            if one.batch_ms:
                begin_ms = max(begin_ms, self._first_training(looked, one.batch_ms))
        if begin_ms > looked.last_ms or (begin_ms == looked.last_ms and looked.span_ms > 0):
            raise ConfigurationError(
                f"the warm-up ends {as_text(begin_ms)}, and the recording spans {_when(looked)}: nothing is left to "
                "measure. Take a shorter --warm-up or --batch, or record more"
            )
        return begin_ms

    def _first_training(self, looked: Survey, batch_ms: int) -> int:
        """Give the first time at which a retrained model knows a label."""
        timing = Timing.of(self.asked.delay_ms, batch_ms)
        known_at = timing.known_at(looked.first_ms // timing.tick_ms)
        return -(-known_at // batch_ms) * batch_ms


def _duration(ms: int) -> str:
    """Write a duration for people.

    >>> _duration(90_000), _duration(86_400_000), _duration(0), _duration(18_561_928_000)
    ('90 s', '1 d', '0 ms', 'about 214.8 d')
    """
    for unit, name in _UNITS:
        if ms >= unit and ms % unit == 0 and (ms // unit < _MANY or unit == _UNITS[0][0]):
            return f"{ms // unit} {name}"
    unit, name = next(((unit, name) for unit, name in _UNITS if ms >= unit), _UNITS[-1])
    return f"about {ms / unit:.1f} {name}" if ms else "0 ms"


def _when(looked: Survey) -> str:
    return f"from {as_text(looked.first_ms)} to {as_text(looked.last_ms)}"
