"""Workers as what they are: processes of their own, that can be killed, stopped, continued and asked to end."""

import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from tests.support.patience import SECONDS, await_
from tests.support.stage import Stage

_TAIL_LINES = 60
_COMMITTED = "committed {"
_SERVED = r"serve: .*url=(\S+)"


class Worker:
    """A `headrace run` and its log."""

    def __init__(self, stage: Stage, log: Path) -> None:
        self.name = log.stem
        self.killed = self.leaving = self.replaced = False
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "run", "-c", str(stage.file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def count(self, pattern: str) -> int:
        """Count what a regular expression finds in the log."""
        return len(re.findall(pattern, self.log))

    def metrics_url(self) -> str:
        """Give where it serves its metrics, once it does."""
        self.await_log(_SERVED)
        (url,) = set(re.findall(_SERVED, self.log))
        return url

    def metric(self, name: str) -> dict[str, float]:
        """Scrape a metric, once it is served: its values, by those of its labels in the order of their names."""
        with urllib.request.urlopen(self.metrics_url(), timeout=SECONDS) as answer:  # noqa: S310 - our own worker's
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return {",".join(dict(sorted(sample.labels.items())).values()): sample.value for sample in samples}

    def await_log(self, pattern: str, *, more_than: int = 0, seconds: float = SECONDS) -> None:
        """Wait until a regular expression is found in the log more than so many times."""
        await_(
            f"{pattern!r} in the log of {self.name}",
            lambda: self.count(pattern) > more_than or not self.alive,
            seconds,
        )
        assert self.count(pattern) > more_than, f"{self.name} ended with code {self._process.poll()}"

    def await_commit(self) -> None:
        """Wait until it commits once more."""
        self.await_log(_COMMITTED, more_than=self.count(_COMMITTED))

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it. Waits until it is gone."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """SIGTERM, once it has joined the group."""
        self.await_log("assigned shards")
        self.leaving = True
        self.send(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self, seconds: float = SECONDS) -> int:
        """Wait for its end; minus the number of the signal that ended it, else its exit code."""
        return self._process.wait(seconds)


class Crew:
    """The workers of a test. None outlives it; when the test fails their logs are shown."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.workers: list[Worker] = []
        self._stage, self._folder = stage, folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.kill()
        if error is not None:
            for worker in self.workers:
                print(f"--- {worker.name}", *worker.log.splitlines()[-_TAIL_LINES:], sep="\n")  # noqa: T201 - pytest shows it

    @property
    def living(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.alive]

    @property
    def staying(self) -> list[Worker]:
        return [worker for worker in self.living if not worker.leaving]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to each of them that is alive."""
        for worker in self.living:
            worker.send(number)

    def let_run(self, seconds: float) -> None:
        """Let time go by: for moments that are drawn, not for things to happen."""
        time.sleep(seconds)

    def replace_the_ended(self, *allowed: int) -> None:
        """Do what an orchestrator does: start a new worker for each that ended of its own with one of these codes."""
        for worker in self.workers:
            if not (worker.alive or worker.killed or worker.leaving or worker.replaced):
                code = worker.exit_code()
                assert code in allowed, f"{worker.name} ended with code {code}"
                worker.replaced = True
                self.start()

    @property
    def commits(self) -> int:
        """Count the commits of all of them so far."""
        return sum(worker.count(_COMMITTED) for worker in self.workers)

    def start(self, stage: Stage | None = None) -> Worker:
        """Start one more worker, by another configuration if one is given."""
        worker = Worker(stage or self._stage, self._folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker
