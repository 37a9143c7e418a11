"""What happens beside the loop: in order, bounded, and never silent about a failure."""

import threading

import numpy as np
import pytest
from confluent_kafka import Message

from tests.support.lineage import NOW, events, learning_of
from worker.learning import Events
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
    assert stages.apart(shard, shard.handed_over, shard.state.digest) == at_once(values).digest()
    assert [(message.offset(), str(bad.reason)) for message, bad in shard.dead_letters] == [(300, "not_json")]
    assert shard.state.next_offset == len(values)
    assert stages.await_room(SECONDS)
    assert stages.idle


def test_which_negatives_are_kept_goes_by_where_records_stand():
    learning = LEARNING.model_copy(update={"events": Events(keep_negatives=0.3)})
    stages = Stages(Pipeline(learning), most_events=100)
    shard, gap = Owned.restored(ShardState.fresh(0, learning), []), 7
    state, values = ShardState.fresh(0, learning), events(600, 0)
    for start, offset in ((0, 0), (300, 300 + gap)):  # a transaction has ended between them
        part = values[start : start + 300]
        stages.hand_over(shard, messages(part, offset))
        Pipeline(learning).learn(state, part, np.full(300, NOW), offset + 300)
    assert stages.apart(shard, shard.handed_over, shard.state.digest) == state.digest()
    assert shard.state.skipped["negative"] > 200
    stages.close()


def at_once(values: list[bytes]) -> ShardState:
    state = ShardState.fresh(0, LEARNING)
    Pipeline(LEARNING).learn(state, values, np.full(len(values), NOW), len(values))
    return state


def set_apart(stages: Stages, shard: Owned) -> tuple[threading.Thread, threading.Event]:
    """Keep a shard apart until told otherwise."""
    begun, let_go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        let_go.wait()

    thread = threading.Thread(target=lambda: stages.apart(shard, shard.handed_over, work), daemon=True)
    thread.start()
    assert begun.wait(SECONDS)
    return thread, let_go


def test_there_is_no_room_while_as_much_as_is_allowed_is_on_its_way(stages):
    # Given a shard that is not learned now
    shard = owned()
    _, let_go = set_apart(stages, shard)
    # When as many events wait for it as may
    stages.hand_over(shard, messages(events(99, 0), 0))
    assert stages.await_room(0)
    stages.hand_over(shard, messages(events(1, 1), 99))
    # Then there is no room until they are learned
    assert not stages.await_room(0)
    assert not stages.idle
    let_go.set()
    assert stages.await_room(SECONDS)


def test_other_shards_are_learned_while_one_is_set_apart(stages):
    # Given a shard that is set apart, and records of it that wait
    one, other = owned(), owned()
    thread, let_go = set_apart(stages, one)
    stages.hand_over(one, messages(events(20, 0), 0))
    # When records of another one come after them
    stages.hand_over(other, messages(events(20, 1), 0))
    stages.hand_over(other, messages(events(20, 2), 20))
    # Then these are learned, and those are not
    assert stages.apart(other, other.handed_over, lambda: other.state.next_offset) == 40
    assert one.state.next_offset == 0
    assert stages.stood_still_seconds >= 0
    # When it is let go, then its own are learned too, in their order
    let_go.set()
    thread.join()
    assert stages.apart(one, one.handed_over, lambda: one.state.next_offset) == 20


def test_learning_stands_still_where_all_that_waits_is_set_apart():
    # Given a clock that goes on by a second each time that the thread which learns begins or ends to wait
    seconds, looks = iter(range(1_000)), threading.Semaphore(0)

    def clock() -> float:
        looks.release()
        return float(next(seconds))

    stages, shard = Stages(Pipeline(LEARNING), most_events=100, clock=clock), owned()
    assert looks.acquire(timeout=SECONDS)  # there is nothing to learn yet: that is no standing still
    # When nothing but what waits for a shard that is set apart is there to learn
    thread, let_go = set_apart(stages, shard)
    stages.hand_over(shard, messages(events(20, 0), 0))
    assert looks.acquire(timeout=SECONDS)
    let_go.set()
    thread.join()
    stages.apart(shard, shard.handed_over, lambda: None)
    stages.close()
    # Then learning stood still until it was let go
    assert stages.stood_still_seconds >= 1.0


def test_a_shard_that_is_given_up_learns_no_more(stages):
    shard = owned()
    stages.hand_over(shard, messages(events(20, 0), 0))
    stages.apart(shard, shard.handed_over, lambda: setattr(shard, "given_up", True))
    stages.hand_over(shard, messages(events(20, 1), 20))
    assert stages.apart(shard, shard.handed_over, lambda: shard.state.next_offset) == 20


def test_a_failure_is_raised_and_nothing_is_learned_after_it(stages):
    shard, broken = owned(), owned()
    stages.hand_over(shard, messages(events(20, 0), 0))
    broken.state.model = None  # whoever learns it fails
    stages.hand_over(broken, messages(events(20, 1), 0))
    stages.hand_over(shard, messages(events(20, 2), 20))
    # Then nothing of them may be sealed any more
    with pytest.raises(AttributeError):
        stages.apart(shard, shard.handed_over, lambda: None)
    assert shard.state.next_offset == 20
    with pytest.raises(AttributeError):
        stages.await_room(SECONDS)
    with pytest.raises(AttributeError):
        stages.require_sound()
