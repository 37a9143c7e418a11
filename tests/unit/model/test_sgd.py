"""Online gradient descent, held against a loop in numpy, bit for bit, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier, SGDRegressor

from tests.support.batches import Event, batch_of, stream
from worker.model.arithmetic import sigmoid
from worker.model.sgd import Sgd
from worker.quality.progress import Progress

BIAS, X = 1, 2


def weights_of(model: Sgd, *keys: int) -> list[float]:
    return model.gather(np.array(keys, np.uint64))[:, 0].tolist()


def test_the_first_step_of_online_linear_regression():
    """From zero, x = 1 and y = 2: the prediction is 0, the loss 2, and the gradient -2 for weight and bias."""
    rate = 0.125
    model, progress = Sgd(rate=rate, logistic=False), Progress(logistic=False)
    batch = batch_of([[[(BIAS, 1.0)], [(X, 1.0)]]], [2.0])
    scores = model.learn(batch)
    progress.add(scores.predictions, batch.labels, batch.weights)
    assert scores.predictions.tolist() == [0.0]
    assert progress.loss == 2.0
    gradients = [-weight / rate for weight in weights_of(model, BIAS, X)]
    assert gradients == [-2.0, -2.0]


@pytest.mark.parametrize("logistic", [True, False])
def test_learning_is_the_loop_to_the_bit(logistic):
    events, labels = stream(300)
    labels = labels if logistic else labels * 3 - 1
    counts = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 3.0], len(events)).astype(np.float32)
    rate, weights, expected = np.float32(0.05), {}, []
    for event, label, count in zip(events, labels, counts, strict=True):
        entries = [(key, np.float32(x)) for place in event for key, x in place]
        f = np.float32(0)
        for key, x in entries:
            f += x * weights.get(key, np.float32(0))
        p = np.float32(sigmoid(float(f))) if logistic else f
        expected.append(p)
        step = rate * count * (p - label)
        for key, x in entries:
            weights[key] = weights.get(key, np.float32(0)) - step * x
    model = Sgd(rate=0.05, logistic=logistic)
    scores = model.learn(batch_of(events, labels, counts))
    assert scores.predictions.tolist() == [float(p) for p in expected]
    assert weights_of(model, *weights) == [float(weight) for weight in weights.values()]


@pytest.mark.parametrize("logistic", [True, False])
def test_learning_is_what_scikit_learn_does(logistic):
    """Another implementation, in double precision: the same weights up to the rounding of single precision."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 3)).astype(np.float32)
    f = values @ [1.0, -2.0, 0.5] + 0.3
    labels = (rng.random(400) < 1 / (1 + np.exp(-f))).astype(float) if logistic else f + rng.normal(0, 0.1, 400)
    settings = {"penalty": None, "learning_rate": "constant", "eta0": 0.05, "shuffle": False}
    other = SGDClassifier("log_loss", **settings) if logistic else SGDRegressor("squared_error", **settings)
    more = {"classes": [0.0, 1.0]} if logistic else {}
    other.partial_fit(values.astype(np.float64), labels.astype(np.float32).astype(np.float64), **more)
    model = Sgd(rate=0.05, logistic=logistic)
    events: list[Event] = [[[(BIAS, 1.0)], *([(X + n, float(x))] for n, x in enumerate(row))] for row in values]
    model.learn(batch_of(events, labels))
    bias, *weights = weights_of(model, BIAS, X, X + 1, X + 2)
    np.testing.assert_allclose(weights, np.ravel(other.coef_), rtol=1e-4, atol=1e-5)
    assert bias == pytest.approx(float(other.intercept_[0]), rel=1e-4, abs=1e-5)
    assert np.sign(weights).tolist() == [1, -1, 1], "and it learned what was planted"


def test_a_rate_that_is_too_large_ends_in_events_that_are_counted_and_not_in_infinity():
    model = Sgd(rate=3.0, logistic=False)
    model.learn(batch_of([[[(BIAS, 1.0)]]] * 200, [1.0] * 200))
    assert 100 < model.unstable < 200
    assert np.isfinite(weights_of(model, BIAS)).all()


def test_a_sample_weight_beyond_reason_is_not_learned():
    model = Sgd(rate=0.05, logistic=True)
    model.learn(batch_of([[[(BIAS, 1.0)]]], [1.0], [3e38]))
    assert (model.unstable, weights_of(model, BIAS)) == (1, [0.0])


def test_the_bits_of_a_model():
    """What was learned by an earlier release must be learned by this one, on any machine: models are published."""
    events, labels = stream(500)
    digests = []
    for logistic in (True, False):
        model = Sgd(rate=0.05, logistic=logistic)
        model.learn(batch_of(events, labels))
        digests.append(f"{model.digest():016x}")
    assert digests == ["d45c744895785412", "c329d161825e338e"]
