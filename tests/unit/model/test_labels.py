"""What labels say that may be flipped, or whose events were left out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.labels import AS_DRAWN, Labelling, evidence

LOGITS = st.floats(-7, 7)
FLIPS = st.sampled_from([0.0, 0.01, 0.1, 0.4])
KEPT = st.sampled_from([1.0, 0.5, 0.1, 0.01])


def likelihood(logit: float, flips: float, kept: float) -> float:
    """Give the share of positives among the events that are kept, as they are observed: step by step."""
    positive = 1 / (1 + math.exp(-logit))
    observed = (1 - flips) * positive + flips * (1 - positive)
    return observed / (observed + kept * (1 - observed))


def single(logit: float) -> np.float32:
    return np.float32(1 / (1 + math.exp(-logit)))


@given(LOGITS, FLIPS, KEPT)
def test_they_are_the_derivative_of_the_likelihood_and_its_information(logit, flips, kept):
    by_label = {}
    for label in (0, 1):

        def loss(f: float, label: int = label) -> float:
            s = likelihood(f, flips, kept)
            return -math.log(s if label else 1 - s)

        g, h = evidence(single(logit), np.float32(label), flips, kept)
        assert g == pytest.approx((loss(logit + 1e-4) - loss(logit - 1e-4)) / 2e-4, rel=1e-3, abs=1e-6)
        by_label[label] = float(g), float(h)
    # Fisher: the mean square of the derivative, over the labels as they are drawn
    s = likelihood(logit, flips, kept)
    information = s * by_label[1][0] ** 2 + (1 - s) * by_label[0][0] ** 2
    assert by_label[0][1] == pytest.approx(information, rel=1e-3, abs=1e-7)
    assert by_label[1][1] == pytest.approx(information, rel=1e-3, abs=1e-7)


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_without_either_they_are_those_of_logistic_regression_to_the_bit(p, label):
    p, label = np.float32(p), np.float32(label)
    g, h = evidence(p, label, AS_DRAWN.flips, AS_DRAWN.kept)
    assert (np.float32(g), np.float32(h)) == (p - label, p * (np.float32(1) - p))


def test_what_surprises_beyond_belief_is_taken_for_a_flip():
    sure, flips = single(-10), 0.01
    assert evidence(sure, np.float32(1), 0.0, 1.0)[0] == pytest.approx(-1, abs=1e-3)
    assert -0.01 < evidence(sure, np.float32(1), flips, 1.0)[0] < 0
    # ... what surprises as much as there are flips is not
    assert evidence(single(-3), np.float32(1), flips, 1.0)[0] < -0.7


@given(st.floats(0.01, 0.99), KEPT)
def test_a_label_in_between_is_settled_at_itself(label, kept):
    """Where p is the label, nothing moves: its negative part stands for itself, since it is always kept."""
    g, _ = evidence(np.float32(label), np.float32(label), 0.0, kept)
    assert g == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-38, np.nan])
@pytest.mark.parametrize("label", [0, 1, 0.5])
def test_a_prediction_at_the_edge_divides_by_nothing(p, label):
    for flips, kept in ((0.1, 1.0), (0.0, 0.01), (0.1, 0.01)):
        g, h = evidence(np.float32(p), np.float32(label), flips, kept)
        assert np.isfinite(p) == (np.isfinite(g) and np.isfinite(h))


def test_what_is_observed_is_what_was_drawn_or_its_flip():
    p = np.array([0, 0.25, 1], np.float32)
    assert Labelling(flips=0.125).observed(p).tolist() == [0.125, 0.3125, 0.875]
    assert AS_DRAWN.observed(p) is p
