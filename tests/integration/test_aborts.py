"""Transactions that the broker refuses: nothing of them is seen, and what they held is learned again."""

from pathlib import Path

from deploy.broker import Broker
from tests.support.crew import Crew
from tests.support.feed import Feed
from tests.support.patience import await_
from tests.support.stage import set_stage
from tests.support.verdict import await_all_learned, require_exactly_once, require_one_chain
from worker.errors import FencedError

_DEFAULT_BYTES = "1048588"
# After too many aborts in a row; or where the client did not tell in time whether the commit took place.
ENDS = (1, FencedError.exit_code)


def test_what_an_aborted_transaction_held_is_learned_again(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(kafka, unique, tmp_path, snapshots={"keep_bases": 1_000})
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        # Given a worker at work, whose model topic takes its records no longer
        feed.begin(events_per_second=2_000)
        worker = crew.start()
        worker.await_commit()
        restored = worker.count("restore: shard")
        stage.alter(stage.config.model.topic, max_message_bytes="2000")

        # When its transactions are aborted, and then the topic takes them again
        worker.await_log("abort: .*going back to the last commit")
        stage.alter(stage.config.model.topic, max_message_bytes=_DEFAULT_BYTES)
        before = crew.commits
        await_("a commit", lambda: crew.replace_the_ended(*ENDS) or crew.commits > before)

        # Then it went back to its last version, or another took it up there, and every event is learned once
        assert sum(it.count("restore: shard") for it in crew.workers) > restored
        feed.stop()
        feed.flush()
        await_all_learned(stage, lambda: crew.replace_the_ended(*ENDS))
        for it in crew.living:
            it.leave()
        assert {it.exit_code() for it in crew.workers if it.leaving} == {0}
        require_exactly_once(stage, feed)
        require_one_chain(stage)


def test_a_worker_whose_every_transaction_is_aborted_ends_and_says_why(
    kafka: Broker, unique: str, tmp_path: Path
) -> None:
    stage = set_stage(kafka, unique, tmp_path)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        feed.send(2_000)
        worker = crew.start()
        worker.await_commit()
        stage.alter(stage.config.model.topic, max_message_bytes="2000")
        feed.send(2_000)
        await_("its end", lambda: not worker.alive)
        assert worker.exit_code() in ENDS
        assert "transactions in a row were aborted" in worker.log or "cannot be known" in worker.log
        # What it could not commit is there for the next one.
        stage.alter(stage.config.model.topic, max_message_bytes=_DEFAULT_BYTES)
        next_one = crew.start()
        await_all_learned(stage)
        next_one.leave()
        assert next_one.exit_code() == 0
        require_exactly_once(stage, feed)
