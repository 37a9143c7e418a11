"""Runs side by side, in processes: what one learns depends on its task alone, so it is the same to the bit."""

import json
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from worker import errors
from worker.backtest.running import Task, run
from worker.errors import HeadraceError

_LAST_WORDS = 20  # lines of a process that ended by surprise


def make(
    tasks: Sequence[Task], folder: Path, *, jobs: int = 1, progress: Callable[[int], None] = lambda _records: None
) -> None:
    """Make runs, and write what they measured into a folder.

    Args:
        tasks: the runs; begun in this order.
        folder: where to.
        jobs: how many at once; 1 makes them in this process.
        progress: called with the number of records that were done since the last call, one thread at a time.

    Raises:
        HeadraceError: one has failed. What was measured by then stays.
    """
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            run(task, progress=progress).write(folder, task)
        return
    _Crew(tasks, folder, progress).work(min(jobs, len(tasks)))


class _Crew:
    def __init__(self, tasks: Sequence[Task], folder: Path, progress: Callable[[int], None]) -> None:
        self._tasks, self._folder, self._progress = deque(tasks), folder, progress
        self._lock = threading.Lock()
        self._failed: list[BaseException] = []
        self._processes: list[subprocess.Popen[str]] = []

    def work(self, jobs: int) -> None:
        # Daemons: whoever interrupts the main thread waits for none of them.
        threads = [threading.Thread(target=self._serve, name=f"backtest-{n}", daemon=True) for n in range(jobs)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._stop()
        if self._failed:
            raise self._failed[0]

    def _serve(self) -> None:
        """Hand tasks to a process of its own, one after the other."""
        try:
            # Its last words go to a file: nobody reads them while it works, and a pipe would fill up.
            with tempfile.TemporaryFile("w+") as words, self._begin(words) as process:
                try:
                    while (task := self._next()) is not None:
                        self._hand(process, task, words)
                except BaseException as error:  # noqa: BLE001 - told by the main thread
                    self._fail(error)
        except BaseException as error:  # noqa: BLE001 - as above; closing the pipe of a process that is gone fails too
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failed.append(error)  # the first one counts
        self._stop()  # the others need not go on: what is done is kept, what is not will be made next time

    def _begin(self, words: IO[str]) -> "subprocess.Popen[str]":
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "worker.backtest.child", str(self._folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True,
        )  # fmt: skip
        with self._lock:
            self._processes.append(process)
        return process

    def _next(self) -> Task | None:
        with self._lock:
            return self._tasks.popleft() if self._tasks else None

    def _hand(self, process: "subprocess.Popen[str]", task: Task, words: IO[str]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a process without pipes")
        try:
            process.stdin.write(task.model_dump_json() + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise self._ended(process, task, words) from None
        for line in process.stdout:
            told = json.loads(line)
            if "failed" in told:
                kind = getattr(errors, told["kind"], HeadraceError)
                raise kind(f"{task.name}: {told['failed']}")
            if "done" in told:
                return
            with self._lock:
                self._progress(int(told["records"]))
        raise self._ended(process, task, words)

    @staticmethod
    def _ended(process: "subprocess.Popen[str]", task: Task, words: IO[str]) -> HeadraceError:
        code = process.wait()
        words.seek(0)
        last = "\n".join(words.read().strip().splitlines()[-_LAST_WORDS:])
        return HeadraceError(
            f"{task.name}: its process ended with {code}: {last or 'it said nothing; was the machine out of memory?'}\n"
            "Start the same backtest again: it goes on with what is not measured yet. --jobs 1 needs less memory"
        )

    def _stop(self) -> None:
        with self._lock:
            self._tasks.clear()
            for process in self._processes:
                if process.poll() is None:
                    process.terminate()
