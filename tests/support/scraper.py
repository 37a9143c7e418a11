"""A Prometheus of a test's own: the configuration that is committed, but with targets and intervals of the test."""

import json
import math
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from deploy.broker.ports import LOOPBACK, free_ports
from deploy.prometheus.programs import Programs
from tests.support.patience import SECONDS, await_
from tests.support.shown import DEPLOY, RULES

_TAIL_LINES = 30
_STARTS = 3  # another process may take the port


class Prometheus:
    """Scrapes and evaluates twice a second as long as its context lasts; its log is shown when the test fails."""

    def __init__(self, programs: Programs, folder: Path, targets: Iterable[str]) -> None:
        settings = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text(encoding="utf-8"))
        settings["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "500ms")
        settings["rule_files"] = [str(RULES)]
        (job,) = settings["scrape_configs"]
        job["static_configs"] = [{"targets": [urlsplit(url).netloc for url in targets]}]
        self._programs, self._folder = programs, folder
        self._config, self._log = folder / "prometheus.yaml", folder / "prometheus.log"
        self._config.write_text(yaml.safe_dump(settings))

    def __enter__(self) -> Self:
        for attempt in range(_STARTS):
            self._start(attempt)
            await_("Prometheus to answer", lambda: self._is_ready() or self._process.poll() is not None)
            if self._process.poll() is None:
                return self
        raise AssertionError(self._log.read_text(errors="replace"))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._process.kill()
        self._process.wait()
        if error is not None:
            print("--- prometheus", *self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:], sep="\n")  # noqa: T201 - pytest shows it

    def query(self, expression: str) -> list[float]:
        """Give the finite values of an expression as it is now; raises ValueError where it is not understood."""
        result = self._ask("query", query=expression)
        samples = [result["result"]] if result["resultType"] == "scalar" else [one["value"] for one in result["result"]]
        return [value for _, text in samples if math.isfinite(value := float(text))]

    def rules(self) -> list[dict[str, Any]]:
        """Give the rules with their states."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _start(self, attempt: int) -> None:
        (port,) = free_ports(1)
        self._url = f"http://{LOOPBACK}:{port}"
        data = self._folder / f"prometheus-{attempt}"
        command = [self._programs.prometheus, f"--config.file={self._config}", f"--storage.tsdb.path={data}"]
        command.append(f"--web.listen-address={LOOPBACK}:{port}")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=SECONDS) as answer:  # noqa: S310 - our own Prometheus
                return answer.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    def _ask(self, what: str, **arguments: str) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310 - our own Prometheus
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{arguments}: {error.read().decode()}") from error
