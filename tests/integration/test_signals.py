"""How a worker ends: asked, insisted, or stalled."""

import re
import signal
from pathlib import Path

from deploy.broker import Broker, broker
from tests.support.crew import Crew, Worker
from tests.support.feed import Feed
from tests.support.patience import await_
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
    with broker(own=True) as kafka:
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
