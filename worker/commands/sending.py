"""What `headrace simulate` and `headrace load` have in common: a progress bar, and the events they print or send."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click


@contextmanager
def progress_bar(total: int | None, *, doing: str = "sending", what: str = "events") -> Iterator[Callable[[int], None]]:
    """Show how many events are done, on standard error and only to a terminal; `total` may be unknown."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda done: bar.advance(task, done)


def print_lines(lines: Iterable[bytes]) -> None:
    """Print lines until there are no more, or whoever reads them (`head`) has seen enough."""
    try:
        for line in lines:
            click.echo(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered has nowhere to go, and the interpreter would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def as_text(milliseconds: int) -> str:
    """Write a time for people.

    >>> as_text(1_735_689_600_000)
    '2025-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
