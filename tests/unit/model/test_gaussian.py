"""The learner, held against its equations written down a second time, plainly and in double precision."""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.batches import Event, batch_of, entries_of, learned_in_parts, stream
from worker.model.forgetting import NEVER
from worker.model.gaussian import Gaussian, Settings
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION, Prior, Rows


def settings_of(factors: int = 4, *, logistic: bool = True, noise_variance: float = 0.5) -> Settings:
    prior = Prior(factors=factors, seed=3, init_deviation=0.3, weight_precision=2.0, factor_precision=5.0)
    return Settings(prior=prior, pair_precision=1.5, logistic=logistic, noise_variance=noise_variance)


@dataclass
class Reference:
    """The equations of `worker.model.gaussian`, one parameter after the other, in double precision."""

    settings: Settings
    fields: int
    w: dict[int, float] = field(default_factory=dict)
    lw: dict[int, float] = field(default_factory=dict)
    v: dict[int, np.ndarray] = field(default_factory=dict)
    lv: dict[int, float] = field(default_factory=dict)

    def __post_init__(self):
        self.r = np.ones((self.fields, self.fields))
        self.lr = np.full((self.fields, self.fields), float(self.settings.pair_precision))

    def start(self, event: Event) -> None:
        prior = self.settings.prior
        for key, _ in (entry for place in event for entry in place):
            if key not in self.w:
                row = Gaussian(self.settings, self.fields).table.gather(np.array([key], np.uint64))[0]
                self.w[key], self.lw[key], self.lv[key] = 0.0, prior.weight_precision, prior.factor_precision
                self.v[key] = row[FACTORS:].astype(np.float64)

    def f(self, event: Event, shift: dict | None = None) -> float:
        """The score; `shift` moves single parameters, for a derivative by differences."""
        shift = shift or {}
        total, sums = 0.0, {}
        for i, place in enumerate(event):
            for key, x in place:
                total += x * (self.w[key] + shift.get(("w", key), 0.0))
                v = self.v[key].copy()
                for k in range(len(v)):
                    v[k] += shift.get(("v", key, k), 0.0)
                sums[i] = sums.get(i, 0.0) + x * v
        for (i, left), (j, right) in itertools.combinations(sums.items(), 2):
            total += (self.r[i, j] + shift.get(("r", i, j), 0.0)) * float(np.dot(left, right))
        return total

    def derivatives(self, event: Event) -> dict:
        """df/dparameter by central differences: exact up to rounding, as f is at most quadratic in each of them."""
        names = [("w", key) for place in event for key, _ in place]
        factors = self.settings.prior.factors
        names += [("v", key, k) for place in event for key, _ in place for k in range(factors)]
        present = [i for i, place in enumerate(event) if place]
        names += [("r", i, j) for i in present for j in present if i < j and factors]
        step = 1e-3
        return {
            name: (self.f(event, {name: step}) - self.f(event, {name: -step})) / (2 * step)
            for name in dict.fromkeys(names)
        }

    def learn(self, event: Event, label: float, weight: float = 1.0) -> tuple[float, float]:
        """Give the prediction and the variance before learning."""
        self.start(event)
        f, d = self.f(event), self.derivatives(event)
        precision = {
            name: {"w": lambda n: self.lw[n[1]], "v": lambda n: self.lv[n[1]], "r": lambda n: self.lr[n[1], n[2]]}[
                name[0]
            ](name)
            for name in d
        }
        variance = sum(slope * slope / precision[name] for name, slope in d.items())
        p = 1 / (1 + math.exp(-f)) if self.settings.logistic else f
        h = weight * (p * (1 - p) if self.settings.logistic else 1 / self.settings.noise_variance)
        g = weight * (p - label) if self.settings.logistic else h * (p - label)
        step = g / (1 + h * variance)
        for name, slope in d.items():
            if name[0] == "w":
                self.w[name[1]] -= step * slope / precision[name]
                self.lw[name[1]] += h * slope * slope
            elif name[0] == "v":
                self.v[name[1]][name[2]] -= step * slope / precision[name]
                self.lv[name[1]] += h * slope * slope / self.settings.prior.factors
            else:
                self.r[name[1], name[2]] -= step * slope / precision[name]
                self.lr[name[1], name[2]] += h * slope * slope
        return p, variance


