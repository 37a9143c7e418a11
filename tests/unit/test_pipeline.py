"""decode -> features -> predict -> learn, without a broker."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.lineage import NOW, events, learning_of
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState

MILLION = 1_000_000


def learn(values: list[bytes | None], batch: int) -> ShardState:
    learning = learning_of()
    state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
    for start in range(0, len(values), batch):
        part = values[start : start + batch]
        pipeline.learn(state, part, np.full(len(part), NOW), start + len(part))
    return state


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_the_size_of_a_poll_does_not_change_a_bit(batch):
    good = events(2_000, 0)
    values = [*good[:500], b"no json", None, b"", *good[500:], b'{"user": ["wrong"]}']
    state, whole = learn(values, batch), learn(values, len(values))
    assert state.digest() == whole.digest()
    assert state.progress.events == 2_000
    assert dict(state.rejected) == {"not_json": 1, "tombstone": 1, "empty": 1, "wrong_type": 1}
    assert state.next_offset == len(values)


def test_bad_records_leave_no_trace_in_the_model():
    good = events(500, 0)
    spoilt = [record for event in good for record in (event, b"no json", event[:-1])]
    state, clean = learn(spoilt, 64), learn(list(good), 64)
    assert state.model.digest() == clean.model.digest()
    assert state.progress.sums.tobytes() == clean.progress.sums.tobytes()
    assert state.watermark == clean.watermark


def test_a_shard_that_was_sent_only_bad_records_moves_on_all_the_same():
    state = learn([b"no json"] * 3, 2)
    assert (state.next_offset, state.progress.events, state.watermark, len(state.model.table)) == (3, 0, None, 0)


def million_users() -> Iterator[list[bytes | None]]:
    for start in range(0, MILLION, 50_000):
        yield [b'{"user":%d,"item":"i","label":%d,"time":%d}' % (n, n & 1, NOW) for n in range(start, start + 50_000)]


def test_a_million_values_of_one_field_are_a_million_rows_quickly_and_no_more_memory_than_that():
    learning = learning_of()
    state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
    spent = 0.0
    for number, values in enumerate(million_users()):
        began = time.perf_counter()
        pipeline.learn(state, values, np.full(len(values), NOW), (number + 1) * len(values))
        state.digest()
        spent += time.perf_counter() - began
    assert len(state.model.table) == MILLION + 2, "the bias and the one item beside them"
    assert state.progress.events == MILLION
    # A row of 4 factors is 28 bytes of parameters, 16 of key and time; index and room to grow are some 20 more.
    assert state.model.table.nbytes <= 80 * MILLION
    # No collision: each user's row was learned from its one event only.
    table = state.model.table
    rows = table.part(0, len(table))
    users = np.sort(rows.parameters[:, 1])[:-2]
    assert users.max() < 2.0 + 0.25 + 1e-6, "a precision grows by p (1 - p) an event, a quarter at most"
    # It takes some 4 s on one slow core. Thirty times as much would mean that something grows with the square.
    assert spent < 120
