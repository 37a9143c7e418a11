import math

import numpy as np
import pytest

from worker.errors import ConfigurationError
from worker.simulate.planted import BLOCK, DEVICES, HOURS, Planted, PlantedBatch, Tally, entropy

SMALL = {"users": 500, "items": 200}
Z = 4.5  # a normal variable lies further out once in 150,000; with a fixed seed the outcome is fixed too


def whole(planted: Planted, size: int = BLOCK) -> PlantedBatch:
    return PlantedBatch.joined(list(planted.batches(size)))


def assert_same(one: PlantedBatch, other: PlantedBatch) -> None:
    assert one.first == other.first
    for name in PlantedBatch.columns():
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("size", [1, 7, 999, BLOCK - 1, BLOCK, BLOCK + 1, 22_222, 23_456, 10**9])
def test_the_stream_is_the_same_whatever_the_batch_size(size: int) -> None:
    planted = Planted(events=23_456, **SMALL)
    batches = list(planted.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert sum(len(batch) for batch in batches) == planted.events
    assert [batch.first for batch in batches] == list(range(0, planted.events, size))
    assert_same(PlantedBatch.joined(batches), whole(planted))


def test_a_longer_stream_begins_with_the_shorter_one() -> None:
    short = whole(Planted(events=12_345, drift_at=None, **SMALL))
    long = whole(Planted(events=30_000, drift_at=None, **SMALL))
    assert_same(long.part(0, 12_345), short)


def test_another_seed_is_another_stream() -> None:
    one, other = (whole(Planted(events=1_000, seed=seed, **SMALL)) for seed in (0, 1))
    for name in ("user", "item", "hour", "device", "slot", "labels"):
        assert (getattr(one, name) != getattr(other, name)).any(), name


def test_the_drift_moves_nothing_but_the_appeal_of_some_items_from_its_event_on() -> None:
    # Given a stream and the same one with a drift
    steady = whole(Planted(events=40_000, drift_at=None, **SMALL))
    drifting = Planted(events=40_000, drift_at=0.6, **SMALL)
    drifted = whole(drifting)
    assert drifting.drift_event == 24_000
    # Then who meets what, and when, is the same, and before the drift all is
    for name in ("user", "item", "hour", "device", "slot", "times"):
        np.testing.assert_array_equal(getattr(steady, name), getattr(drifted, name))
    assert_same(steady.part(0, 24_000), drifted.part(0, 24_000))
    # And after it the truth differs for the events of 30 % of the items, and for no other
    moved = np.unique(drifted.item[steady.truth != drifted.truth])
    law = drifting.law
    assert set(moved) <= set(np.flatnonzero(law.item_bias != law.item_bias_after))
    assert (law.item_bias != law.item_bias_after).sum() == 60


@pytest.mark.parametrize(("drift_at", "event"), [(None, None), (0.0, 0), (1.0, None), (0.5, 50)])
def test_where_the_drift_lies(drift_at: float | None, event: int | None) -> None:
    assert Planted(events=100, drift_at=drift_at, **SMALL).drift_event == event


def test_the_irreducible_loss_is_what_the_truth_scores() -> None:
    planted = Planted(events=60_000, **SMALL)
    batch = whole(planted)
    truth = planted.truth()
    assert math.isclose(truth.irreducible_log_loss, entropy(batch.truth).mean(), rel_tol=1e-11)
    # The loss of the truth is the entropy plus (p - y) logit(p), whose variance is p (1 - p) logit(p)^2.
    p, y = batch.truth, batch.labels
    loss = -(y * np.log(p) + (1 - y) * np.log1p(-p))
    deviation = np.sqrt((p * (1 - p) * np.log(p / (1 - p)) ** 2).sum()) / len(p)
    assert abs(loss.mean() - truth.irreducible_log_loss) < Z * deviation
    # And the labels are drawn with it, not by it alone: the positives are as many as it says.
    assert abs(y.sum() - p.sum()) < Z * np.sqrt((p * (1 - p)).sum())
    assert truth.positives == y.sum()
    share = y.mean()
    constant = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert math.isclose(truth.constant_log_loss, constant, rel_tol=1e-11)
    assert truth.irreducible_log_loss < truth.constant_log_loss


def test_users_and_items_follow_zipf_and_contexts_are_even() -> None:
    planted = Planted(events=60_000, contexts=60, **SMALL)
    batch = whole(planted)
    ranks = np.arange(1, 201)
    expected = {
        "user": (np.arange(1, 501) ** -0.8)[:20] / (np.arange(1, 501) ** -0.8).sum(),
        "item": (1 / ranks)[:20] / (1 / ranks).sum(),
        "hour": np.full(HOURS, 1 / HOURS),
        "device": np.full(DEVICES, 1 / DEVICES),
        "slot": np.full(60, 1 / 60),
    }
    for name, shares in expected.items():
        counts = np.bincount(getattr(batch, name))[: len(shares)]
        deviation = np.sqrt(planted.events * shares * (1 - shares))
        assert (np.abs(counts - planted.events * shares) < Z * deviation).all(), name
        assert getattr(batch, name).min() == 0


def test_synthetic_times_rise_at_their_rate() -> None:
    planted = Planted(events=25_000, start_time=1_000_000, events_per_second=250, **SMALL)
    np.testing.assert_array_equal(whole(planted).times, 1_000_000 + 4 * np.arange(25_000))


def test_the_tally_sums_up_what_was_sent_so_far() -> None:
    # Given a stream of which the first half is sent, with times of its own
    planted = Planted(events=4_000, drift_at=0.25, **SMALL)
    tally = Tally(planted)
    for batch in planted.batches(500):
        if batch.first < 2_000:
            tally.add(batch, np.full(len(batch), 7_000_000 + batch.first))
    truth = tally.truth()
    # Then only that half counts, and the drift's time is the one that was sent
    half = whole(planted).part(0, 2_000)
    assert truth.events == 2_000
    assert truth.positives == half.labels.sum()
    assert math.isclose(truth.irreducible_log_loss, entropy(half.truth).mean(), rel_tol=1e-11)
    assert truth.drift_time == 7_001_000
    assert Planted(**truth.planted) == planted


def test_entropy_of_certainty_is_zero() -> None:
    assert entropy(np.array([0.0, 1.0])).tolist() == [0.0, 0.0]
    assert entropy(np.array([0.5]))[0] == math.log(2)


@pytest.mark.parametrize(
    "settings",
    [{"events": 0}, {"users": 0}, {"drift_at": 1.5}, {"drift_share": -0.1}, {"seed": -1}, {"events_per_second": 0}],
)
def test_settings_that_make_no_stream_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Planted(**settings)
