"""Loosened rows say what they said and are less sure; whoever has learned something loosens that, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.batches import batch_of
from worker.model.batch import SHARED
from worker.model.bounds import Bounds
from worker.model.forgetting import NEVER, left
from worker.model.gaussian import Gaussian, Settings
from worker.model.ledger import SPARE_BITS, UNIT, Contribution
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION, Prior

PRIOR = Prior(factors=4, seed=3, init_deviation=0.3, weight_precision=2.0, factor_precision=5.0)
HOUR = 3_600_000
FIELDS = 3
LIMIT = 3.0
MEANS = [WEIGHT, *range(FACTORS, FACTORS + 4)]


def model_of(*, merge: bool = False, half_life_ms: int = 0) -> Gaussian:
    return Gaussian(Settings(prior=PRIOR, merge=merge, half_life_ms=half_life_ms), FIELDS)


def learn(model: Gaussian, n: int, seed: int, *, shared: bool = False, start: int = 0, step: int = 1) -> None:
    """Events of a bias and two categories, of which few come often."""
    rng = np.random.default_rng(seed)
    bit = int(SHARED) if shared else 0
    one, other = rng.zipf(1.5, n) % 1_000, rng.integers(8, size=n)
    events = [
        [[(1 | bit, 1.0)], [(100 + a, 1.0)], [(2_000 + b | bit, 1.0)]]
        for a, b in zip(one.tolist(), other.tolist(), strict=True)
    ]
    model.learn(batch_of(events, (one + other) % 3 == 0, times=start + step * np.arange(n)))


def all_of(model: Gaussian) -> np.ndarray:
    keys = np.sort(model.table.keys[: len(model.table)])
    return model.table.gather(keys)


def less_sure(precision: np.ndarray, prior: float, limit: float = LIMIT) -> np.ndarray:
    beyond = precision.astype(np.float64) - prior
    return prior + beyond * limit / (limit + beyond / prior)


def test_rows_and_pairs_say_the_same_and_are_as_sure_as_the_limit_allows():
    model = model_of()
    learn(model, 3_000, 1)
    before, pairs, digest = all_of(model), model.pair_precisions.copy(), model.digest()
    means = model.pair_means.copy()
    model.loosen(LIMIT)
    after = all_of(model)
    assert after[:, MEANS].tobytes() == before[:, MEANS].tobytes()
    for column, prior in ((WEIGHT_PRECISION, 2.0), (FACTOR_PRECISION, 5.0)):
        assert after[:, column] == pytest.approx(less_sure(before[:, column], prior), rel=1e-6)
        assert before[:, column].max() > (1 + LIMIT) * prior > after[:, column].max()
    upper = np.triu_indices(FIELDS, 1)
    assert model.pair_means.tobytes() == means.tobytes()
    assert model.pair_precisions[upper] == pytest.approx(less_sure(pairs[upper], 1.0), rel=1e-6)
    assert model.digest() != digest


def test_what_is_hardly_known_stays_as_it_is_known():
    model = model_of()
    learn(model, 3_000, 1)
    before = all_of(model)[:, WEIGHT_PRECISION].astype(np.float64) - 2.0
    model.loosen(LIMIT)
    left = (all_of(model)[:, WEIGHT_PRECISION] - 2.0) / before
    seldom = before < 0.6
    assert seldom.any()
    assert left[seldom].min() > 0.9
    assert left[before > 100].max() < 0.1


def test_all_local_rows_travel_with_the_next_version():
    model = model_of()
    learn(model, 500, 1)
    model.digest()
    assert len(model.table.touched()) == 0
    model.loosen(LIMIT)
    touched = model.table.touched()
    assert sorted(touched.keys.tolist()) == sorted(model.table.keys[: len(model.table)].tolist())


def test_what_has_faded_is_loosened_as_it_counts_now():
    """Else how sure a row stays would depend on when it was used last."""
    model = model_of(half_life_ms=HOUR)
    learn(model, 500, 1, step=1_000)
    model.learn(batch_of([[[(1, 1.0)], [], []]] * 62, [1, 0] * 31, times=[10 * HOUR] * 62))
    keys = np.sort(model.table.keys[: len(model.table)])
    before = model.gather(keys)
    model.loosen(LIMIT)
    after = model.gather(keys)
    assert set(model.table.as_of[: len(keys)].tolist()) == {model.clock.tick, NEVER}, "of before the clock ran"
    assert after[:, MEANS].tobytes() == before[:, MEANS].tobytes()
    assert after[:, WEIGHT_PRECISION] == pytest.approx(less_sure(before[:, WEIGHT_PRECISION], 2.0), rel=1e-6)


def commit(models: list[Gaussian]) -> list:
    """Let each tell what it has added, and know what the others have."""
    contributions = [model.boundary()[1] for model in models]
    for number, model in enumerate(models):
        for other, contribution in enumerate(contributions):
            if other != number:
                model.shared.merged.add(contribution)
        model.renew(np.unique(np.concatenate([contribution.keys for contribution in contributions])))
        model.digest()
    return contributions


def served(model: Gaussian) -> np.ndarray:
    """Shared rows as whoever serves them makes them, [rows, 3 + K]."""
    shared = model.shared
    own, shared.own = shared.own, shared.merged
    keys = np.sort(shared.merged.all().keys)
    rows = shared.values(keys[~shared.are_pairs(keys)])
    shared.own = own
    return rows


def merged(shards: int, *, half_life_ms: int = 0) -> list[Gaussian]:
    models = [model_of(merge=True, half_life_ms=half_life_ms) for _ in range(shards)]
    for number in range(4):
        for shard, model in enumerate(models):
            learn(model, 500, 10 * number + shard, shared=True, start=number * HOUR)
        commit(models)
    return models


@pytest.mark.parametrize("half_life_ms", [0, 24 * HOUR])
def test_where_all_shards_loosen_what_they_added_up_to_is_loosened_once(half_life_ms):
    models = merged(3, half_life_ms=half_life_ms)
    before = served(models[0])
    for model in models:
        model.loosen(LIMIT)
    contributions = commit(models)
    assert len({model.shared.merged.digest for model in models}) == 1
    after = served(models[0])
    # Amounts are rounded, where they fade to 2^-20
    assert after[:, MEANS] == pytest.approx(before[:, MEANS], abs=1e-5)
    assert after[:, WEIGHT_PRECISION] == pytest.approx(less_sure(before[:, WEIGHT_PRECISION], 2.0), rel=1e-5)
    assert after[:, FACTOR_PRECISION] == pytest.approx(less_sure(before[:, FACTOR_PRECISION], 5.0), rel=1e-5)
    for contribution in contributions:
        assert (contribution.amounts[:, WEIGHT_PRECISION] < 0).all(), "it takes back"
        if half_life_ms:
            assert not (contribution.amounts & ((1 << SPARE_BITS) - 1)).any()


def test_a_shard_that_loosens_alone_takes_back_nothing_of_the_others():
    models = merged(3)
    others = [model.shared.own.all() for model in models[1:]]
    own = models[0].shared.own.all()
    models[0].loosen(LIMIT)
    commit(models)
    for model, before in zip(models[1:], others, strict=True):
        assert model.shared.own.get(before.keys).amounts.tolist() == before.amounts.tolist()
    after = models[0].shared.own.get(own.keys)
    assert (after.amounts[:, WEIGHT_PRECISION] < own.amounts[:, WEIGHT_PRECISION]).all()
    assert (after.amounts[:, WEIGHT_PRECISION] > 0).all()


def test_what_was_learned_since_the_last_commit_gives_way_too():
    """A shard alone, so that all its evidence is its own: committed before it loosens, or not."""
    committed, pending = model_of(merge=True), model_of(merge=True)
    for model in (committed, pending):
        learn(model, 1_500, 1, shared=True)
    commit([committed])
    keys = np.sort(committed.shared.own.all().keys)
    rows = keys[~committed.shared.are_pairs(keys)]
    before = pending.table.gather(rows)
    for model in (committed, pending):
        model.loosen(LIMIT)
        assert model.table.gather(rows)[:, MEANS] == pytest.approx(before[:, MEANS], abs=1e-6)
        assert model.table.gather(rows)[:, 1] == pytest.approx(less_sure(before[:, 1], 2.0), rel=1e-5)
    commit([committed])
    commit([pending])
    # Counted in units of 2^-32, of rows of single precision
    near = pytest.approx(committed.shared.own.get(keys).amounts * UNIT, rel=1e-4, abs=1e-4)
    assert pending.shared.own.get(keys).amounts * UNIT == near


def learn_others(model: Gaussian, start: int) -> None:
    """Move the clock on, by events of other shared rows."""
    events = [[[(5 | int(SHARED), 1.0)], [], []]] * 62
    model.learn(batch_of(events, [1, 0] * 31, times=[start + HOUR] * 62))


@pytest.mark.parametrize("half_life_ms", [0, HOUR])
def test_a_row_that_was_not_touched_since_the_commit_adds_nothing_new(half_life_ms):
    """Its contribution takes back, and the row is what the ledger says by then, to the bit."""
    (model,) = merged(1, half_life_ms=half_life_ms)
    learn_others(model, 3 * HOUR)
    commit([model])
    keys = model.shared.own.all().keys
    rows = keys[~model.shared.are_pairs(keys)]
    model.loosen(LIMIT)
    assert model.table.gather(rows).tobytes() == model.shared.values(rows).tobytes()
    if half_life_ms:
        assert set(model.table.get(rows).as_of.tolist()) == {model.shared.tick}
    told = model.shared.own.digest
    commit([model])
    assert model.shared.own.digest == told


def test_what_the_ledger_knows_has_faded_by_the_time_of_what_was_learned_since():
    (model,) = merged(1, half_life_ms=HOUR)
    learn(model, 100, 7, shared=True, start=6 * HOUR)
    shared, tick = model.shared, model.clock.tick
    keys = model.table.touched().keys
    keys = keys[((keys & SHARED) != 0) & (model.table.get(keys).as_of == tick)]
    assert len(keys) == 9
    share = left(np.int64(tick - shared.tick))
    assert share < 0.2

    def as_of_now(parameters: np.ndarray) -> np.ndarray:
        return 2.0 + share * (parameters[:, WEIGHT_PRECISION].astype(np.float64) - 2.0)

    now, old = model.table.gather(keys)[:, WEIGHT_PRECISION].astype(np.float64), as_of_now(shared.values(keys))
    model.loosen(LIMIT)
    expected = as_of_now(shared.values(keys)) + (now - old) * LIMIT / (LIMIT + (now - 2.0) / 2.0)
    assert model.table.gather(keys)[:, WEIGHT_PRECISION] == pytest.approx(expected, rel=1e-6)
    assert (expected < now - 0.1).any()


def test_a_bounded_table_lets_go_of_a_row_to_which_nothing_of_its_shard_is_left():
    """A restore knows which rows there are from the ledger alone."""
    settings = Settings(prior=PRIOR, merge=True, half_life_ms=HOUR, bounds=Bounds(rows=100))
    model, key = Gaussian(settings, FIELDS), np.array([7 | int(SHARED)], np.uint64)
    amounts = np.zeros((1, FACTORS + 4), np.int64)
    amounts[0, WEIGHT_PRECISION] = 1 << SPARE_BITS
    mine = Contribution(keys=key, seen=np.array([1]), amounts=amounts)
    model.learn(batch_of([[[(1, 1.0)], [], []]] * 31, [1] * 31, times=[HOUR] * 31))  # which starts the clock
    commit([model])
    mine = replace(mine, tick=model.clock.tick)
    model.take_over(mine)
    model.shared.merged.add(replace(mine, amounts=amounts << 30))
    model.renew(key)
    model.digest()
    assert model.table.has(key).all()
    model.loosen(LIMIT)
    _, contribution = model.boundary()
    assert contribution.amounts[contribution.keys == key].tolist() == (-amounts).tolist()
    assert not model.shared.holds(key).any()
    assert not model.table.has(key).any()


def test_learning_goes_on_from_there_and_faster():
    """Half of the categories turn around: a loosened model is right about them much sooner."""
    models = [model_of(), model_of()]
    for model in models:
        learn(model, 20_000, 1)
    models[1].loosen(10.0)
    losses = []
    rng = np.random.default_rng(9)
    one, other = rng.zipf(1.5, 2_000) % 1_000, rng.integers(8, size=2_000)
    labels = ((one + other) % 3 == 0) ^ (other % 2 == 0)
    events = [
        [[(1, 1.0)], [(100 + a, 1.0)], [(2_000 + b, 1.0)]] for a, b in zip(one.tolist(), other.tolist(), strict=True)
    ]
    for model in models:
        p = np.clip(model.learn(batch_of(events, labels)).predictions.astype(np.float64), 1e-6, 1 - 1e-6)
        losses.append(-np.mean(np.where(labels, np.log(p), np.log(1 - p))))
    assert losses[1] < 0.8 * losses[0]
