"""A process that makes runs: tasks come in as lines of JSON, and what becomes of them goes out the same way.

`python -m worker.backtest.child FOLDER` writes what was measured there.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from worker.backtest.running import Task, run
from worker.errors import HeadraceError

_TELL_SECONDS = 0.2  # between two lines about progress


def main(folder: Path, tasks: TextIO, to: TextIO) -> None:
    """Make runs until there are no more tasks."""
    for line in tasks:
        task = Task.model_validate_json(line)
        told = _Progress(to)
        try:
            run(task, progress=told).write(folder, task)
        except HeadraceError as error:
            _tell(to, {"failed": str(error), "kind": type(error).__name__})
            return
        told.flush()
        _tell(to, {"done": task.digest})


class _Progress:
    """Tells of records, now and then."""

    def __init__(self, to: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._to, self._clock = to, clock
        self._records, self._told = 0, clock()

    def __call__(self, records: int) -> None:
        self._records += records
        if self._clock() - self._told >= _TELL_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._records:
            _tell(self._to, {"records": self._records})
        self._records, self._told = 0, self._clock()


def _tell(to: TextIO, what: dict[str, object]) -> None:
    to.write(json.dumps(what) + "\n")
    to.flush()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.stdin, sys.stdout)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)  # whoever began it has ended, and says so
