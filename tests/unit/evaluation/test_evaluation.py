"""What a run measures while it learns, against the sums of its shards and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from tests.support.lineage import NOW, events
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.windows import MOST
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.quality import layout, slices
from worker.simulate.encoding import encode
from worker.simulate.planted import Planted
from worker.snapshot.state import ShardState

SLICED = {
    "features": {"user": {}, "item": {}},
    "model": {"factors": 4, "merge": False},
    "quality": {"slices": {"item": ["i1", "i2"]}, "window": 1_000},
}


def learn(learning: Learning, values: list[bytes], evaluation: Evaluation | None, *, shard=0, batch=1_000, state=None):
    state = state or ShardState.fresh(shard, learning)
    pipeline = Pipeline(learning, None if evaluation is None else evaluation.observe)
    for start in range(0, len(values), batch):
        some = values[start : start + batch]
        pipeline.learn(state, some, np.full(len(some), NOW), state.next_offset + len(some))
    return state


@pytest.mark.parametrize("change", [{}, {"loss": "squared"}], ids=["logistic", "squared"])
def test_what_is_measured_of_a_shard_is_what_the_shard_knows(change):
    learning = Learning.model_validate(SLICED | {"model": SLICED["model"] | change})
    evaluation = Evaluation.of(learning)
    state = learn(learning, events(5_000, 0), evaluation)
    assert evaluation.progress.sums.tobytes() == state.progress.sums.tobytes()
    assert evaluation.progress.histogram.tobytes() == state.progress.histogram.tobytes()
    assert evaluation.slice_sums.tobytes() == state.watch.slices.tobytes()
    assert evaluation.totals.loss == state.progress.loss
    of_item = {(one.field, one.value): one for one in evaluation.slices}
    assert set(of_item) == {("item", "i1"), ("item", "i2"), ("item", "other")}
    loss, weight = state.watch.slices[0][[slices.LOSS, slices.WEIGHT]]
    assert of_item["item", "i1"].loss == loss / weight
    assert sum(one.weight for one in of_item.values()) == 5_000


def test_who_looks_changes_nothing():
    learning = Learning.model_validate(SLICED)
    looked_at = learn(learning, events(3_000, 1), Evaluation.of(learning))
    assert looked_at.digest() == learn(learning, events(3_000, 1), None).digest()


def test_values_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    predictions = rng.uniform(0.02, 0.98, 4_000).astype(np.float32)
    labels = (rng.random(4_000) < predictions).astype(np.float32)
    weights = rng.choice([0.5, 1.0, 2.0], 4_000).astype(np.float32)
    evaluation = Evaluation(logistic=True)
    evaluation.add(NOW + np.arange(4_000) * 1_000, predictions, labels, weights)
    told, double = evaluation.totals, predictions.astype(np.float64)
    rate = np.average(labels.astype(np.float64), weights=weights)
    constant = log_loss(labels, np.full(4_000, rate), sample_weight=weights)
    assert told.loss == pytest.approx(log_loss(labels, double, sample_weight=weights), rel=1e-12)
    assert told.normalized_entropy == pytest.approx(told.loss / constant, rel=1e-9)
    assert told.calibration == pytest.approx((double * weights).sum() / (labels * weights).sum(), rel=1e-9)
    assert abs(told.auc - roc_auc_score(labels, double, sample_weight=weights)) <= told.auc_error
    assert told.auc_error < 0.01
    # and those of every window are of its events
    for window in evaluation.windows():
        inside = slice((window.begin - NOW) // 1_000, (window.end - NOW) // 1_000)
        exact = log_loss(labels[inside], double[inside], sample_weight=weights[inside], labels=[0, 1])
        assert window.loss == pytest.approx(exact, rel=1e-9)
        assert window.events == len(labels[inside])


def test_calibration_error_and_bins_by_hand():
    evaluation = Evaluation(logistic=True)
    scores, labels = [0.1, 0.1, 0.1, 0.1, 0.9, 0.9], [0, 0, 0, 1, 1, 0]
    evaluation.add(np.arange(6), np.array(scores, np.float32), np.array(labels, np.float32))
    low, high = evaluation.reliability
    assert (low.weight, high.weight) == (4, 2)
    assert low.low < 0.1 < low.high < high.low < 0.9 < high.high
    assert (low.label, high.label) == (0.25, 0.5)
    assert (low.score, high.score) == (pytest.approx(0.1), pytest.approx(0.9))
    assert evaluation.totals.calibration_error == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)


def test_what_has_no_value_is_none():
    nothing = Evaluation(logistic=True).totals
    assert (nothing.events, nothing.loss, nothing.auc, nothing.calibration) == (0, None, None, None)
    zeros = Evaluation(logistic=True)
    zeros.add(np.arange(3), np.full(3, 0.25, np.float32), np.zeros(3, np.float32))
    told = zeros.totals
    assert (told.auc, told.calibration, told.normalized_entropy) == (None, None, None)
    assert told.loss == pytest.approx(-np.log(0.75))
    squared = Evaluation(logistic=False)
    squared.add(np.arange(2), np.array([1, 4], np.float32), np.array([2, 2], np.float32))
    assert (squared.totals.loss, squared.totals.squared_error, squared.totals.auc) == (1.25, 2.5, None)
    assert squared.reliability == []


def test_few_events_are_not_told_in_many_windows():
    evaluation = Evaluation(logistic=True)
    evaluation.add(NOW + np.arange(100) * 1_000, np.full(100, 0.5, np.float32), np.arange(100) % 2 == 0)
    assert len(evaluation.windows(least_events=1)) == 100
    told = evaluation.windows()
    assert 1 <= len(told) <= 2
    assert sum(window.events for window in told) == 100


def test_shards_that_were_measured_apart_add_up():
    learning = Learning.model_validate(SLICED)
    parts = {shard: events(2_000, shard, start=NOW + shard * 500_000) for shard in range(3)}
    apart = []
    for shard, values in parts.items():
        evaluation = Evaluation.of(learning)
        learn(learning, values, evaluation, shard=shard)
        apart.append(evaluation)
    together = Evaluation.of(learning)
    for shard, values in parts.items():
        learn(learning, values, together, shard=shard)
    merged = Evaluation.of(learning)
    for evaluation in apart:
        merged.merge(evaluation)
    assert merged.progress.histogram.tobytes() == together.progress.histogram.tobytes()
    np.testing.assert_allclose(merged.progress.sums, together.progress.sums, rtol=1e-12)
    np.testing.assert_allclose(merged.slice_sums, together.slice_sums, rtol=1e-12)
    assert merged.marks == together.marks
    assert [window.begin for window in merged.windows()] == [window.begin for window in together.windows()]


def test_evaluations_of_other_slices_do_not_add_up():
    other = Evaluation.of(Learning.model_validate(SLICED | {"quality": {"slices": {"item": ["i3"]}}}))
    with pytest.raises(ValueError, match="slices"):
        Evaluation.of(Learning.model_validate(SLICED)).merge(other)


@pytest.fixture(scope="module")
def drifting() -> tuple[Learning, list[bytes]]:
    learning = Learning.model_validate(
        {
            "features": {"user": {}, "item": {}, "hour": {}, "device": {}, "slot": {}},
            "model": {"merge": False, "factors": 4},
            "quality": {"window": 2_000, "false_alarm_every": 1_000_000},
        }
    )
    planted = Planted(events=60_000, users=500, items=50, drift_at=0.5, drift_share=1.0)
    return learning, [value for batch in planted.batches() for value in encode(batch)]


def test_alarms_of_drift_are_marked_once_and_by_a_state_that_is_taken_over_too(drifting):
    learning, values = drifting
    evaluation = Evaluation.of(learning)
    half = learn(learning, values[:45_000], evaluation, shard=7)
    marks = evaluation.marks
    assert marks, "the planted drift is found"
    assert {mark.shard for mark in marks} == {7}
    drift = NOW + 30_000
    assert all(mark.time >= drift for mark in marks), "and nothing before it"
    assert all(mark.size >= mark.threshold for mark in marks)
    for detector in half.watch.watching.detectors:
        alarm = half.watch.alarm(detector)
        mine = [mark for mark in marks if mark.signal == alarm.detector]
        assert sum(mark.alarms for mark in mine) == alarm.alarms
        if mine:
            assert (mine[-1].event, mine[-1].time) == (alarm.event, alarm.time)
    assert evaluation.alarms == sum(mark.alarms for mark in marks)
    # Who goes on with that state does not tell of alarms that were before
    later = Evaluation.of(learning)
    learn(learning, values[45_000:46_000], later, state=half)
    assert all(mark.event > 45_000 for mark in later.marks)


def test_however_many_events_there_are_windows_are_few():
    planted = Planted(events=500_000, users=1_000, items=500, events_per_second=0.05)  # four months
    evaluation = Evaluation(logistic=True)
    for batch in planted.batches():
        evaluation.add(batch.times, batch.truth.astype(np.float32), batch.labels.astype(np.float32))
    windows = evaluation.windows()
    assert MOST / 10 < len(windows) <= MOST
    assert sum(window.events for window in windows) == evaluation.events == 500_000
    before = evaluation.sums.histogram.nbytes
    evaluation.add(NOW + np.arange(100_000) * 10**7, np.full(100_000, 0.5, np.float32), np.ones(100_000, np.float32))
    assert evaluation.sums.histogram.nbytes == before
    assert len(evaluation.windows()) <= MOST


def test_a_statistic_beyond_all_bounds_can_be_told(drifting):
    learning, values = drifting
    evaluation = Evaluation.of(learning)
    state = learn(learning, values[:1_000], None)
    words, at = state.watch.words, layout.DETECTORS + layout.SCORES * layout.EACH
    words[at + layout.ALARMS], words[at + layout.AT_EVENT], words[at + layout.AT_STATISTIC] = 1, 900, np.inf
    evaluation.note_alarms(0, state.watch, 500)
    (mark,) = evaluation.marks
    assert mark.size == 1e300


def test_event_times_on_both_sides_of_1970_are_two_windows() -> None:
    evaluation, n = Evaluation(logistic=True), 3
    evaluation.add(np.array([-1, 0, 5]), np.full(n, 0.5, np.float32), np.ones(n, np.float32))
    assert [window.events for window in evaluation.windows()] == [1, 2]
