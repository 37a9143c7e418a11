"""Draws: their moments over many seeds are those that the model reports, and what is shared is drawn once."""

import math

import numpy as np
import pytest

from worker.model.batch import Batch, Entries
from worker.model.gaussian import Gaussian, Settings
from worker.model.rows import Prior
from worker.model.sampling import draw_logits, sample

SEEDS = 4_000


def model_of(*, factors: int = 8, logistic: bool = True) -> Gaussian:
    prior = Prior(factors=factors, seed=0, init_deviation=0.3, weight_precision=2.0, factor_precision=5.0)
    return Gaussian(Settings(prior=prior, logistic=logistic), fields=3)


def entries_of(*pairs: tuple[int, int]) -> Entries:
    """Events of a bias, a user and an item."""
    keys = [key for user, item in pairs for key in (1, 100 + user, 10_000 + item)]
    return Entries(
        fields=3,
        keys=np.array(keys, np.uint64),
        values=np.ones(len(keys), np.float32),
        starts=np.arange(3 * len(pairs) + 1),
    )


def learn(model: Gaussian, n: int, user: int = 0, item: int = 0) -> None:
    model.learn(
        Batch(
            entries=entries_of(*[(user, item)] * n),
            labels=(np.arange(n) % 3 == 0).astype(np.float32),
            weights=np.ones(n, np.float32),
            times=np.arange(n),
        )
    )


def drawn(model: Gaussian, entries: Entries) -> np.ndarray:
    """Draw logits [seeds, n]."""
    parameters = model.gather(entries.keys)
    return np.array(
        [draw_logits(entries, parameters, model.pair_means, model.pair_precisions, seed) for seed in range(SEEDS)]
    )


@pytest.mark.parametrize("events", [0, 20, 2_000])
@pytest.mark.parametrize("factors", [0, 8])
def test_draws_have_the_mean_and_the_variance_that_are_reported(events: int, factors: int) -> None:
    model, entries = model_of(factors=factors), entries_of((0, 0), (0, 1))
    learn(model, events)
    scores, logits = model.predict(entries), drawn(model, entries)
    f = np.log(scores.predictions) - np.log1p(-scores.predictions)
    # Of so many normal draws the mean is within five of its own deviations, and the variance too.
    assert (np.abs(logits.mean(axis=0) - f) < 5 * np.sqrt(scores.variances / SEEDS) + 1e-5).all()
    assert (np.abs(logits.var(axis=0) / scores.variances - 1) < 5 * math.sqrt(2 / SEEDS)).all()


def test_exploration_shrinks_as_a_row_is_learned() -> None:
    model, entries = model_of(), entries_of((0, 0))
    spread = []
    for _ in range(4):
        spread.append(float(drawn(model, entries).std()))
        learn(model, 200)
    assert spread == sorted(spread, reverse=True)
    assert spread[-1] < spread[0] / 4


def test_the_same_seed_gives_the_same_bits_whatever_else_is_scored() -> None:
    model = model_of()
    learn(model, 50)
    entries = entries_of((0, 0), (0, 1), (5, 0))
    parameters = model.gather(entries.keys)
    first = sample(model, entries, parameters, 7, logistic=True)
    assert sample(model, entries, parameters, 7, logistic=True).tobytes() == first.tobytes()
    assert (sample(model, entries, parameters, 8, logistic=True) != first).all()
    for number, pair in enumerate([(0, 0), (0, 1), (5, 0)]):
        alone = entries_of(pair)
        assert sample(model, alone, model.gather(alone.keys), 7, logistic=True)[0] == first[number]
    assert model.gather(entries.keys).tobytes() == parameters.tobytes(), "a draw changes nothing"


def test_events_that_share_rows_share_their_draws() -> None:
    """Two candidates for one user, of whom nothing is known, of two items that are known well: they move together."""
    model = model_of(factors=0)
    for item in (0, 1):
        learn(model, 3_000, user=1, item=item)
    logits = drawn(model, entries_of((9, 0), (9, 1), (8, 0)))
    together = np.corrcoef(logits.T)
    assert together[0, 1] > 0.95
    assert abs(together[0, 2]) < 0.2


def test_a_squared_loss_draws_values() -> None:
    model, entries = model_of(logistic=False), entries_of((0, 0))
    parameters = model.gather(entries.keys)
    logits = draw_logits(entries, parameters, model.pair_means, model.pair_precisions, 3)
    assert sample(model, entries, parameters, 3, logistic=False).tolist() == logits.astype(np.float32).tolist()


@pytest.mark.parametrize(("seed", "bits"), [(0, "0x1.e49750ff508f5p+0"), (2**63 - 1, "0x1.aab97d5178952p-1")])
def test_the_bits_of_a_draw(seed: int, bits: str) -> None:
    """A seed that was noted has to give the same ranking later, and elsewhere."""
    model, entries = model_of(), entries_of((0, 0))
    logits = draw_logits(entries, model.gather(entries.keys), model.pair_means, model.pair_precisions, seed)
    assert float(logits[0]).hex() == bits
