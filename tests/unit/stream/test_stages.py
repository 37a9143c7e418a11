"""What happens beside the loop: in order, bounded, and never silent about a failure."""

import threading

import numpy as np
import pytest
from confluent_kafka import Message

from tests.support.lineage import NOW, events, learning_of
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState
from worker.stream.owned import Owned
from worker.stream.stages import Stages

LEARNING = learning_of()
SECONDS = 60.0


def messages(values: list[bytes], start: int) -> list[Message]:
    return [
        Message(topic="t", partition=0, offset=offset, key=b"k", value=value, timestamp=(1, NOW))
        for offset, value in enumerate(values, start)
    ]


@pytest.fixture
def stages():
    made = Stages(Pipeline(LEARNING), most_events=100)
    yield made
    made.close()


def owned() -> Owned:
    return Owned.restored(ShardState.fresh(0, LEARNING), [])


def test_batches_are_learned_in_order_and_bad_records_wait_with_the_shard(stages):
    shard, values = owned(), [*events(300, 0), b"no json", *events(200, 1)]
    for start in range(0, len(values), 50):
        stages.hand_over(shard, messages(values[start : start + 50], start))
    assert stages.between(shard.state.digest).result(SECONDS) == at_once(values).digest()
    assert [(message.offset(), str(bad.reason)) for message, bad in shard.dead_letters] == [(300, "not_json")]
    assert shard.state.next_offset == len(values)
    assert stages.await_room(SECONDS)
    assert stages.idle


def at_once(values: list[bytes]) -> ShardState:
    state = ShardState.fresh(0, LEARNING)
    Pipeline(LEARNING).learn(state, values, np.full(len(values), NOW), len(values))
    return state


def test_there_is_no_room_while_as_much_as_is_allowed_is_on_its_way(stages):
    # Given a learning thread that does something else
    let_go = threading.Event()
    stages.between(let_go.wait)
    # When as many events wait for it as may
    stages.hand_over(owned(), messages(events(99, 0), 0))
    assert stages.await_room(0)
    stages.hand_over(owned(), messages(events(1, 1), 0))
    # Then there is no room until they are learned
    assert not stages.await_room(0)
    assert not stages.idle
    let_go.set()
    assert stages.await_room(SECONDS)


def test_a_shard_that_is_given_up_learns_no_more(stages):
    shard = owned()
    stages.hand_over(shard, messages(events(20, 0), 0))
    stages.between(lambda: setattr(shard, "given_up", True))
    stages.hand_over(shard, messages(events(20, 1), 20))
    assert stages.between(lambda: shard.state.next_offset).result(SECONDS) == 20


def test_a_failure_is_raised_and_nothing_is_learned_after_it(stages):
    shard, broken = owned(), owned()
    stages.hand_over(shard, messages(events(20, 0), 0))
    broken.state.model = None  # whoever learns it fails
    stages.hand_over(broken, messages(events(20, 1), 0))
    stages.hand_over(shard, messages(events(20, 2), 20))
    assert stages.between(lambda: shard.state.next_offset).result(SECONDS) == 20
    with pytest.raises(AttributeError):
        stages.await_room(SECONDS)
    with pytest.raises(AttributeError):
        stages.require_sound()
