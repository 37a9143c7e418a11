"""Every way of sharing out the partitions gives the same model."""

from pathlib import Path

import pytest

from deploy.broker import Broker
from tests.support.crew import Crew
from tests.support.feed import Feed
from tests.support.stage import set_stage
from tests.support.verdict import await_all_learned, require_exactly_once, require_one_chain


@pytest.mark.parametrize(
    "kafka_settings",
    [
        pytest.param({"assignor": "range"}, id="range"),
        pytest.param({"assignor": "cooperative-sticky"}, id="cooperative-sticky"),
        pytest.param({"group_protocol": "consumer"}, id="consumer"),
        pytest.param({"group_protocol": "consumer", "assignor": "range"}, id="consumer-range"),
    ],
)
def test_joining_and_leaving_change_nothing(
    kafka: Broker, unique: str, tmp_path: Path, kafka_settings: dict[str, str]
) -> None:
    stage = set_stage(kafka, unique, tmp_path, kafka=kafka_settings, snapshots={"keep_bases": 1_000})
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        # Given a worker that learns four shards
        feed.begin(events_per_second=4_000)
        first = crew.start()
        first.await_commit()

        # When a second one joins, and the first one leaves
        second = crew.start()
        second.await_commit()
        first.await_commit()
        first.leave()
        assert first.exit_code() == 0
        second.await_commit()
        feed.stop()
        feed.flush()
        await_all_learned(stage)
        second.leave()
        assert second.exit_code() == 0

        # Then each shard is as if one worker had learned it in one go
        require_exactly_once(stage, feed)
        require_one_chain(stage)