def bits(model: Gaussian) -> tuple:
    return model.table.part(0, len(model.table)).parameters.tobytes(), model.pair_means.tobytes(), model.digest()


@pytest.mark.parametrize("factors", [0, 1, 3, 4, 8, 13, 16])
@pytest.mark.parametrize("logistic", [True, False])
def test_learning_follows_the_equations(factors, logistic):
    """Any K, also one that is no multiple of the vector's width; single precision against double."""
    settings = settings_of(factors, logistic=logistic)
    events, labels = stream(60)
    labels = labels if logistic else labels * 3 - 1
    weights = np.random.default_rng(1).choice([0.5, 1.0, 3.0], len(events))
    model, reference = Gaussian(settings, 4), Reference(settings, 4)
    scores = model.learn(batch_of(events, labels, weights))
    expected = [reference.learn(event, y, w) for event, y, w in zip(events, labels.tolist(), weights, strict=True)]

    # 60 steps of single precision, each with a relative error of some 2^-24 for each of some 20 parameters
    close = {"rtol": 1e-4, "atol": 2e-5}
    np.testing.assert_allclose(scores.predictions, [p for p, _ in expected], **close)
    np.testing.assert_allclose(scores.variances, [variance for _, variance in expected], **close)
    keys = np.array(list(reference.w), np.uint64)
    rows = model.table.gather(keys)
    np.testing.assert_allclose(rows[:, WEIGHT], list(reference.w.values()), **close)
    np.testing.assert_allclose(rows[:, WEIGHT_PRECISION], list(reference.lw.values()), **close)
    np.testing.assert_allclose(rows[:, FACTORS:], np.stack(list(reference.v.values())), **close)
    np.testing.assert_allclose(rows[:, FACTOR_PRECISION], list(reference.lv.values()), **close)
    upper = np.triu_indices(4, 1)
    np.testing.assert_allclose(model.pair_means[upper], reference.r[upper], **close)
    np.testing.assert_allclose(model.pair_precisions[upper], reference.lr[upper], **close)


def test_one_step_moves_every_parameter_by_its_own_derivative():
    """The gradient check: from a state in the middle of learning, one event of tiny weight."""
    settings = settings_of(8)
    events, labels = stream(40)
    model, reference = Gaussian(settings, 4), Reference(settings, 4)
    model.learn(batch_of(events, labels))
    for event, label in zip(events, labels.tolist(), strict=True):
        reference.learn(event, label)
    event: Event = [[(1, 1.0)], [(101, 1.0)], [(200, -0.7)], [(300, 0.5), (301, 0.5)]]
    before = model.table.gather(entries_of([event]).keys)
    (p,) = model.learn(batch_of([event], [1.0], [1e-3])).predictions
    moved = model.table.gather(entries_of([event]).keys) - before
    slopes = reference.derivatives(event)
    for place, (key, _) in enumerate(entry for part in event for entry in part):
        expected = -1e-3 * (float(p) - 1) * slopes["w", key] / reference.lw[key]
        assert moved[place, WEIGHT] == pytest.approx(expected, rel=5e-3, abs=2e-7)
        for k in range(8):
            expected = -1e-3 * (float(p) - 1) * slopes["v", key, k] / reference.lv[key]
            assert moved[place, FACTORS + k] == pytest.approx(expected, rel=5e-3, abs=2e-7)


