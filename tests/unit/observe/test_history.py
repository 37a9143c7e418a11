import math

import pytest

from worker.observe.curve import EVENTS, POINTS, Sums
from worker.observe.history import MARKS, Commit, History


@pytest.fixture
def now():
    return [1_000.0]


@pytest.fixture
def history(now):
    return History(lambda: now[0])


def commit(shard: int, version: int, events: int, *, more: int = 100, **changes: object) -> Commit:
    sums = Sums(events=more, weight=2 * more, loss=more * 1.2, label=more * 0.5, score=more * 0.25)
    told = {"created": 1_000.0, "more": sums, "baseline": 0.7, "rows": 5, "bytes": 80, "offset_lag": 3} | changes
    return Commit(shard=shard, version=version, events=events, **told)


def test_a_shard_is_as_its_last_commit_says(history, now):
    history.began(1, 4, 1_000)
    now[0] += 2
    history.committed(commit(1, 5, 1_100, created=1_001.5, event_time_lag=0.5))
    now[0] += 2
    history.committed(commit(1, 6, 1_200, more=0, created=1_003.5))  # it only folded: nothing is younger for that
    (shard,) = history.shards()
    assert (shard.shard, shard.version, shard.created, shard.events) == (1, 6, 1_003.5, 1_200)
    assert (shard.rows, shard.bytes, shard.offset_lag, shard.event_time_lag) == (5, 80, 3, 0.5)
    assert (shard.loss, shard.baseline, shard.calibration) == pytest.approx((0.6, 0.7, 0.5))
    assert shard.events_per_second == 50


def test_what_is_not_known_is_not_made_up(history):
    history.began(0, 0, 0)
    (shard,) = history.shards()
    assert (shard.created, shard.offset_lag, shard.events_per_second) == (None, None, 0)
    assert all(math.isnan(value) for value in (shard.loss, shard.baseline, shard.calibration))


def test_events_per_second_are_those_of_the_last_commits_and_fall_to_zero(history, now):
    history.began(0, 0, 0)
    for number in range(1, 101):
        now[0] += 1
        history.committed(commit(0, number, number * (10 if number <= 50 else 20)))
    assert history.shards()[0].events_per_second == 20
    now[0] += 14
    assert history.shards()[0].events_per_second == 20
    now[0] += 2
    assert history.shards()[0].events_per_second == 0


def test_rare_commits_are_not_taken_for_silence(history, now):
    history.began(0, 0, 0)
    for number in range(1, 4):
        now[0] += 60
        history.committed(commit(0, number, number * 600))
    now[0] += 100
    assert history.shards()[0].events_per_second == 10
    now[0] += 100
    assert history.shards()[0].events_per_second == 0


def test_a_shard_that_goes_back_does_not_run_backwards(history, now):
    history.began(0, 0, 1_000)
    now[0] += 1
    history.committed(commit(0, 1, 2_000))
    history.began(0, 1, 500)
    now[0] += 1
    history.committed(commit(0, 2, 600))
    assert history.shards()[0].events_per_second == 100


def test_all_shards_add_up_and_what_is_given_up_is_forgotten(history):
    history.committed(commit(0, 1, 100))
    history.committed(commit(1, 1, 300, more=300))
    assert history.curve()[:, EVENTS].tolist() == [400]
    assert history.whole().loss == pytest.approx(0.6)
    history.forget(0)
    history.forget(99)
    assert [shard.shard for shard in history.shards()] == [1]
    assert len(history.curve(0)) == 0


def test_memory_is_bounded(history, now):
    for number in range(4 * POINTS):
        now[0] += 1
        history.committed(commit(0, number, number))
        history.alarmed(0, "residual")
        history.rejected(0, f"reason {number}", 1, number, None)
    assert len(history.curve()) <= POINTS
    assert len(history.curve(0)) <= POINTS
    assert len(history.marks()) == MARKS
    assert len(history.rejections()) == 64
    assert history.marks()[-1].time == now[0]


def test_alarms_are_counted_by_shard(history, now):
    history.began(2, 0, 0)
    history.alarmed(2, "residual")
    history.alarmed(5, "scores")  # of a shard that has just gone
    assert [(mark.time, mark.shard, mark.detector) for mark in history.marks()] == [
        (now[0], 2, "residual"),
        (now[0], 5, "scores"),
    ]
    assert history.shards()[0].alarms == 1


def test_rejections_add_up_and_the_last_one_met_stands_first(history):
    history.rejected(0, "empty", 2, 10, 5.0)
    history.rejected(0, "not_json", 1, 11, None)
    history.rejected(1, "empty", 3, 7, 6.0)
    assert [(one.reason, one.count, one.shard, one.offset, one.time) for one in history.rejections()] == [
        ("empty", 5, 1, 7, 6.0),
        ("not_json", 1, 0, 11, None),
    ]


def test_an_abort_is_told_until_a_transaction_goes_through(history, now):
    assert history.last_abort() is None
    history.aborted()
    assert history.last_abort() == now[0]
    history.committed(commit(0, 1, 1))
    assert history.last_abort() is None


def test_a_follower_tells_what_it_serves(history):
    history.served(0, 7, 2.5, None)
    history.served(1, 0, float("nan"), "damaged")
    assert [(shard.version, shard.created, shard.damage) for shard in history.shards()] == [
        (7, 997.5, None),
        (0, None, "damaged"),
    ]
