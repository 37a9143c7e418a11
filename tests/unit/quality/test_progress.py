"""Progressive evaluation against scikit-learn, and its sums against each other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from worker.quality.progress import EVENTS, LABEL, LOSS, PREDICTION, SQUARED_ERROR, WEIGHT, Progress


def progress_of(predictions, labels, weights=None, *, logistic: bool = True) -> Progress:
    progress = Progress(logistic=logistic)
    weights = np.ones(len(predictions)) if weights is None else weights
    progress.add(np.asarray(predictions, np.float32), np.asarray(labels, np.float32), np.asarray(weights, np.float32))
    return progress


def planted(n: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predictions = (1 / (1 + np.exp(-rng.normal(-0.5, spread, n)))).astype(np.float32)
    labels = (rng.random(n) < predictions).astype(np.float32)
    return predictions, labels, rng.choice([0.5, 1.0, 2.0, 4.0], n).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [0.01, 0.5, 2.0])
def test_log_loss_and_auc_are_those_of_scikit_learn(seed, spread):
    predictions, labels, weights = planted(5_000, seed, spread)
    for given_weights in (None, weights):
        progress = progress_of(predictions, labels, given_weights)
        double = predictions.astype(np.float64)
        assert progress.loss == pytest.approx(log_loss(labels, double, sample_weight=given_weights), rel=1e-12)
        exact = roc_auc_score(labels, predictions, sample_weight=given_weights)
        assert abs(progress.auc - exact) <= progress.auc_error + 1e-12
    assert progress.events == 5_000


def test_the_bound_of_the_auc_is_small_where_predictions_spread():
    assert progress_of(*planted(5_000, 0)).auc_error < 0.002


def test_the_bound_of_the_auc_holds_where_all_fall_into_one_bin():
    """Perfectly ordered, yet too close together to tell: the bound says so."""
    predictions = np.linspace(0.5, 0.501, 100, dtype=np.float32)
    labels = np.arange(100) >= 50
    progress = progress_of(predictions, labels)
    assert progress.auc == 0.5
    assert progress.auc_error == 0.5
    assert roc_auc_score(labels, predictions) == 1


def test_probabilities_of_zero_and_one_cost_much_but_not_all():
    progress = progress_of([0.0, 1.0], [1, 0])
    assert progress.loss == pytest.approx(-math.log(1e-7), rel=1e-6)
    assert progress.auc == 0
    assert progress_of([0.0, 1.0], [0, 1]).loss == pytest.approx(1e-7, rel=1e-6)


def test_soft_labels_count_on_both_sides():
    progress = progress_of([0.25], [0.25])
    assert progress.loss == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert progress.histogram.sum(axis=1).tolist() == [0.75, 0.25]


def test_the_best_constant_is_the_base_rate():
    _, labels, weights = planted(1_000, 1)
    rate = np.average(labels, weights=weights)
    progress = progress_of(np.full(1_000, rate, np.float32), labels, weights)
    assert progress.constant_loss == pytest.approx(progress.loss, rel=1e-6)


def test_the_sums_are_what_they_are_called():
    sums = progress_of([0.25, 0.5], [1.0, 0.0], [2.0, 4.0]).sums
    assert sums[EVENTS] == 2
    assert sums[WEIGHT] == 6
    assert sums[LOSS] == pytest.approx(2 * math.log(4) + 4 * math.log(2))
    assert sums[LABEL] == 2
    assert sums[PREDICTION] == 2 * 0.25 + 4 * 0.5
    assert sums[SQUARED_ERROR] == 2 * 0.75**2 + 4 * 0.5**2


def test_squared_loss_has_no_curve():
    progress = progress_of([1.0, 4.0], [2.0, 2.0], logistic=False)
    assert progress.loss == (0.5 + 2) / 2
    assert math.isnan(progress.auc)
    assert not progress.histogram.any()


def test_nothing_learned_is_not_a_number():
    progress = Progress(logistic=True)
    assert progress.events == 0
    assert all(math.isnan(value) for value in (progress.loss, progress.constant_loss, progress.auc, progress.auc_error))
    assert math.isnan(progress_of([0.5, 0.5], [1, 1]).auc), "of one class there is no pair"


def test_shards_add_up():
    """The histograms to the bit where the weights are powers of two; the sums up to the order of addition."""
    predictions, labels, weights = planted(2_000, 2)
    one, other = (
        progress_of(predictions[part], labels[part], weights[part]) for part in (slice(900), slice(900, None))
    )
    total, whole = one + other, progress_of(predictions, labels, weights)
    assert total.histogram.tolist() == whole.histogram.tolist()
    np.testing.assert_allclose(total.sums, whole.sums, rtol=1e-12)
    assert total.auc == whole.auc
    assert one.events == 900, "adding changes neither"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10))
def test_batches_do_not_change_a_bit(sizes):
    predictions, labels, weights = planted(sum(sizes), len(sizes))
    cut, start = Progress(logistic=True), 0
    for size in sizes:
        part = slice(start, start + size)
        cut.add(predictions[part], labels[part], weights[part])
        start += size
    whole = progress_of(predictions, labels, weights)
    assert cut.sums.tobytes() == whole.sums.tobytes()
    assert cut.histogram.tobytes() == whole.histogram.tobytes()


def test_the_bits_of_the_sums():
    """They are part of the digest that is published: the same on every machine, and from release to release."""
    predictions = np.linspace(0.001, 0.999, 200, dtype=np.float32)
    progress = progress_of(predictions, np.arange(200) % 3 == 0, np.linspace(0.5, 2, 200))
    assert [value.hex() for value in progress.sums.tolist()] == [
        "0x1.9000000000000p+7",
        "0x1.f3fffffc00000p+7",
        "0x1.17d01bed44dcbp+8",
        "0x1.4dfd6d5800000p+6",
        "0x1.2c66c9a19eacep+7",
        "0x1.701c654903bc2p+6",
    ]