def test_without_factors_it_is_bayesian_logistic_regression():
    """K = 0: a weight for each value, nothing else, whatever the pairs."""
    settings = settings_of(0)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 3)).astype(np.float32)
    labels = (rng.random(200) < 1 / (1 + np.exp(-values @ [1.0, -2.0, 0.5]))).astype(np.float32)
    mean, precision = np.zeros(3), np.full(3, 2.0)
    expected = []
    for x, y in zip(values.astype(np.float64), labels, strict=True):
        p = 1 / (1 + np.exp(-x @ mean))
        expected.append(p)
        h = p * (1 - p)
        mean -= (p - y) / (1 + h * np.sum(x * x / precision)) * x / precision
        precision += h * x * x
    model = Gaussian(settings, 3)
    events = [[[(k, float(x))] for k, x in enumerate(row)] for row in values]
    scores = model.learn(batch_of(events, labels))
    np.testing.assert_allclose(scores.predictions, expected, rtol=1e-4, atol=1e-5)
    rows = model.table.gather(np.arange(3, dtype=np.uint64))
    np.testing.assert_allclose(rows[:, WEIGHT], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows[:, WEIGHT_PRECISION], precision, rtol=1e-4)
    assert (model.pair_means == 1).all()
    assert mean @ [1, -2, 0.5] > 2, "and it learned what was planted"


def test_squared_loss_is_recursive_least_squares():
    """With one entry an event the diagonal is exact: the weight's posterior is the closed form of ridge regression."""
    settings = settings_of(0, logistic=False, noise_variance=0.5)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=100).astype(np.float32), rng.normal(size=100).astype(np.float32)
    model = Gaussian(settings, 1)
    model.learn(batch_of([[[(1, float(value))]] for value in x], y))
    (row,) = model.table.gather(np.array([1], np.uint64))
    precision = 2.0 + np.sum(x.astype(np.float64) ** 2) / 0.5
    assert row[WEIGHT_PRECISION] == pytest.approx(precision, rel=1e-5)
    assert row[WEIGHT] == pytest.approx(np.sum(x.astype(np.float64) * y) / 0.5 / precision, rel=1e-4)


def test_a_weight_multiplies_gradient_and_curvature():
    """Weight 2 with squared loss is the event learned twice: there the order of merging evidence does not matter."""
    settings = settings_of(0, logistic=False)
    event: Event = [[(1, 2.0)]]
    twice, doubled = Gaussian(settings, 1), Gaussian(settings, 1)
    twice.learn(batch_of([event, event], [1.0, 1.0]))
    doubled.learn(batch_of([event], [1.0], [2.0]))
    keys = np.array([1], np.uint64)
    np.testing.assert_allclose(doubled.table.gather(keys), twice.table.gather(keys), rtol=1e-6)


def test_an_event_of_no_weight_is_predicted_and_not_learned():
    model = Gaussian(settings_of(), 4)
    events, labels = stream(20)
    model.learn(batch_of(events, labels))
    before = model.table.part(0, len(model.table))
    score = model.learn(batch_of(events[:1], [1.0], [0.0], [99]))
    assert score.predictions.tobytes() == model.predict(entries_of(events[:1])).predictions.tobytes()
    after = model.table.part(0, len(model.table))
    assert before.parameters.tobytes() == after.parameters.tobytes()
    assert before.seen.tolist() == after.seen.tolist()
    assert model.unstable == 0


def test_a_missing_field_takes_no_part():
    """Neither in the score nor in what is learned: the same bits as in a model that does not have the field."""
    events, labels = stream(50, fields=3, missing=False)
    wider = [[event[0], [], *event[1:]] for event in events]
    narrow, wide = Gaussian(settings_of(), 3), Gaussian(settings_of(), 4)
    narrow_scores, wide_scores = narrow.learn(batch_of(events, labels)), wide.learn(batch_of(wider, labels))
    assert narrow_scores.predictions.tobytes() == wide_scores.predictions.tobytes()
    assert narrow_scores.variances.tobytes() == wide_scores.variances.tobytes()
    assert narrow.table.settle() == wide.table.settle()
    assert (wide.pair_means[1] == 1).all()
    assert (wide.pair_means[:, 1] == 1).all()


