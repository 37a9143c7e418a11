"""FTRL-Proximal, held against the paper's algorithm written down plainly, in double precision."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.support.batches import Event, batch_of, stream
from worker.model.ftrl import COLUMNS, Ftrl, FtrlSettings

WEIGHT, Z, N = range(3)


def settings_of(*, alpha: float = 0.5, beta: float = 1.0, l1: float = 0.0, l2: float = 0.0) -> FtrlSettings:
    return FtrlSettings(alpha=alpha, beta=beta, l1=l1, l2=l2)


@dataclass
class Paper:
    """Algorithm 1 of McMahan et al. (2013), line by line; weights are made when an event needs them."""

    settings: FtrlSettings
    z: dict[int, float] = field(default_factory=dict)
    n: dict[int, float] = field(default_factory=dict)

    def w(self, i: int) -> float:
        at, z, n = self.settings, self.z.get(i, 0.0), self.n.get(i, 0.0)
        if abs(z) <= at.l1:
            return 0.0
        return -1 / ((at.beta + math.sqrt(n)) / at.alpha + at.l2) * (z - math.copysign(1, z) * at.l1)

    def learn(self, event: Event, label: float, count: float) -> float:
        x = {key: value for place in event for key, value in place}
        w = {i: self.w(i) for i in x}
        p = 1 / (1 + math.exp(-sum(x[i] * w[i] for i in x)))
        for i, value in x.items():
            g = count * (p - label) * value
            n = self.n.get(i, 0.0)
            sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / self.settings.alpha
            self.z[i] = self.z.get(i, 0.0) + g - sigma * w[i]
            self.n[i] = n + g * g
        return p


def gathered(model: Ftrl, keys: list[int]) -> np.ndarray:
    return model.gather(np.array(keys, np.uint64))


@pytest.mark.parametrize(
    "settings",
    [{}, {"alpha": 0.05, "beta": 0.1}, {"l1": 1.0}, {"l2": 3.0}, {"l1": 0.3, "l2": 1.0}],
    ids=str,
)
def test_learning_follows_the_paper(settings):
    settings = settings_of(**settings)
    events, labels = stream(400)
    counts = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 3.0], len(events))
    model, paper = Ftrl(settings), Paper(settings)
    predictions = model.learn(batch_of(events, labels, counts)).predictions
    expected = [paper.learn(*each) for each in zip(events, labels.tolist(), counts.tolist(), strict=True)]
    # 400 steps, each rounded to single precision: a relative error of some 2^-24 each
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(predictions, expected, **close)
    keys = list(paper.z)
    rows = gathered(model, keys)
    np.testing.assert_allclose(rows[:, WEIGHT], [paper.w(key) for key in keys], **close)
    np.testing.assert_allclose(rows[:, Z], list(paper.z.values()), **close)
    np.testing.assert_allclose(rows[:, N], list(paper.n.values()), **close)
    assert model.table.touched().columns == COLUMNS == ("weight", "z", "n")


def test_the_first_step_by_hand():
    """From zero p = 1/2, so a click gives g = -1/2, n = 1/4, and the weight is alpha / (beta + 1/2) / 2."""
    model = Ftrl(settings_of(alpha=0.5, beta=1.0))
    assert model.learn(batch_of([[[(1, 1.0)]]], [1.0])).predictions.tolist() == [0.5]
    assert gathered(model, [1])[0].tolist() == [pytest.approx(0.5 / 1.5 / 2), -0.5, 0.25]


def test_l1_keeps_weights_at_exactly_zero_until_their_gradients_sum_up_to_it():
    model = Ftrl(settings_of(l1=1.0))
    event: Event = [[(1, 1.0)]]
    model.learn(batch_of([event] * 2, [1.0] * 2))
    assert gathered(model, [1])[0].tolist() == [0.0, -1.0, 0.5]
    model.learn(batch_of([event], [1.0]))
    weight, z, _ = gathered(model, [1])[0]
    assert z == -1.5
    assert weight > 0


def test_l1_leaves_fewer_weights_and_l2_smaller_ones():
    events, labels = stream(2_000)
    keys = sorted({key for event in events for place in event for key, _ in place})

    def weights(**settings: float) -> np.ndarray:
        model = Ftrl(settings_of(**settings))
        model.learn(batch_of(events, labels))
        return gathered(model, keys)[:, WEIGHT]

    plain, sparse, small = weights(), weights(l1=10.0), weights(l2=100.0)
    assert (plain == 0).sum() == 0
    assert (sparse == 0).sum() > len(keys) / 3
    assert np.abs(small).max() < np.abs(plain).max() / 2


def test_each_weight_has_a_rate_of_its_own():
    """A value met for the first time moves further than one that is met with every event."""
    model = Ftrl(settings_of())
    model.learn(batch_of([[[(1, 1.0)], []]] * 500, [1.0, 0.0] * 250))
    before = gathered(model, [1, 2])[:, WEIGHT]
    model.learn(batch_of([[[(1, 1.0)], [(2, 1.0)]]], [1.0]))
    often, rare = gathered(model, [1, 2])[:, WEIGHT] - before
    assert rare > 5 * often > 0


def test_a_row_met_so_often_that_its_sum_is_full_goes_on_learning():
    """In single precision a gradient does not change n any more: then the rate stays, and z still moves."""
    model = Ftrl(settings_of())
    event: Event = [[(1, 1.0)]]
    model.learn(batch_of([event], [1.0]))
    rows = model.table.touched()
    rows.parameters[0] = [0.0, 0.0, 2.0**25]
    model.table.put(rows)
    model.learn(batch_of([event] * 100, [1.0] * 100))
    weight, z, n = gathered(model, [1])[0]
    assert n == 2.0**25
    assert weight == pytest.approx(-z * 0.5 / (1 + 2**12.5), rel=1e-5)
    assert z == pytest.approx(-50.0, rel=1e-2)


def test_an_absurd_sample_weight_is_not_learned():
    model = Ftrl(settings_of())
    model.learn(batch_of([[[(1, 1.0)]]], [1.0], [3e38]))
    assert model.unstable == 1
    assert not gathered(model, [1]).any()


@pytest.mark.parametrize(
    "extreme", [{"alpha": 1e6, "beta": 1e-6}, {"alpha": 1e-6, "beta": 1e300}, {"l1": 1e300, "l2": 1e300}]
)
def test_whatever_the_settings_no_number_is_lost(extreme):
    model = Ftrl(settings_of(**extreme))
    events, labels = stream(300)
    model.learn(batch_of(events, labels))
    assert np.isfinite(model.table.part(0, len(model.table)).parameters).all()
    assert model.unstable < 300


def test_the_bits_of_a_model():
    """What was learned by an earlier release must be learned by this one, on any machine: models are published."""
    events, labels = stream(500)
    model = Ftrl(settings_of(l1=0.1, l2=1.0))
    model.learn(batch_of(events, labels))
    assert f"{model.digest():016x}" == "ae44e0acba00baa7"
