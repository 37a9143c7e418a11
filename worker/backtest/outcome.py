"""The runs of a backtest that are to be made, and what comes out of them: a ranking, a winner and a report."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from worker import __version__
from worker.backtest import processes
from worker.backtest.candidates import Candidate
from worker.backtest.ranking import Entry, Ranked, ranking
from worker.backtest.resharded import part, room_in
from worker.backtest.running import Measured, Task, Where
from worker.backtest.survey import Survey
from worker.backtest.winner import as_toml
from worker.errors import HeadraceError
from worker.evaluation.runlog import RunLog
from worker.events.partition import Partitioner
from worker.files import write_whole
from worker.report.page import write_report


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is compared, over what, and how; see `worker.backtest.job.Backtest`."""

    candidates: list[Candidate]
    where: Where
    folder: Path
    delay_ms: int
    warm_up: float
    confidence: float
    seed: int
    jobs: int


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


class Prepared:
    """A backtest that has looked at its recording, and can begin.

    Attributes:
        tasks: the runs, in the order of the configurations.
        waiting: those of them that were not made before.
        records: of the recording.
        shards: of each run.
        warnings: what may be missing in the recording, a line each.
    """

    def __init__(
        self, asked: Asked, tasks: list[Task], looked: Survey, begin_ms: int, shards: int, *, warnings: list[str]
    ) -> None:
        self._asked, self.tasks, self._begin_ms = asked, tasks, begin_ms
        self.records, self.shards, self.warnings = looked.records, shards, warnings
        self._runs = asked.folder / "runs"
        self.waiting = [task for task in tasks if Measured.read(self._runs, task) is None]
        # By the partitioner, those of the runs whose records have to be parted.
        self._to_part: dict[Partitioner, list[Task]] = {}
        for task in self.waiting if asked.where.shards is not None else ():
            self._to_part.setdefault(task.partitioner, []).append(task)

    @property
    def total(self) -> int:
        """Count the records that all runs together will go through, and those that are parted for them before."""
        return self.records * (len(self.waiting) + len(self._to_part))

    def run(self, progress: Callable[[int], None] = lambda _records: None) -> Outcome:
        """Make the runs that are not there yet, rank them all, and write what was found.

        Args:
            progress: called with the number of records that were done since the last call.

        Raises:
            HeadraceError: a run has failed, or cannot be compared; those that are done are kept.
        """
        asked = self._asked
        with self._parted(progress) as tasks:
            processes.make(tasks, self._runs, jobs=asked.jobs, progress=progress)
        entries = []
        for candidate, task in zip(asked.candidates, self.tasks, strict=True):
            measured = Measured.read(self._runs, task)
            if measured is None:
                raise HeadraceError(f"{task.name}: what it has measured was removed meanwhile; start again")
            entries.append(Entry(candidate=candidate, digest=task.digest, measured=measured))
        ranked = ranking(entries, confidence=asked.confidence, seed=asked.seed)
        by_name = {entry.candidate.name: entry for entry in entries}
        winner = next(by_name[one.name] for one in ranked if one.kind == "online")
        outcome = Outcome(
            ranking=ranked, winner=winner.candidate, logs=[by_name[one.name].measured.log for one in ranked],
            measured_from_ms=self._begin_ms, measured=ranked[0].events or 0, records=self.records,
            kept=len(self.tasks) - len(self.waiting), folder=asked.folder,
        )  # fmt: skip
        self._write(outcome)
        return outcome

    @contextmanager
    def _parted(self, progress: Callable[[int], None]) -> Iterator[list[Task]]:
        """Give the runs that are to be made, with their records by shard where these are made of keys."""
        where = self._asked.where
        if where.shards is None or not self._to_part:
            yield self.waiting
            return
        with room_in(self._runs) as folder:
            tasks = []
            for partitioner, some in self._to_part.items():
                path = folder / f"{partitioner}.arrow"
                part(where.recording(), where.shards, partitioner, path, progress)
                told = where.model_copy(update={"parted": str(path)})
                tasks += [task.model_copy(update={"where": told}) for task in some]
            yield tasks

    def _write(self, outcome: Outcome) -> None:
        folder, best = outcome.folder, outcome.winner
        loss = next(one.log_loss for one in outcome.ranking if one.name == best.name)
        remarks = [
            f"The best of a backtest of {len(outcome.ranking)} runs over {self._asked.where.location}: {best.name}.",
            f"Mean loss {loss:.5f} over {outcome.measured:,} events. Settings that are not named are the defaults.",
        ]
        write_whole(folder / "winner.toml", as_toml(best.config, remarks).encode())
        write_whole(folder / "backtest.json", orjson.dumps(self.told(outcome), option=orjson.OPT_INDENT_2) + b"\n")
        write_report(folder / "report.html", outcome.logs, [one.compared for one in outcome.ranking])

    def told(self, outcome: Outcome) -> dict[str, object]:
        """Give what was found, for JSON."""
        asked = self._asked
        return {
            "headrace": __version__,
            "recording": asked.where.model_dump(mode="json", exclude={"parted"}),
            "records": outcome.records,
            "records_digest": self.tasks[0].records,
            "shards": self.shards,
            "delay_ms": asked.delay_ms,
            "measured_from_ms": outcome.measured_from_ms,
            "measured_events": outcome.measured,
            "blocks": len(self.tasks[0].edges),
            "confidence": asked.confidence,
            "seed": asked.seed,
            "winner": outcome.winner.name,
            "winner_file": str(outcome.folder / "winner.toml"),
            "report": str(outcome.folder / "report.html"),
            "ranking": [one.model_dump(mode="json") for one in outcome.ranking],
        }
