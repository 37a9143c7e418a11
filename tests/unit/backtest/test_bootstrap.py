"""Intervals: as often right as they say, on differences whose truth is planted."""

import numpy as np
import pytest

from worker.backtest.blocks import Blocks
from worker.backtest.bootstrap import LEAST_BLOCKS, block_length, compare, drawn
from worker.quality.progress import EVENTS, LABEL, LOSS, WEIGHT

BLOCKS, EVENTS_A_BLOCK = 120, 200


def planted(rng: np.random.Generator, difference: float, correlation: float = 0.0) -> tuple[Blocks, Blocks]:
    """Two runs whose losses differ by so much in the mean; what moves both moves a block and its neighbours alike."""
    noise = rng.normal(size=BLOCKS)
    for at in range(1, BLOCKS):
        noise[at] = correlation * noise[at - 1] + np.sqrt(1 - correlation**2) * noise[at]
    weights = rng.integers(EVENTS_A_BLOCK // 2, EVENTS_A_BLOCK * 2, size=BLOCKS).astype(float)
    common = rng.normal(size=BLOCKS)  # of both: it must cancel
    runs = []
    for more in (difference + 0.05 * noise, 0.0):
        blocks = Blocks.empty(BLOCKS, logistic=False)
        blocks.sums[:, EVENTS] = blocks.sums[:, WEIGHT] = weights
        blocks.sums[:, LOSS] = weights * (0.5 + common + more)
        runs.append(blocks)
    return runs[0], runs[1]


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_intervals_cover_the_truth_about_as_often_as_they_say(correlation):
    rng, truth, covered, excluded, trials = np.random.default_rng(7), 0.03, 0, 0, 300
    for trial in range(trials):
        one, other = planted(rng, truth, correlation)
        found = compare(one, other, seed=trial, draws=300).loss
        covered += found.low <= truth <= found.high
        excluded += not found.low <= 0 <= found.high
    # A little too rarely where neighbours are alike, as is known of it; 300 trials are sure to 1.3 points.
    assert 0.88 <= covered / trials <= 0.98
    assert excluded > 0.5 * trials


def test_without_drawing_neighbours_together_intervals_would_be_too_narrow():
    rng = np.random.default_rng(1)
    series = [planted(rng, 0.0, correlation)[0] for correlation in (0.0, 0.9)]
    lengths = [block_length(one.losses / one.weights - 0.5) for one in series]
    noise = rng.normal(size=400)
    for at in range(1, 400):
        noise[at] = 0.9 * noise[at - 1] + noise[at]
    assert max(lengths) < block_length(noise)
    assert block_length(noise) >= 16


def test_the_same_run_does_not_differ_from_itself():
    one, _ = planted(np.random.default_rng(2), 0.1)
    found = compare(one, one)
    assert (found.loss.value, found.loss.low, found.loss.high) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_interval_and_the_sign_turns_round():
    one, other = planted(np.random.default_rng(3), 0.02, 0.3)
    assert compare(one, other, seed=1) == compare(one, other, seed=1)
    assert compare(one, other, seed=1) != compare(one, other, seed=2)
    there, back = compare(one, other).loss, compare(other, one).loss
    assert there.value == -back.value
    assert there.low == pytest.approx(-back.high, abs=1e-12)


def test_every_draw_has_as_many_blocks_as_there_are_and_neighbours_stay_together():
    counts = drawn(50, 7, 40, seed=0)
    assert counts.shape == (40, 50)
    assert (counts.sum(axis=1) == 50).all()
    runs = drawn(50, 50, 200, seed=0)
    assert (runs == 1).all()  # the whole circle, wherever it begins


def test_few_blocks_give_no_interval():
    one, other = (Blocks.empty(LEAST_BLOCKS - 1, logistic=True) for _ in range(2))
    labels, weights = np.array([0, 1], np.float32), np.ones(2, np.float32)
    for block in range(LEAST_BLOCKS - 1):
        one.add(block, np.array([0.2, 0.8], np.float32), labels, weights)
        other.add(block, np.array([0.8, 0.2], np.float32), labels, weights)
    found = compare(one, other)
    assert found.loss.value < 0
    assert (found.loss.low, found.auc.low, found.auc.value) == (None, None, 1.0)


def test_areas_of_draws_are_those_of_the_events_drawn():
    rng = np.random.default_rng(5)
    one, other = (Blocks.empty(40, logistic=True) for _ in range(2))
    for block in range(40):
        labels = (rng.random(300) < 0.4).astype(np.float32)
        good = 1 / (1 + np.exp(-(2 * labels - 1 + rng.normal(size=300))))
        poor = 1 / (1 + np.exp(-(1.4 * labels - 0.7 + rng.normal(size=300))))
        for blocks, scores in ((one, good), (other, poor)):
            blocks.add(block, scores.astype(np.float32), labels, np.ones(300, np.float32))
    found = compare(one, other)
    # Of two normal distributions a distance d apart the area is Phi(d / sqrt 2): 0.9214 and 0.8389.
    assert found.auc.value == pytest.approx(0.9214 - 0.8389, abs=0.01)
    assert found.auc.low < 0.0825 < found.auc.high
    assert found.auc.high - found.auc.low < 0.03
    assert found.loss.high < 0


def test_blocks_without_events_are_left_out():
    rng = np.random.default_rng(6)
    one, other = planted(rng, 0.05)
    more = [Blocks.empty(2 * BLOCKS, logistic=False) for _ in range(2)]
    for few, many in zip((one, other), more, strict=True):
        many.sums[::2] = few.sums
    assert compare(*more) == compare(one, other)
    assert one.sums[:, LABEL].sum() == 0
