"""Which run is best, and whether that is more than chance."""

import re

import numpy as np
import pytest

from tests.support.runs import NOW, run_of
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.runlog import RunLog
from worker.report.comparing import difference, ranked
from worker.report.figures import axis_of
from worker.report.summary import sentences


def scored(name: str, scores: np.ndarray, labels: np.ndarray) -> RunLog:
    evaluation = Evaluation(logistic=True)
    evaluation.add(NOW + np.arange(len(scores)) * 1_000, scores.astype(np.float32), labels.astype(np.float32))
    return RunLog.of(evaluation, name=name, mode="replay", when=NOW, seconds=1)


def drawn(seed: int, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.9, n)
    return truth, (rng.random(n) < truth).astype(np.float64)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Two models that are wrong by the same amount, in opposite directions: the true difference is 0."""
    inside = 0
    for seed in range(200):
        truth, labels = drawn(seed, 4_000)
        noise = np.random.default_rng(1_000 + seed).normal(0, 0.5, len(truth))
        logit = np.log(truth / (1 - truth))
        one, other = (scored(str(sign), 1 / (1 + np.exp(-logit - sign * noise)), labels) for sign in (1, -1))
        found = difference(one, other)
        inside += found.low <= 0 <= found.high
    assert 178 <= inside <= 199, "95 % of 200, give or take four deviations"


def test_a_real_difference_is_found():
    truth, labels = drawn(0)
    better, worse = scored("better", truth, labels), scored("worse", np.full(len(truth), labels.mean()), labels)
    found = difference(better, worse)
    assert found.is_clear
    assert found.low < found.mean < found.high < 0
    assert found.mean == better.totals.loss - worse.totals.loss
    assert [run.name for run in ranked([worse, better])] == ["better", "worse"]
    told = "".join(sentences([worse, better], None))
    assert "<b>better</b> predicts best" in told
    assert "more than chance" in told


def test_what_cannot_be_known_is_not_said():
    few = [run_of("one", 100, noise=0.1), run_of("other", 100, noise=2.0)]
    assert difference(*few).is_clear is None
    assert "has the lowest loss" in "".join(sentences(few, None))
    assert "cannot tell" in "".join(sentences(few, None))
    others = [run_of("one", 20_000), run_of("other", 30_000)]
    assert difference(*others).is_clear is None
    assert "compare their numbers with care" in "".join(sentences(others, None))


def test_the_same_run_twice_may_be_chance():
    run = run_of("one", 20_000)
    assert difference(run, run).is_clear is False
    assert "it may be chance" in "".join(sentences([run, run.model_copy(update={"name": "again"})], None))


@pytest.mark.parametrize(("noise", "said"), [(0.0, "right in the mean"), (4.0, "too high")])
def test_calibration_is_told_in_words(noise, said):
    assert said in "".join(sentences([run_of("one", 50_000, noise=noise)], None))


def test_drift_is_told_of_the_best_run_or_of_another():
    quiet, alarmed = run_of("quiet", 20_000, noise=0.1), run_of("alarmed", 20_000, noise=1.0, alarms=2)
    told = re.sub("<.*?>", "", "".join(sentences([quiet, alarmed], None)))
    assert "2 alarms in alarmed, the first at 2025-01-01 00:00:06 UTC (residual, shard 0)" in told
    assert "No drift detector raised an alarm" in "".join(sentences([quiet], None))


def test_the_axis_leaves_out_a_lone_event_of_another_year():
    evaluation = Evaluation(logistic=True)
    times = np.concatenate([[0], NOW + np.arange(5_000) * 1_000])
    evaluation.add(times, np.full(5_001, 0.5, np.float32), np.ones(5_001, np.float32))
    run = RunLog.of(evaluation, name="odd", mode="replay", when=NOW, seconds=1)
    axis = axis_of([run])
    assert axis.outside == 1
    assert axis.scale.low >= NOW - 3_600_000
    assert run.windows[0].begin == 0, "it is still in the log"


def test_runs_of_other_times_begin_together():
    early, late = run_of("early", 5_000), run_of("late", 5_000)
    moved = [one.model_copy(update={"begin": one.begin + 10**9, "end": one.end + 10**9}) for one in late.windows]
    axis = axis_of([early, late.model_copy(update={"windows": moved})])
    assert axis.relative
    assert axis.starts == [early.windows[0].begin, moved[0].begin]
    assert axis.moment(15_000) == "15 s after the beginning"
