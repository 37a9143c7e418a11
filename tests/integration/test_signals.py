"""How a worker ends: asked, insisted, or stalled."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.broker import Broker, broker
from tests.support.crew import Crew, Worker
from tests.support.feed import Feed
from tests.support.patience import SECONDS, await_
from tests.support.stage import set_stage
from tests.support.verdict import last_manifests, require_exactly_once
from worker.errors import StalledError


def test_a_worker_that_is_asked_to_end_commits_what_it_has_learned(kafka: Broker, unique: str, tmp_path: Path) -> None:
    # Given a worker that would commit once an hour
    stage = set_stage(kafka, unique, tmp_path, commit={"interval_seconds": 3_600, "max_events": 10_000_000})
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        feed.send(20_000)
        worker = crew.start()
        worker.await_log("restore: shard", more_than=stage.partitions - 1)
        await_("all events learned", lambda: _learned(worker) == feed.sent)
        assert last_manifests(stage) == {}

        # When it is asked to end
        worker.leave()

        # Then all is committed
        assert worker.exit_code() == 0
        require_exactly_once(stage, feed)


def test_a_second_signal_ends_it_at_once(kafka: Broker, unique: str, tmp_path: Path) -> None:
    # Given a worker that is frozen with two signals waiting for it
    stage = set_stage(kafka, unique, tmp_path)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        feed.send(1_000)
        worker = crew.start()
        worker.await_commit()
        worker.send(signal.SIGSTOP)
        worker.send(signal.SIGTERM)
        worker.send(signal.SIGINT)

        # When it goes on
        worker.leaving = True
        worker.send(signal.SIGCONT)

        # Then it does not wait for a commit
        assert worker.exit_code() in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_a_worker_that_cannot_end_in_time_ends_all_the_same(unique: str, tmp_path: Path) -> None:
    with broker(own=True, brief=True) as kafka:
        # Given a worker with something to commit, and no broker to commit it to
        stage = set_stage(
            kafka, unique, tmp_path, commit={"interval_seconds": 3_600}, run={"shutdown_seconds": 1.0},
            kafka={"transaction_timeout_seconds": 60, "session_timeout_seconds": 60},
        )  # fmt: skip
        with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
            feed.send(1_000)
            worker = crew.start()
            await_("all events learned", lambda: _learned(worker) == feed.sent)
            kafka.stop_node(1, kill=True)

            # When it is asked to end
            worker.leaving = True
            worker.send(signal.SIGTERM)

            # Then it does not wait for the broker for ever
            assert worker.exit_code() == StalledError.exit_code
            assert "run.shutdown_seconds" in worker.log


def _learned(worker: Worker) -> int:
    return sum(int(count) for count in re.findall(r"learn: shard \d+: (\d+) records", worker.log))


def test_the_first_process_of_a_container_can_be_ended_before_it_has_begun(tmp_path: Path) -> None:
    apart = ["unshare", "--pid", "--fork"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no process may be the first one of a namespace here")
    # Given a worker that is the first process, and waits for a broker
    file = tmp_path / "headrace.toml"
    file.write_text('[kafka]\nbootstrap_servers = "127.0.0.1:1"\n[features.user]\n')
    worker = [*apart, sys.executable, "-m", "worker", "run", "--config", file]
    with subprocess.Popen(worker, stderr=subprocess.DEVNULL) as process:
        (first,) = await_("the process", lambda: _children(process.pid))
        await_("somebody to listen", lambda: _listens(first, signal.SIGTERM))
        # When it is asked to end
        os.kill(first, signal.SIGTERM)
        # Then it does
        assert process.wait(SECONDS) == 128 + signal.SIGTERM


def _children(pid: int) -> list[int]:
    return [int(it) for it in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _listens(pid: int, number: int) -> bool:
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)
