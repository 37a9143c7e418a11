"""Detectors, windows and slices, by what is true of streams that are drawn, and by scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from worker.model.batch import SHARED, Batch, Entries
from worker.quality import layout
from worker.quality.progress import Progress
from worker.quality.slices import LABEL, LOSS, SCORE, WEIGHT, Slices
from worker.quality.watch import Watch, Watching

WINDOW = 1_000
RESIDUAL, CALIBRATION, BASELINE, SCORES, LABELS = range(5)


def watch_of(*, every: int = 1_000_000, window: int = WINDOW, logistic: bool = True, **more) -> Watch:
    return Watch.fresh(Watching(logistic=logistic, window_events=window, false_alarm_every_events=every, **more))


def observe(watch: Watch, predictions, labels, *, variances=None, weights=None, keys=None, cuts=()) -> Progress:
    n, progress = len(labels), Progress(logistic=watch.watching.logistic)
    columns = [np.asarray(it, np.float32) for it in (predictions, labels)]
    variances = np.zeros(n, np.float32) if variances is None else np.asarray(variances, np.float32)
    weights = np.ones(n, np.float32) if weights is None else np.asarray(weights, np.float32)
    for start, stop in zip((0, *cuts), (*cuts, n), strict=True):
        some = slice(start, stop)
        m = stop - start
        entries = Entries(
            fields=1, keys=np.zeros(m, np.uint64) if keys is None else keys[some], values=np.ones(m, np.float32),
            starts=np.arange(m + 1),
        )  # fmt: skip
        batch = Batch(entries=entries, labels=columns[1][some], weights=weights[some], times=np.arange(start, stop))
        judged = progress.add(columns[0][some], columns[1][some], weights[some])
        watch.observe(batch, columns[0][some], variances[some], weights[some], judged)
    return progress


def drawn(n: int, seed: int, *, base: float = -1.5, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, their probabilities, and labels that are drawn with them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(base, spread, n)
    p = 1 / (1 + np.exp(-logits))
    return logits, p, (rng.random(n) < p).astype(float)


def alarms(watch: Watch) -> list[int]:
    return [watch.alarm(detector).alarms for detector in range(5)]


def test_false_alarms_are_as_frequent_as_configured():
    # A = 3 * 20,000 of each of three tests, and 4,000,000 events: 67 each in the mean
    watch = watch_of(every=20_000)
    for seed in range(8):
        _, p, y = drawn(500_000, seed)
        observe(watch, p, y)
    found = alarms(watch)
    assert 100 < sum(found[:3]) < 400  # within a factor 2 of 200: four standard deviations and more
    assert min(found[:3]) > 20
    assert found[3:] == [0, 0]


def labels_of(logits: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(float)


@pytest.mark.parametrize(
    ("detector", "truth"),
    [
        (RESIDUAL, lambda f: -1.5 + 0.3 * (f + 1.5)),  # scores say too much
        (RESIDUAL, lambda f: -3.0 - f),  # and are turned upside down
        (CALIBRATION, lambda f: f + 0.7),
        (CALIBRATION, lambda f: f - 0.7),
        (BASELINE, lambda f: 0 * f),
    ],
)
def test_each_detector_finds_what_it_is_for(detector, truth):
    watch, (logits, p, y) = watch_of(window=5_000), drawn(60_000, 1)
    observe(watch, p, y)
    assert alarms(watch) == [0] * 5
    observe(watch, p[:4_900], labels_of(truth(logits[:4_900]), 2))  # less than a window: then it may alarm again
    alarm = watch.alarm(detector)
    assert alarm.alarms == 1
    assert 60_000 < alarm.event <= 64_900
    assert alarm.statistic >= watch.watching.threshold(detector) == math.log1p(3_000_000)
    assert watch.statistic(detector) >= watch.watching.threshold(detector)


def test_scores_and_labels_that_are_distributed_otherwise_alarm_once():
    watch, (_, p, y) = watch_of(every=10**12), drawn(6_000, 1)
    observe(watch, p, y)
    assert alarms(watch) == [0] * 5
    _, p, y = drawn(6_000, 2, base=0.5)
    observe(watch, p, y)
    found = alarms(watch)
    assert found[SCORES:] == [1, 1]
    assert watch.statistic(SCORES) < watch.watching.threshold(SCORES) == 0.1
    assert watch.alarm(SCORES).event == 7_000


def test_what_is_hardly_known_is_not_taken_for_sure():
    """Scores whose logits lack noise of a known variance are too sure; that is no drift."""
    rng, n = np.random.default_rng(5), 60_000
    f, noise = rng.normal(0, 1.5, n), rng.normal(0, 1.5, n)
    late = np.arange(n) >= n // 2  # only the second half is unsure, so that no slow correction could help
    y = labels_of(f + noise * late, 6)
    p = 1 / (1 + np.exp(-f))
    unaware, aware = watch_of(), watch_of()
    observe(unaware, p, y)
    observe(aware, p, y, variances=2.25 * late)
    assert unaware.alarm(RESIDUAL).alarms >= 1
    assert aware.alarm(RESIDUAL).alarms == 0


def test_negatives_that_are_left_out_are_no_drift():
    _, p, y = drawn(60_000, 3)
    kept = (y == 1) | (np.random.default_rng(1).random(len(y)) < 0.2)
    aware, unaware = watch_of(kept=0.2), watch_of()
    observe(aware, p[kept], y[kept])
    observe(unaware, p[:5_000], y[:5_000])
    observe(unaware, p[5_000:][kept[5_000:]], y[5_000:][kept[5_000:]])
    assert alarms(aware)[:2] == [0, 0]
    assert unaware.alarm(CALIBRATION).alarms >= 1


def test_squared_loss_has_its_own_baseline():
    rng = np.random.default_rng(0)
    watch = watch_of(logistic=False)
    assert watch.watching.detectors == (BASELINE, SCORES, LABELS)
    y = rng.normal(3, 2, 20_000)
    observe(watch, y + rng.normal(0, 1, 20_000), y)
    assert alarms(watch) == [0] * 5
    assert watch.last_window()["loss"] == pytest.approx(0.5, abs=0.1)
    assert math.isnan(watch.last_window()["auc"])
    observe(watch, y[:900] + rng.normal(0, 2, 900), y[:900])
    assert watch.alarm(BASELINE).alarms == 1
    watch = watch_of(logistic=False)
    observe(watch, y[:6_000], y[:6_000])
    observe(watch, y[:6_000] + 5, y[:6_000] + 5)
    assert watch.alarm(LABELS).alarms == watch.alarm(SCORES).alarms == 1


@pytest.mark.parametrize("logistic", [True, False])
@given(cuts=st.sets(st.integers(0, 4_000), max_size=12), data=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_how_events_are_cut_into_batches_changes_no_bit(logistic, cuts, data):
    _, p, y = drawn(4_000, data)
    weights = np.random.default_rng(data).choice([0.0, 0.5, 2.0], 4_000)
    slices = Slices.of({"field": [("one", np.uint64(1))]}, {"field": 0})
    keys = np.random.default_rng(data).integers(0, 3, 4_000).astype(np.uint64)
    whole, parts = (watch_of(every=1_000, logistic=logistic, slices=slices) for _ in range(2))
    observe(whole, p, y, weights=weights, keys=keys)
    observe(parts, p, y, weights=weights, keys=keys, cuts=sorted(cuts))
    assert whole.words.tobytes() == parts.words.tobytes()
    assert whole.digest() == parts.digest()
    assert whole.words[layout.WINDOWS] == np.count_nonzero(weights) // WINDOW


def test_events_of_weight_zero_are_passed_over():
    _, p, y = drawn(5_000, 0)
    weights = np.random.default_rng(0).choice([0.0, 1.0], 5_000)
    one, other = watch_of(), watch_of()
    observe(one, p, y, weights=weights)
    there = weights > 0
    observe(other, p[there], y[there])
    # times differ, and nothing has alarmed
    assert one.words.tobytes() == other.words.tobytes()


def test_the_last_window_is_that_of_scikit_learn():
    watch, (_, p, y) = watch_of(), drawn(3_500, 7)
    weights = np.random.default_rng(7).choice([0.5, 1.0, 2.0], 3_500)
    observe(watch, p, y, weights=weights)
    p, y, w = (it[2_000:3_000] for it in (p.astype(np.float32).astype(float), y, weights))
    rate, last = np.average(y, weights=w), watch.last_window()
    loss = log_loss(y, p, sample_weight=w)
    assert last["loss"] == pytest.approx(loss, rel=1e-9)
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    assert last["normalized_entropy"] == pytest.approx(loss / entropy, rel=1e-9)
    assert last["calibration"] == pytest.approx((p @ w) / (y @ w), rel=1e-9)
    assert abs(last["auc"] - roc_auc_score(y, p, sample_weight=w)) <= last["auc_error"] < 0.02
    bins = np.floor((np.log(p / (1 - p)) + 8) * 2)
    ece = sum(abs(((p - y) * w)[bins == b].sum()) for b in np.unique(bins)) / w.sum()
    assert last["calibration_error"] == pytest.approx(ece, rel=1e-6)


def test_there_is_nothing_to_tell_before_the_first_window():
    assert all(map(math.isnan, watch_of().last_window().values()))


def test_labels_that_are_all_the_same_have_no_entropy_to_compare_with():
    watch = watch_of()
    observe(watch, np.full(WINDOW, 0.2), np.zeros(WINDOW))
    last = watch.last_window()
    assert last["loss"] == pytest.approx(-math.log(0.8))
    assert all(math.isnan(last[name]) for name in ("normalized_entropy", "calibration", "auc"))


def test_nothing_is_tested_where_no_false_alarm_is_allowed():
    watch, (logits, p, _) = watch_of(every=0), drawn(20_000, 0)
    observe(watch, p, labels_of(-logits, 1))
    assert watch.watching.detectors == ()
    assert alarms(watch) == [0] * 5
    assert watch.last_window()["loss"] > 0


def test_the_worst_of_predictions_leave_every_number_finite():
    rng = np.random.default_rng(0)
    watch = watch_of(every=10**15)
    observe(watch, rng.choice([0.0, 1.0], 20_000), rng.choice([0.0, 0.3, 1.0], 20_000))
    assert np.isfinite(watch.words).all()


def test_slices_add_up_what_their_values_had():
    keys = np.array([7, 8, 9, 7], np.uint64)
    slices = Slices.of({"device": [("ios", np.uint64(7)), ("web", np.uint64(9) | SHARED)]}, {"device": 0})
    watch = watch_of(slices=slices)
    progress = observe(watch, [0.5, 0.25, 0.5, 0.75], [1, 0, 0, 1], weights=[1, 1, 2, 0.5], keys=keys)
    assert slices.names == (("device", "ios"), ("device", "web"), ("device", "other"))
    assert watch.slices[:, WEIGHT].tolist() == [1.5, 2, 1]
    assert watch.slices[:, LABEL].tolist() == [1.5, 0, 0]
    assert watch.slices[:, SCORE].tolist() == [0.875, 1, 0.25]
    assert watch.slices[:, LOSS].sum() == pytest.approx(progress.sums[2])
