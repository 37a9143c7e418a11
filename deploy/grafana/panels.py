"""What a dashboard is made of, and the words that its expressions share.

A Prometheus job is one model: its workers and its followers. `$job` picks one, `$shard` some of its shards.
"""

from dataclasses import dataclass
from typing import Final, Literal

from grafana_foundation_sdk.models import units

Unit = Literal[
    "events/s", "records/s", "rows/s", "per second", "bytes", "bytes/s", "seconds", "ratio", "share", "count"
]

UNITS: Final[dict[Unit, str]] = {
    "events/s": units.EventsPerSecond,
    "records/s": units.CountsPerSecond,
    "rows/s": units.CountsPerSecond,
    "per second": units.CountsPerSecond,
    "bytes": units.BytesIEC,
    "bytes/s": units.BytesPerSecondIEC,
    "seconds": units.Seconds,
    "ratio": units.NoUnit,  # loss, entropy, calibration, a statistic: a number without dimension, small
    "share": units.PercentUnit,
    "count": units.Short,
}

HEALTH: Final = "headrace-health"
PIPELINE: Final = "headrace-pipeline"
MEMORY: Final = "headrace-memory"
TITLES: Final = {HEALTH: "Model health", PIPELINE: "Pipeline", MEMORY: "Snapshots and memory"}

JOB: Final = 'job="$job"'
SHARD: Final = 'job="$job", shard=~"$shard"'


@dataclass(frozen=True, kw_only=True)
class Query:
    """An expression, and how its series are called.

    Attributes:
        expression: PromQL; may use `$job`, `$shard` and `$__rate_interval`.
        legend: Grafana's template, with `{{label}}` for the value of a label.
    """

    expression: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A drawing of one or more expressions.

    Attributes:
        title: what is shown.
        about: what it means, what is normal, what to do; shown where the mouse rests.
        unit: of all its values.
        queries: at least one.
        drill: the dashboard that tells more; a click on the series of a shard goes there with that shard chosen.
        shape: lines over time, or the number as it is now.
        width: of 24 columns.
    """

    title: str
    about: str
    unit: Unit
    queries: tuple[Query, ...]
    drill: str
    shape: Literal["lines", "number"] = "lines"
    width: int = 8

    @property
    def by_shard(self) -> bool:
        """Whether each series is that of one shard."""
        return all("{{shard}}" in query.legend for query in self.queries)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A dashboard."""

    uid: str
    about: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """What it is called."""
        return TITLES[self.uid]


def lines(title: str, about: str, unit: Unit, *queries: tuple[str, str], drill: str, width: int = 8) -> Panel:
    """Make a panel of lines over time, of pairs of expression and legend."""
    made = tuple(Query(expression=expression, legend=legend) for expression, legend in queries)
    return Panel(title=title, about=about, unit=unit, queries=made, drill=drill, width=width)


def number(title: str, about: str, unit: Unit, expression: str, *, drill: str, width: int = 4) -> Panel:
    """Make a panel of one number, as it is now."""
    query = Query(expression=expression, legend=title)
    return Panel(title=title, about=about, unit=unit, queries=(query,), drill=drill, shape="number", width=width)


def rate(metric: str, labels: str = SHARD) -> str:
    """Give the rate per second of a counter, over what suits the width of the panel."""
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def total(inner: str, *by: str) -> str:
    """Sum over what is not named."""
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def over(above: str, below: str) -> str:
    """Divide."""
    return f"{above} / {below}"


def minus(whole: str, part: str) -> str:
    """Subtract."""
    return f"{whole} - {part}"


def quantiles(histogram: str, *levels: float) -> tuple[tuple[str, str], ...]:
    """Give quantiles of a histogram of all workers of a job."""
    rates = total(rate(f"{histogram}_bucket", JOB), "le")
    return tuple((f"histogram_quantile({level}, {rates})", f"p{level * 100:g}") for level in levels)
