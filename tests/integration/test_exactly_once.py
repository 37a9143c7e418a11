"""Workers die, come and go while events arrive; the model is, to the bit, that of one uninterrupted pass."""

import random
from pathlib import Path

import pytest

from deploy.broker import Broker
from tests.support.acts import drawn_acts
from tests.support.crew import Crew
from tests.support.ends import Ends
from tests.support.feed import Feed
from tests.support.stage import set_stage
from tests.support.verdict import await_all_learned, require_exactly_once, require_one_chain

EVENTS = 200_000
KILLS = 22
LEAVES = 6
EVENTS_PER_SECOND = 3_000


def test_killed_workers_neither_lose_nor_repeat_an_event(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(kafka, unique, tmp_path, kafka={"consumer": {"heartbeat.interval.ms": 300}})
    moments = random.Random(20)
    acts = drawn_acts(moments, kills=KILLS, leaves=LEAVES)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew, Ends(stage) as ends:
        # Given workers that learn while events arrive
        feed.begin(EVENTS_PER_SECOND)
        crew.start()
        crew.start().await_commit()

        # When they are killed, at moments of every kind, leave, and are replaced
        for act in acts:
            act(crew, ends, moments)
            while len(crew.staying) < 2:
                crew.start()
        feed.stop()
        feed.send(max(0, EVENTS - feed.sent))
        last = crew.start()
        for worker in crew.staying[:-1]:
            worker.leave()
        await_all_learned(stage)
        last.leave()

        # Then those who were asked to leave did so in peace, and the model is as if nothing had happened
        assert {worker.exit_code() for worker in crew.workers if not worker.killed} == {0}
        assert sum(worker.killed for worker in crew.workers) == KILLS
        assert feed.sent >= EVENTS
        assert len(feed.bad) > EVENTS // 2_000
        require_exactly_once(stage, feed)
        require_one_chain(stage)


@pytest.mark.parametrize("kind", ["gaussian", "ftrl"])
def test_polls_of_a_few_records_learn_the_same(kafka: Broker, unique: str, tmp_path: Path, kind: str) -> None:
    stage = set_stage(kafka, unique, tmp_path, run={"poll_events": 7}, model={"kind": kind})
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        feed.send(5_000)
        worker = crew.start()
        await_all_learned(stage)
        worker.leave()
        assert worker.exit_code() == 0
        require_exactly_once(stage, feed)
