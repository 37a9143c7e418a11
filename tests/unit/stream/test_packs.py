"""Events are packed by partition, in their order, and none waits for ever."""

import orjson
import pyarrow as pa
import pytest

from worker.errors import HeadraceError
from worker.events.partition import partition
from worker.learning import Events
from worker.stream.packs import WAIT_SECONDS, Packed, Packs

PARTITIONS = 3


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def some(n: int, **more: object) -> tuple[list[bytes], list[bytes]]:
    users = [f"u{at % 10}" for at in range(n)]
    values = [orjson.dumps({"user": user, "n": at, **more}) for at, user in enumerate(users)]
    return [user.encode() for user in users], values


def packs(most: int = 10, clock: Clock | None = None, **events) -> Packs:
    return Packs(Events(format="arrow", **events), PARTITIONS, most=most, monotonic=clock or Clock())


def rows(message: Packed) -> list[dict]:
    return pa.ipc.open_stream(message.value).read_all().to_pylist()


@pytest.mark.parametrize("step", [1, 7, 100])
def test_each_partition_has_its_events_in_their_order(step):
    keys, values = some(100)
    waiting, messages = packs(), []
    for at in range(0, 100, step):
        messages += waiting.add(keys[at : at + step], values[at : at + step])
    messages += waiting.rest()
    assert list(waiting.rest()) == []
    for where in range(PARTITIONS):
        mine = [message for message in messages if message.partition == where]
        assert all(message.events == 10 for message in mine[:-1])
        expected = [n for n in range(100) if partition(keys[n], PARTITIONS, "murmur2") == where]
        assert [row["n"] for message in mine for row in rows(message)] == expected
        assert [message.events for message in mine] == [len(rows(message)) for message in mine]


def test_an_event_does_not_wait_for_others_for_ever():
    clock = Clock()
    waiting = packs(clock=clock)
    keys, values = some(1)
    assert list(waiting.add(keys, values)) == []
    clock.now = WAIT_SECONDS
    assert [message.events for message in waiting.add([], [])] == [1]


def test_messages_stay_below_the_limit():
    keys, values = some(50, note="x" * 1_000)
    waiting = packs(1_000, max_bytes=8_192)
    messages = [*waiting.add(keys, values), *waiting.rest()]
    assert sum(message.events for message in messages) == 50
    assert all(len(message.value) <= 8_192 for message in messages)
    assert min(len(messages) - PARTITIONS, 3) == 3


def test_an_event_that_is_too_large_is_told():
    keys, values = some(1, note="x" * 5_000)
    waiting = packs(max_bytes=4_096)
    with pytest.raises(HeadraceError, match=r"more than events.max_bytes = 4,096"):
        list(waiting.add(keys, values)) + list(waiting.rest())
