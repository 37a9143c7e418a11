"""Tables: wide ones scroll by themselves, long ones are behind a line that opens them, and each is bounded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from worker.evaluation.runlog import RunLog
from worker.report.markup import Child, Markup, tag
from worker.report.words import plural

MOST_RUNS: Final = 100


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    head: Child
    run: int | None = None  # whose it is: the legend hides it too
    text: bool = False  # else numbers, to the right
    whole: bool = False  # on one line

    @property
    def kind(self) -> str | None:
        """Give its class."""
        names = [f"run s{self.run}"] if self.run is not None else []
        return " ".join([*names, *(["text"] if self.text else []), *(["whole"] if self.whole else [])]) or None


def table(columns: Sequence[Column], rows: Iterable[Sequence[Child]], *, label: str) -> Markup:
    """Make a table that scrolls sideways by itself where it is wider than the page."""
    head = (tag("th", column.head, scope="col", class_=column.kind) for column in columns)
    body = (
        tag("tr", *(
            tag("td" if number else "th", cell, class_=column.kind, scope=None if number else "row")
            for number, (column, cell) in enumerate(zip(columns, row, strict=True))
        ))
        for row in rows
    )  # fmt: skip
    made = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body))
    return tag("div", made, class_="scroll", tabindex=0, role="region", aria_label=label)


def behind(made: Markup, what: str) -> Markup:
    """Put a table behind a line that opens it."""
    return tag("details", tag("summary", what), made)


def named(run: RunLog, number: int | None) -> Markup:
    """Write a run's name beside its colour; None where it has none, for it is in no chart."""
    key = None if number is None else tag("i", class_=f"key s{number}")
    return tag("span", key, run.name, class_="name")


def columns_of(runs: Sequence[RunLog]) -> list[Column]:
    """Give a column for each run."""
    return [Column(head=named(run, number), run=number) for number, run in enumerate(runs)]


def left_out(number: int, what: str) -> Markup | None:
    """Say that there are more."""
    return tag("p", f"And {plural(number, f'more {what}')}.", class_="soft") if number > 0 else None
