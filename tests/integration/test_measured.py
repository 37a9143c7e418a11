"""What live workers measured, out of a real model topic: the log and the report of it, as a person makes them."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.command import headrace_text
from tests.support.crew import Crew
from tests.support.feed import Feed
from tests.support.stage import set_stage
from worker import snapshots
from worker.config import Config
from worker.evaluation.runlog import RunLog
from worker.quality.progress import Progress


def headrace(*arguments: str | Path, file: Path) -> subprocess.CompletedProcess[str]:
    return headrace_text(*arguments, environment={"HEADRACE_CONFIG": str(file)})


def learned(config: Config) -> Progress:
    return sum((one.progress for one in snapshots.show(config)), Progress(logistic=True))


def test_a_live_run_becomes_a_log_and_a_report(kafka, unique, tmp_path):
    stage = set_stage(kafka, unique, tmp_path, partitions=2)
    with Crew(stage, tmp_path) as crew, Feed(stage) as feed:
        worker = crew.start()
        feed.send(2_000)  # some bad ones among them
        feed.begin(10_000)
        for _ in range(4):
            worker.await_commit()
        feed.stop()
        worker.send(signal.SIGTERM)  # which commits what is learned
        assert worker.exit_code() == 0
    told = learned(stage.config)
    run, page = tmp_path / "run.json", tmp_path / "report.html"
    done = headrace("snapshot", "log", "--out", run, "--json", file=stage.file)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"] == told.events
    log = RunLog.read(run)
    assert (log.mode, log.shards, log.source) == ("live", 2, f"topic {unique}")
    assert log.totals.loss == pytest.approx(told.loss, rel=1e-9)
    assert log.totals.auc == told.auc
    assert log.rejected["not_json"] > 0
    done = headrace("report", run, "--out", page, file=stage.file)
    assert (done.returncode, "open it in a browser" in done.stdout) == (0, True), done.stderr
    assert "<!doctype html>" in page.read_text(encoding="utf-8")