def test_an_event_with_nothing_in_it_scores_the_prior():
    model = Gaussian(settings_of(), 2)
    scores = model.learn(batch_of([[[], []]], [1.0]))
    assert scores.predictions.tolist() == [0.5]
    assert scores.variances.tolist() == [0.0]
    assert len(model.table) == 0


def test_predict_changes_nothing_and_equals_what_learn_predicts():
    model = Gaussian(settings_of(), 4)
    events, labels = stream(100)
    model.learn(batch_of(events[:50], labels[:50]))
    before = bits(model)
    for event, label in zip(events[50:], labels[50:], strict=True):
        # Also of values never seen: both count with their prior.
        predicted = model.predict(entries_of([event]))
        assert bits(model) == before
        learned = model.learn(batch_of([event], [label]))
        assert predicted.predictions.tobytes() == learned.predictions.tobytes()
        assert predicted.variances.tobytes() == learned.variances.tobytes()
        before = bits(model)


@hypothesis_settings(max_examples=30)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.sampled_from([0, 3, 8]))
def test_batches_do_not_change_a_bit(sizes, factors):
    events, labels = stream(sum(sizes), seed=len(sizes))
    whole, cut = Gaussian(settings_of(factors), 4), Gaussian(settings_of(factors), 4)
    at_once = whole.learn(batch_of(events, labels, times=range(len(events))))
    predictions = learned_in_parts(cut, events, labels, sizes)
    assert predictions.tobytes() == at_once.predictions.tobytes()
    assert cut.digest() == whole.digest()


def test_the_same_events_give_the_same_bits_and_other_events_others():
    events, labels = stream(200)

    def learned(events, labels) -> int:
        model = Gaussian(settings_of(16), 4)
        model.learn(batch_of(events, labels))
        return model.digest()

    assert learned(events, labels) == learned(events, labels)
    assert learned(events, labels) != learned(events[::-1], labels[::-1]), "learned one after the other, in order"
    assert learned(events, labels) != learned(events, 1 - labels)


def test_the_bits_of_a_model():
    """What was learned by an earlier release must be learned by this one, on any machine: models are published."""
    events, labels = stream(500)
    model = Gaussian(settings_of(16), 4)
    model.learn(batch_of(events, labels))
    assert f"{model.digest():016x}" == "63ce316700053f26"


def test_seen_is_the_latest_event_time_also_where_events_come_late():
    model = Gaussian(settings_of(), 2)
    model.learn(batch_of([[[(1, 1.0)], [(2, 1.0)]], [[(1, 1.0)], [(3, 1.0)]]], [1, 0], times=[50, 40]))
    rows = model.table.part(0, 3)
    assert dict(zip(rows.keys.tolist(), rows.seen.tolist(), strict=True)) == {1: 50, 2: 50, 3: 40}
    model.learn(batch_of([[[(4, 1.0)], []]], [1], [0.0], [60]))
    assert model.table.seen[3] == NEVER, "an event of no weight moves nothing"


@pytest.mark.parametrize(
    ("x", "label", "weight", "logistic"),
    [
        (3e38, 1.0, 1.0, True),  # the variance is beyond single precision
        (1e20, 1.0, 1.0, False),
        (1.0, 3e38, 1.0, False),  # the step would be
        (1.0, 3e38, 3e38, False),  # and here it is not even a number
    ],
)
def test_an_event_that_would_leave_single_precision_is_scored_and_not_learned(x, label, weight, logistic):
    model = Gaussian(settings_of(4, logistic=logistic, noise_variance=0.1), 2)
    usual: Event = [[(1, 1.0)], [(2, 1.0)]]
    model.learn(batch_of([usual] * 5, [1.0] * 5))
    rows = model.table.part(0, 2)
    model.learn(batch_of([[[(1, 1.0)], [(2, x)]]], [label], [weight]))
    assert model.unstable == 1
    assert model.table.part(0, 2).parameters.tobytes() == rows.parameters.tobytes()
    model.learn(batch_of([usual], [1.0]))
    assert model.unstable == 1
    assert np.isfinite(model.table.part(0, 2).parameters).all()


