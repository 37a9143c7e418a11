"""Workers as processes of their own, as they run in production."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.errors import HeadraceError

READY_SECONDS = 120.0  # a first start on a slow machine: the group settles, the shards are restored
STOP_SECONDS = 30.0


class Workers:
    """Some `headrace run` processes; leaving the context ends them, however it is left."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for number in range(1, self._count + 1):
            with self._log(number).open("wb") as log:
                command = [sys.executable, "-m", "worker", "run", "--config", str(self._folder / "headrace.toml")]
                environment = {"HEADRACE_LOG__FORMAT": "json"}
                self._processes.append(subprocess.Popen(command, stderr=log, env={**_environment(), **environment}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def await_ready(self, shards: int) -> list[str]:
        """Wait until every shard is being learned, and every worker has some; gives the metrics URLs.

        Raises:
            HeadraceError: a worker ended, or took too long.
        """
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self.require_running()
            urls = [url for number in range(1, self._count + 1) if (url := self._metrics_url(number))]
            owned = [_owned_shards(url) for url in urls]
            if len(owned) == self._count and all(owned) and sum(owned) == shards:
                return urls
            if time.monotonic() > deadline:
                raise HeadraceError(
                    f"the workers are not ready after {READY_SECONDS:g} s: see the logs in {self._folder}"
                )
            time.sleep(0.1)

    def require_running(self) -> None:
        """Raise where a worker has ended by itself."""
        for number, process in enumerate(self._processes, 1):
            if process.poll() is not None:
                raise HeadraceError(f"worker {number} ended with {process.returncode}: see {self._log(number)}")

    def stop(self) -> None:
        """Ask every worker to commit and leave, and wait until it has."""
        for process in self._processes:
            process.terminate()
        for number, process in enumerate(self._processes, 1):
            if process.wait(STOP_SECONDS) != 0:
                raise HeadraceError(f"worker {number} ended with {process.returncode}: see {self._log(number)}")

    def _log(self, number: int) -> Path:
        return self._folder / f"worker-{number}.log"

    def _metrics_url(self, number: int) -> str | None:
        for line in self._log(number).read_text().splitlines():
            if line.startswith("{") and (told := json.loads(line))["action"] == "serve":
                return str(told["url"])
        return None


def _environment() -> dict[str, str]:
    """Give our environment, less what would configure the workers behind the demo's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}


def _owned_shards(url: str) -> int:
    """Count the shards of which a worker shows a table."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own worker's, on the loopback
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, TimeoutError):
        return 0
    return sum(line.startswith("headrace_table_rows{") for line in lines)
