"""Forgetting: half of what is known beyond the prior is left after a half-life, in one step or in many."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.batch import SHARED, Batch, Entries
from worker.model.forgetting import NEVER, TICKS, Clock, advance, growth, left
from worker.model.gaussian import Gaussian, Settings
from worker.model.ledger import Contribution, Ledger
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION, Prior

HOUR = 3_600_000
START = 1_735_689_600_000
PRIOR = Prior(factors=4, seed=3, init_deviation=0.3, weight_precision=2.0, factor_precision=5.0)
FIELDS = 3


def model_of(*, merge: bool = False) -> Gaussian:
    return Gaussian(Settings(prior=PRIOR, merge=merge, half_life_ms=HOUR), FIELDS)


def batch_of(keys: np.ndarray, times: np.ndarray) -> Batch:
    """Events of three values each, whose labels depend on them."""
    n = len(times)
    entries = Entries(
        fields=FIELDS,
        keys=keys.ravel().astype(np.uint64),
        values=np.ones(n * FIELDS, np.float32),
        starts=np.arange(n * FIELDS + 1),
    )
    labels = (keys.sum(axis=1) % 3 == 0).astype(np.float32)
    return Batch(entries=entries, labels=labels, weights=np.ones(n, np.float32), times=times.astype(np.int64))


def stream(n: int, step_ms: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    keys = rng.integers(1, 20, size=(n, FIELDS)) + 100 * np.arange(FIELDS)
    return keys, START + np.arange(n) * step_ms


def clock_at(*times: int) -> Clock:
    clock = Clock(HOUR)
    for time in times:
        advance(clock.words, np.int64(time))
    return clock


def test_a_half_life_leaves_a_half():
    assert left(np.int64(0)) == 1.0
    assert left(np.int64(TICKS)) == 0.5
    assert left(np.int64(10 * TICKS)) == 2.0**-10
    assert left(np.int64(10_000 * TICKS)) == 0.0
    for ticks in range(3 * TICKS):
        assert left(np.int64(ticks)) == pytest.approx(2.0 ** (-ticks / TICKS), rel=1e-14)
        assert growth(ticks) == pytest.approx(2.0 ** (ticks % TICKS / TICKS), rel=1e-14)


def test_the_clock_follows_most_events_and_neither_a_few_that_jumped_nor_late_ones():
    on_time = [START + number for number in range(31)]
    assert clock_at(*on_time[:30]).time is None
    assert clock_at(*on_time).time == START + 15
    # fifteen of thirty-one events from a broken clock do not move it
    century = 100 * 365 * 24 * HOUR
    broken = [time + century if number % 2 else time for number, time in enumerate(on_time)]
    assert clock_at(*broken).time == START + 30
    # and late ones do not turn it back
    late = [time - century for time in on_time]
    assert clock_at(*on_time, *late).time == START + 15


def test_a_clock_is_set_as_it_was():
    clock = clock_at(*[START + number for number in range(40)])
    again = Clock(HOUR)
    again.set(clock.time, clock.pending)
    assert again.words.tobytes() == clock.words.tobytes()
    with pytest.raises(ValueError, match="pending"):
        again.set(clock.time, [START] * 31)


def test_where_nothing_is_forgotten_there_is_no_clock():
    clock = Clock(0)
    assert not clock.runs
    assert (clock.tick, clock.learned_tick) == (0, 0)


def test_what_was_learned_beyond_the_prior_halves_in_a_half_life():
    # Given what was learned from some events
    model = model_of()
    keys, times = stream(31 * 20, 10)
    model.learn(batch_of(keys, times))
    key = keys[0, :1].astype(np.uint64)
    before, prior = model.gather(key)[0].astype(float), model_of().gather(key)[0].astype(float)

    # When other events tell that a half-life has passed
    others, later = stream(31, 0)
    model.learn(batch_of(others + 1_000, later + HOUR + int(times[-1] - START)))

    # Then half of its natural parameters beyond the prior is left
    after = model.gather(key)[0].astype(float)
    ticks = model.clock.tick - int(times[-1] - 15 * 10) * TICKS // HOUR
    share = 2.0 ** (-ticks / TICKS)
    assert share == pytest.approx(0.5, abs=0.02)
    for mean, precision in [(WEIGHT, WEIGHT_PRECISION), *((FACTORS + k, FACTOR_PRECISION) for k in range(4))]:
        assert after[precision] - prior[precision] == pytest.approx(
            share * (before[precision] - prior[precision]), rel=1e-4
        )
        beyond = before[mean] * before[precision] - prior[mean] * prior[precision]
        now = after[mean] * after[precision] - prior[mean] * prior[precision]
        assert now == pytest.approx(share * beyond, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("merge", [False, True])
def test_the_size_of_batches_changes_no_bit(merge):
    keys, times = stream(2_000, HOUR // 300)
    keys = keys.astype(np.uint64) | SHARED if merge else keys
    once, often = model_of(merge=merge), model_of(merge=merge)
    once.learn(batch_of(keys.astype(np.uint64), times))
    for start in range(0, 2_000, 7):
        often.learn(batch_of(keys[start : start + 7].astype(np.uint64), times[start : start + 7]))
    rows = np.unique(keys).astype(np.uint64)
    assert once.table.get(rows).parameters.tobytes() == often.table.get(rows).parameters.tobytes()
    assert once.pair_means.tobytes() == often.pair_means.tobytes()
    assert once.digest() == often.digest()


def test_a_clock_that_jumps_for_good_forgets_all_and_goes_on():
    model = model_of()
    keys, times = stream(500, 10)
    model.learn(batch_of(keys, times))
    model.learn(batch_of(keys, times + 10_000 * 24 * HOUR))
    model.learn(batch_of(keys, times))  # late by as much: learned as of now
    assert model.unstable == 0
    assert np.isfinite(model.table.parameters).all()
    assert np.isfinite(model.pair_means).all()
    assert (model.table.parameters[: len(model.table), WEIGHT_PRECISION] >= PRIOR.weight_precision).all()


TIMES = st.lists(st.integers(0, 11 * TICKS), min_size=1, max_size=12)


@given(TIMES, st.randoms(use_true_random=False))
def test_contributions_add_up_to_the_same_bits_in_any_order(ticks, order):
    rng = np.random.default_rng(len(ticks))
    made = [
        Contribution(
            keys=np.array([1, 2, 3], np.uint64) | SHARED,
            seen=np.full(3, NEVER),
            amounts=rng.integers(-(2**40), 2**40, size=(3, FACTORS + 4)) << 12,
            tick=tick,
        )
        for tick in ticks
    ]
    digests = set()
    for _ in range(4):
        ledger = Ledger(FACTORS + 4)
        for one in made:
            ledger.add(one)
        digests.add(ledger.digest)
        order.shuffle(made)
    assert len(digests) == 1
    assert math.isclose(ledger.tick, max(ticks))


def test_shards_that_forget_add_up_to_one_model():
    """Three shards that merge at every commit know what one that sees all events knows, but for what single events
    told while they did not know of one another."""
    keys, times = stream(6_000, HOUR // 1_000)
    keys = keys.astype(np.uint64) | SHARED
    whole, shards = model_of(merge=True), [model_of(merge=True) for _ in range(3)]
    for start in range(0, 6_000, 30):
        batch = slice(start, start + 30)
        whole.learn(batch_of(keys[batch].astype(np.uint64), times[batch]))
        whole.boundary()
        whole.renew(whole.shared.merged.all().keys)
        whole.table.settle()
        contributions = []
        for number, shard in enumerate(shards):
            mine = slice(start + number, start + 30, 3)
            shard.learn(batch_of(keys[mine].astype(np.uint64), times[mine]))
            contributions.append(shard.boundary()[1])
        for number, shard in enumerate(shards):
            for other, contribution in enumerate(contributions):
                if other != number:
                    shard.shared.merged.add(contribution)
            shard.renew(shard.shared.merged.all().keys)
            shard.table.settle()
    rows = np.unique(keys).astype(np.uint64)
    assert len({shard.shared.merged.digest for shard in shards}) == 1
    for model in (*shards, whole):
        model.shared.own = model.shared.merged  # as it is served
        model.renew(rows)
    merged, one = shards[0].gather(rows), whole.gather(rows)
    assert merged.tobytes() == shards[1].gather(rows).tobytes()
    np.testing.assert_allclose(merged[:, WEIGHT_PRECISION], one[:, WEIGHT_PRECISION], rtol=0.05)
    assert np.corrcoef(merged[:, WEIGHT], one[:, WEIGHT])[0, 1] > 0.99