@given(
    st.lists(
        st.tuples(
            st.floats(-(2.0**100), 2.0**100, width=32),
            st.floats(-(2.0**127), 2.0**127, width=32),
            st.floats(0, 2.0**127, width=32),
        ),
        min_size=1,
        max_size=30,
    ),
    st.booleans(),
)
def test_no_events_whatever_make_a_parameter_that_is_no_number(rows, logistic):
    model = Gaussian(settings_of(4, logistic=logistic), 3)
    events = [[[(1, 1.0)], [(2, float(x))], [(3, 1.0)]] for x, _, _ in rows]
    labels = [y > 0 if logistic else y for _, y, _ in rows]
    model.learn(batch_of(events, labels, [w for _, _, w in rows]))
    parameters = model.table.part(0, len(model.table)).parameters
    assert np.isfinite(parameters).all()
    assert (parameters[:, [WEIGHT_PRECISION, FACTOR_PRECISION]] > 0).all()
    assert np.isfinite(model.pair_means).all()
    assert np.isfinite(model.pair_precisions).all()


def test_rows_put_back_predict_the_same_bits():
    events, labels = stream(100)
    model, copy = Gaussian(settings_of(), 4), Gaussian(settings_of(), 4)
    model.learn(batch_of(events, labels))
    rows: Rows = model.table.touched()
    copy.table.put(rows)
    copy.pair_means, copy.pair_precisions = model.pair_means.copy(), model.pair_precisions.copy()
    entries = entries_of(events)
    assert copy.predict(entries).predictions.tobytes() == model.predict(entries).predictions.tobytes()
    assert copy.digest() == model.digest()


def test_the_pair_weights_find_which_pairs_matter():
    """The label is the product of two of three fields, the third is noise."""
    rng = np.random.default_rng(0)
    sides = rng.integers(0, 2, (6_000, 3))
    events = [[[(10 + a, 1.0)], [(20 + b, 1.0)], [(30 + c, 1.0)]] for a, b, c in sides.tolist()]
    labels = (sides[:, 0] == sides[:, 1]).astype(np.float32)
    model = Gaussian(settings_of(4), 3)
    predictions = model.learn(batch_of(events, labels)).predictions
    assert abs(predictions[-500:] - labels[-500:]).mean() < 0.05

    def strength(i: int, j: int) -> float:
        ends = [10, 20, 30]
        vectors = [
            model.table.gather(np.array([ends[n], ends[n] + 1], np.uint64))[:, FACTORS:].astype(float) for n in (i, j)
        ]
        return abs(model.pair_means[i, j]) * float(np.abs(vectors[0] @ vectors[1].T).max())

    assert strength(0, 1) > 10 * max(strength(0, 2), strength(1, 2))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_an_event_that_was_predicted_all_wrong_moves_its_logit_to_16_on_the_other_side_at_most(label):
    # Given a row of which little is known, and an event whose number is so large that its logit is 6 all the same
    model, x, key = Gaussian(settings_of(0), 1), 300.0, np.array([1], np.uint64)
    weight = np.copysign(6.0 / x, 0.5 - label)
    model.table.put(Rows(keys=key, seen=np.zeros(1, np.int64), parameters=np.array([[weight, 2, 5]], np.float32)))
    model.learn(batch_of([[[(1, x)]]], [label]))
    # Then it moves by 22, and not by 400, as a step of Newton's would
    assert x * float(model.gather(key)[0, WEIGHT]) == pytest.approx(np.copysign(16.0, label - 0.5), rel=1e-4)
    # What it tells counts in full
    assert model.gather(key)[0, WEIGHT_PRECISION] == pytest.approx(2 + x**2 * 0.00246651, rel=1e-4)
