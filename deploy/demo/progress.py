"""What a person watches while the workers learn; silent where there is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from worker.quality.progress import Progress


@contextmanager
def learning_bar(total: int) -> Iterator[Callable[[int, Progress], None]]:
    """Show how many events are learned and served, and the progressive log loss."""
    if not sys.stderr.isatty():
        yield lambda _events, _progress: None
        return
    columns = (
        TextColumn("learned"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda events, progress: bar.update(task, completed=events, description=f"log loss {progress.loss:.4f}")
