"""What one run measured, as a JSON document: the input of `headrace report`, and of whoever compares runs.

Written whole or not at all, and read back only as what it is: a document of another format, or with a value that does
not belong there, is refused with the place of it.
"""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, JsonValue, ValidationError

from worker import __version__
from worker.errors import IncompatibleDataError
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.measures import Bin, Mark, Measures, Part, Slice, Window
from worker.evaluation.pace import Pace
from worker.files import write_whole

FORMAT: Final = 1


class Example(Part):
    """A record that was rejected."""

    shard: int
    offset: int
    detail: str = Field(description="why, for people")
    value: str | None = Field(
        None, description="the beginning of what it holds, unprintable characters escaped; null of a tombstone"
    )


class Compared(Part):
    """One run of several over the same events: a line of a ranking."""

    name: str
    log_loss: float
    auc: float | None = None
    normalized_entropy: float | None = None
    calibration: float | None = None
    difference: float | None = (
        None  # of the mean loss, event by event, from the run it is compared with: below 0 is better
    )
    low: float | None = Field(None, description="the confidence interval of that, from differences event by event")
    high: float | None = None
    confidence: float = Field(0.95, gt=0, lt=1)
    against: str | None = Field(None, description="the name of the run it is compared with; None of that run itself")
    events: int | None = None
    seconds: float | None = None
    settings: dict[str, JsonValue] = Field({}, description="in which it differs from the others")


class RunLog(Part):
    """What one run measured."""

    format: Literal[1] = 1
    headrace: str = Field(__version__, description="the release that measured")
    name: str = Field(min_length=1)
    mode: str = Field(min_length=1, description="such as 'replay', 'as recorded', 'backtest', 'live'")
    source: str = Field("", description="where the events came from: a recording, a topic")
    configuration: dict[str, JsonValue] = Field(
        {}, description="settings by their dotted names, those that are not the defaults"
    )
    when: int = Field(description="when the run began, milliseconds since 1970, by the clock of the machine")
    seconds: float = Field(ge=0, description="that it took")
    events: int = Field(ge=0, description="learned")
    events_per_second: float = Field(ge=0)
    loss: Literal["logistic", "squared"]
    totals: Measures
    windows: list[Window] = Field([], description="of event time, rising")
    slices: list[Slice] = []
    reliability: list[Bin] = []
    marks: list[Mark] = Field([], description="alarms of drift, by event time")
    alarms: int = Field(0, description="all of them: of very many not every one has a mark")
    rejected: dict[str, int] = Field(
        {}, description="events by the reason, see `worker.events.rejects`; of the records that were measured"
    )
    examples: dict[str, list[Example]] = Field({}, description="a few rejected records by the reason")
    skipped: dict[str, int] = Field({}, description="valid events of these that were not learned, by the reason")
    shards: int = Field(0, ge=0)
    digests: dict[int, str] = Field(
        {}, description="by shard, of all that it has learned: equal exactly when the shards are equal"
    )
    throughput: list[Pace] = []

    @classmethod
    def of(
        cls,
        evaluation: Evaluation,
        *,
        name: str,
        mode: str,
        when: int,
        seconds: float,
        source: str = "",
        configuration: dict[str, JsonValue] | None = None,
        rejected: dict[str, int] | None = None,
        examples: dict[str, list[Example]] | None = None,
        skipped: dict[str, int] | None = None,
        shards: int | None = None,
        digests: dict[int, str] | None = None,
        learned: int | None = None,
    ) -> Self:
        """Make the log of a run from what was measured.

        Args:
            evaluation: what was measured.
            name: of the run: the one that it has in reports.
            mode: what kind of run it was.
            when: it began, milliseconds since 1970.
            seconds: that it took.
            source: where the events came from.
            configuration: the settings that are not the defaults, see `worker.evaluation.configuration.changed`.
            rejected: counts by the reason.
            examples: a few rejected records by the reason.
            skipped: counts of valid events that were not learned, by the reason.
            shards: their number; those that have a digest, unless it is given.
            digests: of the shards, at the end.
            learned: how many events took that time; those that were measured, unless it is given.
        """
        events = evaluation.events
        return cls(
            name=name,
            mode=mode,
            source=source,
            configuration=configuration or {},
            when=when,
            seconds=seconds,
            events=events,
            events_per_second=(events if learned is None else learned) / seconds if seconds > 0 else 0.0,
            loss="logistic" if evaluation.logistic else "squared",
            totals=evaluation.totals,
            windows=evaluation.windows(),
            slices=evaluation.slices,
            reliability=evaluation.reliability,
            marks=evaluation.marks,
            alarms=evaluation.alarms,
            rejected=rejected or {},
            examples=examples or {},
            skipped=skipped or {},
            shards=len(digests or {}) if shards is None else shards,
            digests=digests or {},
            throughput=evaluation.throughput,
        )

    def write(self, path: str | Path) -> None:
        """Write it as JSON; a reader sees all of it or what was there before.

        Raises:
            ConfigurationError, StorageError: the file cannot be written.
        """
        write_whole(Path(path), self.model_dump_json(indent=1).encode() + b"\n")

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read one.

        Raises:
            IncompatibleDataError: it is none, is one of another release's format, or cannot be read.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise IncompatibleDataError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise IncompatibleDataError(f"{path} is no run log of format {FORMAT}: {_said(error)}") from error


def _said(error: ValidationError) -> str:
    """Say the first few faults in one line."""
    faults = [f"{'.'.join(map(str, fault['loc'])) or 'the document'}: {fault['msg']}" for fault in error.errors()]
    return "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
