"""What a poll gave is parted by shard, and what is no message is judged."""

import numpy as np
import pytest
from confluent_kafka import KafkaError, Message

from worker.errors import ConfigurationError, FencedError, IncompatibleDataError
from worker.stream.polling import after, by_shard, columns, source


def message(shard: int, offset: int, error: KafkaError | None = None) -> Message:
    return Message(topic="t", partition=shard, offset=offset, value=b"%d" % offset, timestamp=(1, 7), error=error)


def test_messages_are_parted_by_shard_in_the_order_of_offsets():
    # The client gives what it fetched of a partition in a row, and may come back to one
    polled = [message(0, 5), message(0, 6), message(2, 1), message(1, 8), message(0, 7), message(2, 2)]
    parted = by_shard(polled)
    assert {shard: [it.offset() for it in some] for shard, some in parted.items()} == {0: [5, 6, 7], 2: [1, 2], 1: [8]}
    assert by_shard([]) == {}


def test_a_passing_error_is_told_and_is_no_message(caplog):
    passing = message(1, 2, KafkaError(KafkaError._TRANSPORT, "gone for a moment"))
    parted = by_shard([message(1, 1), passing, message(1, 3)])
    assert [it.offset() for it in parted[1]] == [1, 3]
    assert "gone for a moment" in caplog.text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KafkaError(KafkaError._FATAL, "fenced", fatal=True), FencedError),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"), ConfigurationError),
        (KafkaError(KafkaError._AUTO_OFFSET_RESET, "gone"), IncompatibleDataError),
    ],
)
def test_an_error_that_going_on_does_not_mend_ends_the_worker(error, told):
    with pytest.raises(told):
        by_shard([message(0, 1), message(0, 2, error)])


def test_what_was_taken_already_is_left_out():
    polled = [message(0, 5), message(0, 6), message(0, 8)]
    assert [it.offset() for it in after(polled, 6)] == [6, 8]
    assert after(polled, 5) == polled
    assert after([], 5) == []


def test_messages_become_columns():
    values, times = columns([message(3, 5), message(3, 9)])
    assert (values, times.tolist(), times.dtype) == ([b"5", b"9"], [7, 7], np.int64)
    where = source([message(3, 5), message(3, 9)])
    assert (where.shard, where.offsets.tolist()) == (3, [5, 9])
