"""Shares of a logit: worked out by hand once, and held against the learner's own prediction and its derivatives."""

import math
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.model.batch import Batch, Entries
from worker.model.explain import Shares, explain
from worker.model.gaussian import Gaussian, Settings
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT_PRECISION, Prior

Event = list[list[tuple[int, float]]]  # by field: (key, multiplier); an empty field is missing


def entries_of(event: Event) -> Entries:
    flat = [entry for field in event for entry in field]
    return Entries(
        fields=len(event),
        keys=np.array([key for key, _ in flat], np.uint64),
        values=np.array([x for _, x in flat], np.float32),
        starts=np.concatenate([[0], np.cumsum([len(field) for field in event])]).astype(np.int64),
    )


def test_an_example_by_hand() -> None:
    # Field 0 has one entry with x = 1, field 1 is missing, field 2 has two with x = 1/2 and 2
    entries = entries_of([[(1, 1.0)], [], [(2, 0.5), (3, 2.0)]])
    parameters = np.array(
        [[0.25, 4, 2, 1, 0], [1, 2, 4, 2, 2], [-0.5, 8, 16, 0.5, 0.25]],  # w, its precision, that of v, v
        np.float32,
    )
    means, precisions = np.full((3, 3), 0.5, np.float32), np.full((3, 3), 10, np.float32)
    shares = explain(entries, parameters, means, precisions)
    # u_2 = 0.5 * 1 - 2 * 0.5; e_0 = (1, 0), e_2 = (2, 1.5), so r <e_0, e_2> = 0.5 * 2
    assert shares.fields.tolist() == [0.25, 0.0, -0.5]
    assert (shares.pairs, shares.pair_shares.tolist()) == ([(0, 2)], [1.0])
    assert shares.logit == 0.75
    # V_0 = 1 / 2, V_2 = 0.25 / 4 + 4 / 16; |e_0|^2 = 1, |e_2|^2 = 6.25
    assert shares.field_variances.tolist() == [0.25, 0.0, 0.25 / 2 + 4 / 8]
    assert shares.pair_variances.tolist() == [4 / 10 + 0.25 * (6.25 * 0.5 + 1 * 0.3125)]
    assert shares.covariance == 0.0  # there is one pair only


def derivatives(entries: Entries, parameters: np.ndarray, means: np.ndarray) -> list[np.ndarray]:
    """Give d(part)/d(parameter) of all parts, numerically exact: each part is linear in each parameter."""

    def parts(rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        shares = explain(entries, rows, pairs, np.ones_like(means))
        return np.concatenate([shares.fields, shares.pair_shares])

    rows, pairs = parameters.astype(np.float64), means.astype(np.float64)
    start, found = parts(rows, pairs), []
    for at in np.ndindex(rows.shape):
        moved = rows.copy()
        moved[at] += 1.0
        found.append(parts(moved, pairs) - start)
    for pair in combinations(range(entries.fields), 2):
        moved = pairs.copy()
        moved[pair] += 1.0
        found.append(parts(rows, moved) - start)
    return found


@st.composite
def events(draw: st.DrawFn) -> tuple[Event, int]:
    """An event of up to five fields, some missing, and a seed for the model."""
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    x = st.floats(-2, 2, width=32)
    event = [[(100 * field + n, draw(x)) for n in range(length)] for field, length in enumerate(lengths)]
    return event, draw(st.integers(0, 1_000))


def model_of(fields: int, factors: int, seed: int) -> Gaussian:
    rng = np.random.default_rng(seed)
    prior = Prior(factors=factors, seed=seed, init_deviation=0.5, weight_precision=2.0, factor_precision=5.0)
    model = Gaussian(Settings(prior=prior, pair_precision=1.5), fields)
    model.pair_means[:] = rng.normal(size=model.pair_means.shape)
    model.pair_precisions[:] = rng.uniform(1, 20, model.pair_precisions.shape)
    return model


def learned(model: Gaussian, event: Event) -> np.ndarray:
    entries = entries_of(event)
    one = Batch(
        entries=entries, labels=np.ones(1, np.float32), weights=np.ones(1, np.float32), times=np.zeros(1, np.int64)
    )
    for _ in range(3):
        model.learn(one)
    return model.gather(entries.keys)


def total(shares: Shares) -> float:
    return math.fsum([*shares.field_variances, *shares.pair_variances, shares.covariance])


@given(events(), st.sampled_from([0, 1, 4]))
def test_shares_add_up_to_what_the_learner_predicts(example: tuple[Event, int], factors: int) -> None:
    event, seed = example
    model = model_of(len(event), factors, seed)
    parameters = learned(model, event)
    shares = explain(entries_of(event), parameters, model.pair_means, model.pair_precisions)
    assert math.fsum([*shares.fields, *shares.pair_shares]) == shares.logit
    assert total(shares) == shares.variance
    # The learner works in single precision: as far as its rounding goes, for parts of this size
    scores = model.predict(entries_of(event), parameters)
    size = np.abs(shares.fields).sum() + np.abs(shares.pair_shares).sum()
    assert abs(1 / (1 + math.exp(-shares.logit)) - scores.predictions[0]) <= 1e-5 * (1 + size)
    parts = shares.field_variances.sum() + shares.pair_variances.sum() + abs(shares.covariance)
    assert abs(shares.variance - scores.variances[0]) <= 1e-5 * (1 + parts)


@given(events())
def test_variances_and_covariance_are_those_of_the_first_order(example: tuple[Event, int]) -> None:
    event, seed = example
    model, entries = model_of(len(event), 2, seed), entries_of(event)
    parameters = learned(model, event)
    shares = explain(entries, parameters, model.pair_means, model.pair_precisions)
    d = np.array(derivatives(entries, parameters, model.pair_means)).reshape(-1, len(event) + len(shares.pairs))
    precisions, width = parameters.astype(np.float64), parameters.shape[1]
    variances = np.zeros(len(d))  # of each parameter; none of a precision, on which no part depends
    for a, row in enumerate(precisions):
        variances[a * width] = 1 / row[WEIGHT_PRECISION]
        variances[a * width + FACTORS : (a + 1) * width] = 1 / row[FACTOR_PRECISION]
    upper = np.triu_indices(len(event), 1)
    variances[len(precisions) * width :] = 1 / model.pair_precisions[upper].astype(np.float64)
    together = (d * variances[:, None]).T @ d
    near = 1e-9 * (1 + np.abs(together).sum())
    parts = np.concatenate([shares.field_variances, shares.pair_variances])
    assert np.abs(np.diag(together) - parts).max() <= near
    assert abs(together.sum() - np.trace(together) - shares.covariance) <= near


def test_a_linear_model_has_shares_of_fields_only() -> None:
    event: Event = [[(1, 1.0)], [(2, 1.0)]]
    model = model_of(2, 0, 1)
    shares = explain(entries_of(event), learned(model, event), model.pair_means, model.pair_precisions)
    assert (shares.pairs, shares.pair_shares.size, shares.covariance) == ([], 0, 0.0)
    assert shares.logit == math.fsum(shares.fields) != 0.0
