"""What shards add to shared rows: integers, so that whoever adds them up, in whichever order, has the same bits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.batch import SHARED
from worker.model.bounds import least
from worker.model.forgetting import NEVER, TICKS
from worker.model.ledger import UNIT, Contribution, Ledger
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION, Prior, Rows
from worker.model.shared import Shared
from worker.model.table import Table

WIDTH = 5
LARGEST = 2**64 - 1
# Keys that share their low bits collide in the index.
KEYS = st.one_of(st.integers(0, 5).map(lambda high: high << 32), st.sampled_from([0, 1, LARGEST]))
TIMES = st.one_of(st.just(int(NEVER)), st.integers(-(2**62), 2**62))
AMOUNTS = st.lists(st.integers(-(2**60), 2**60), min_size=WIDTH, max_size=WIDTH)
ENTRIES = st.lists(st.tuples(KEYS, TIMES, AMOUNTS), max_size=12)

PRIOR = Prior(factors=4, seed=1, init_deviation=0.05, weight_precision=2.0, factor_precision=5.0)
PAIRS = 3


def contribution_of(entries: list[tuple[int, int, list[int]]]) -> Contribution:
    return Contribution(
        keys=np.array([key for key, _, _ in entries], np.uint64),
        seen=np.array([seen for _, seen, _ in entries], np.int64),
        amounts=np.array([amounts for _, _, amounts in entries], np.int64).reshape(len(entries), WIDTH),
    )


def content(ledger: Ledger) -> dict[int, tuple[int, tuple[int, ...]]]:
    held = ledger.all()
    return {
        int(key): (int(seen), tuple(amounts))
        for key, seen, amounts in zip(held.keys, held.seen, held.amounts.tolist(), strict=True)
    }


@given(ENTRIES, st.randoms(), st.integers(1, 5), st.integers(1, 4))
def test_neither_order_nor_grouping_nor_growth_changes_a_sum(entries, random, capacity, size):
    once = Ledger(WIDTH)
    once.add(contribution_of(entries))
    shuffled = entries.copy()
    random.shuffle(shuffled)
    other = Ledger(WIDTH, capacity=capacity)
    for start in range(0, len(shuffled), size):
        other.add(contribution_of(shuffled[start : start + size]))
    assert content(once) == content(other)
    assert once.digest == other.digest
    expected: dict[int, list[int]] = {}
    for key, _, amounts in entries:
        expected[key] = [one + more for one, more in zip(expected.get(key, [0] * WIDTH), amounts, strict=True)]
    assert {key: list(amounts) for key, (_, amounts) in content(once).items()} == expected
    assert {key: seen for key, (seen, _) in content(once).items()} == {
        key: max(seen for other, seen, _ in entries if other == key) for key in expected
    }


@given(ENTRIES, ENTRIES)
def test_a_ledger_added_to_another_is_the_sum_of_both(some, more):
    both, one, other = Ledger(WIDTH), Ledger(WIDTH), Ledger(WIDTH)
    both.add(contribution_of(some + more))
    one.add(contribution_of(some))
    other.add(contribution_of(more))
    one.add(other.all())
    assert content(one) == content(both)
    assert one.digest == both.digest


@given(ENTRIES)
def test_what_is_taken_back_leaves_nothing_and_counts_as_nothing(entries):
    ledger = Ledger(WIDTH)
    ledger.add(contribution_of(entries))
    ledger.add(-contribution_of(entries))
    assert not ledger.all().amounts.any()
    assert ledger.digest == Ledger(WIDTH).digest == 0


@given(ENTRIES.filter(lambda entries: any(any(amounts) for _, _, amounts in entries)), st.integers(0, 62), st.data())
def test_the_digest_knows_every_bit(entries, bit, data):
    ledger = Ledger(WIDTH)
    ledger.add(contribution_of(entries))
    before = ledger.digest
    row, column = data.draw(st.integers(0, len(ledger) - 1)), data.draw(st.integers(0, WIDTH - 1))
    change = ledger.all()[row : row + 1]
    change.amounts[:] = 0
    change.amounts[0, column] = 1 << bit
    ledger.add(change)
    assert ledger.digest != before
    ledger.add(-change)
    assert ledger.digest == before


def test_the_digest_knows_keys_times_and_places():
    digests = set()
    for key, seen, amounts in [
        (1, 5, [1, 2, 0, 0, 0]),
        (2, 5, [1, 2, 0, 0, 0]),
        (1, 6, [1, 2, 0, 0, 0]),
        (1, 5, [2, 1, 0, 0, 0]),
        (1, 5, [0, 1, 2, 0, 0]),
    ]:
        ledger = Ledger(WIDTH)
        ledger.add(contribution_of([(key, seen, amounts)]))
        digests.add(ledger.digest)
    assert len(digests) == 5


def test_what_was_never_added_is_zero():
    ledger = Ledger(WIDTH)
    ledger.add(contribution_of([(7, 1, [1, 2, 3, 4, 5])]))
    found = ledger.get(np.array([8, 7], np.uint64))
    assert found.keys.tolist() == [8, 7]
    assert found.amounts.tolist() == [[0] * WIDTH, [1, 2, 3, 4, 5]]
    assert found.seen.tolist() == [NEVER, 1]
    assert len(ledger) == 1, "asking adds nothing"


def test_what_is_copied_does_not_change_with_the_ledger():
    ledger = Ledger(WIDTH)
    ledger.add(contribution_of([(7, 1, [1] * WIDTH)]))
    copied, found = ledger.all(), ledger.get(np.array([7], np.uint64))
    ledger.add(contribution_of([(7, 2, [1] * WIDTH)]))
    assert copied.amounts.tolist() == found.amounts.tolist() == [[1] * WIDTH]
    assert copied.seen.tolist() == [1]


def test_bytes_are_counted():
    ledger, n = Ledger(WIDTH), 10_000
    ledger.add(
        Contribution(
            keys=np.arange(n, dtype=np.uint64), seen=np.zeros(n, np.int64), amounts=np.ones((n, WIDTH), np.int64)
        )
    )
    assert n * (8 + 8 + 8 * WIDTH + 4) <= ledger.nbytes <= n * (8 + 8 + 8 * WIDTH + 12)


@given(ENTRIES, ENTRIES)
def test_a_bounded_ledger_holds_no_rows_of_zeros_and_adds_up_like_any_other(some, more):
    bounded, free = Ledger(WIDTH, capacity=1, bounded=True), Ledger(WIDTH, bounded=False)
    for ledger in (bounded, free):
        ledger.add(contribution_of(some))
        ledger.add(contribution_of(more))
        ledger.add(-contribution_of(some))

    def amounts(ledger: Ledger) -> dict[int, tuple[int, ...]]:
        return {key: amounts for key, (_, amounts) in content(ledger).items() if any(amounts)}

    assert amounts(bounded) == amounts(free)
    assert len(bounded) == len(amounts(bounded))
    other = Ledger(WIDTH, bounded=True)
    other.add(contribution_of(more))
    assert bounded.digest == other.digest, "however they came by it"
    there = bounded.has(np.array([key for key, _, _ in some + more], np.uint64))
    assert there.tolist() == [key in amounts(bounded) for key, _, _ in some + more]


@given(st.lists(st.sampled_from([0.0, 0.5, 0.5, 1.0, 1e30, 3.0]), min_size=1, max_size=40), st.data())
def test_the_least_of_all_are_found_and_of_equal_ones_those_of_the_smallest_keys(information, data):
    keys = np.array(data.draw(st.permutations(range(len(information)))), np.uint64)
    n = data.draw(st.integers(1, len(information)))
    rows = least(np.array(information, np.float32), keys, n)
    order = sorted(range(len(information)), key=lambda row: (np.float32(information[row]), keys[row]))
    assert rows.tolist() == sorted(order[:n])


def shared(factors: int = 4, *, fades: bool = False) -> Shared:
    return Shared(Prior(**(vars(PRIOR) | {"factors": factors})), PAIRS, pair_precision=1.0, fades=fades)


def keys_of(n: int) -> np.ndarray:
    return (np.random.default_rng(3).integers(1, 2**63, n, np.uint64)) | SHARED


def learned(keys: np.ndarray, seed: int, factors: int = 4, *, precise: float = 1_000.0) -> Rows:
    """Rows as learning leaves them: any means, precisions that have only risen."""
    rng = np.random.default_rng(seed)
    parameters = rng.normal(0, 0.5, (len(keys), FACTORS + factors)).astype(np.float32)
    parameters[:, WEIGHT_PRECISION] = 2 + rng.exponential(precise, len(keys))
    parameters[:, FACTOR_PRECISION] = 5 + rng.exponential(precise, len(keys))
    return Rows(keys=keys, seen=rng.integers(1, 10**12, len(keys)), parameters=parameters)


def pairs_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(1, 0.3, PAIRS).astype(np.float32), (1 + rng.exponential(50, PAIRS)).astype(np.float32)


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether they differ by a unit in the last place at most, or by one of a ledger where they are near zero."""
    return bool((np.abs(one - other) <= np.maximum(np.spacing(np.abs(other)), 2.0**-32)).all())


@pytest.mark.parametrize("factors", [0, 1, 4, 16])
def test_a_row_that_nobody_moved_is_the_prior_of_the_table_to_the_bit(factors):
    keys = keys_of(200)
    some = shared(factors)
    rows = some.rows(keys)
    assert rows.parameters.tobytes() == Table(some.prior).gather(keys).tobytes()
    assert (rows.seen == NEVER).all()
    means, precisions = some.pairs()
    assert (means.tolist(), precisions.tolist()) == ([1.0] * PAIRS, [1.0] * PAIRS)


@pytest.mark.parametrize("factors", [0, 1, 16])
@pytest.mark.parametrize("precise", [0.01, 10.0, 1e5])
def test_what_is_contributed_comes_back_within_one_unit_in_the_last_place(factors, precise):
    some, rows, pairs = shared(factors), learned(keys_of(500), 1, factors, precise=precise), pairs_of(1)
    contribution = some.contribute(rows, *pairs)
    assert len(contribution) == 500 + PAIRS
    back = some.rows(rows.keys)
    assert close(back.parameters, rows.parameters)
    assert back.seen.tolist() == rows.seen.tolist()
    for told, given_ in zip(some.pairs(), pairs, strict=True):
        assert close(told, given_)


def test_who_learned_nothing_adds_nothing():
    """Rows are rounded to single precision: what that takes off must not count as learned, again and again."""
    some, keys = shared(), keys_of(300)
    some.contribute(learned(keys, 1), *pairs_of(1))
    some.merged.add(contribution_like(some, keys, seed=5))  # a peer's: now no row is one that could be written down
    before = some.merged.digest, some.own.digest
    for _ in range(3):
        contribution = some.contribute(some.rows(keys), *some.pairs())
        assert contribution.keys.tolist() == keys.tolist(), "no pair moved"
        assert not contribution.amounts.any()
    assert (some.merged.digest, some.own.digest) == before


def contribution_like(some: Shared, keys: np.ndarray, seed: int) -> Contribution:
    rng = np.random.default_rng(seed)
    keys = np.concatenate([keys, some.pair_keys])
    amounts = rng.integers(0, 2**33, (len(keys), FACTORS + some.prior.factors))
    return Contribution(keys=keys, seen=np.full(len(keys), NEVER), amounts=amounts)


def test_shards_that_learn_side_by_side_hold_the_product_of_their_posteriors():
    # Given two shards that both began at the prior
    keys = keys_of(100)
    one, other = shared(), shared()
    rows = learned(keys, 1), learned(keys, 2)
    added = one.contribute(rows[0], *pairs_of(1)), other.contribute(rows[1], *pairs_of(2))
    # When each folds in what the other added
    one.merged.add(added[1])
    other.merged.add(added[0])
    # Then they hold the same to the bit: precisions add, and means by their precision, the prior counted once
    assert one.merged.digest == other.merged.digest
    one, other = whole(one), whole(other)
    assert one.rows(keys).parameters.tobytes() == other.rows(keys).parameters.tobytes()
    assert [part.tobytes() for part in one.pairs()] == [part.tobytes() for part in other.pairs()]
    first, second, both = (part.astype(np.float64) for part in (rows[0].parameters, rows[1].parameters,
                                                                 one.rows(keys).parameters))  # fmt: skip
    prior = Table(PRIOR).gather(keys).astype(np.float64)
    for precision, means in ((WEIGHT_PRECISION, [WEIGHT]), (FACTOR_PRECISION, range(FACTORS, FACTORS + 4))):
        total = first[:, precision] + second[:, precision] - prior[:, precision]
        np.testing.assert_allclose(both[:, precision], total, rtol=1e-6)
        for mean in means:
            weighted = sum(part[:, precision] * part[:, mean] for part in (first, second))
            weighted -= prior[:, precision] * prior[:, mean]
            np.testing.assert_allclose(both[:, mean], weighted / total, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("fades", [False, True])
def test_a_shard_holds_a_row_no_more_precise_than_twice_what_it_would_know_alone(fades):
    # Given a shard that has learned some rows, and seven others that learned more of them, much later
    keys, some = keys_of(100), shared(fades=fades)
    mine = learned(keys, 1, precise=20.0)
    some.contribute(mine, *pairs_of(1))
    for seed in range(2, 9):
        theirs = shared(fades=fades).contribute(learned(keys, seed, precise=20.0), *pairs_of(seed))
        some.merged.add(replace(theirs, tick=3 * TICKS) if fades else theirs)
    # Then its means are those of all
    rows, all_ = some.rows(keys).parameters.astype(np.float64), whole(some).rows(keys).parameters.astype(np.float64)
    means = [WEIGHT, *range(FACTORS, FACTORS + 4)]
    assert rows[:, means].tobytes() == all_[:, means].tobytes()
    assert some.pairs()[0].tobytes() == whole(some).pairs()[0].tobytes()
    # And a precision is that of all, or twice its own if that is less
    left = 1 / 8 if fades else 1.0
    for column, prior in ((WEIGHT_PRECISION, 2.0), (FACTOR_PRECISION, 5.0)):
        alone = prior + left * (mine.parameters[:, column] - prior)
        np.testing.assert_allclose(rows[:, column], np.minimum(all_[:, column], 2 * alone), rtol=1e-5)
        assert 0 < np.count_nonzero(rows[:, column] < all_[:, column]) <= 100
    alone = 1 + left * (pairs_of(1)[1] - 1)
    np.testing.assert_allclose(some.pairs()[1], np.minimum(whole(some).pairs()[1], 2 * alone), rtol=1e-5)
    # And what it learns from there is added as it is
    more = Rows(keys=keys, seen=mine.seen, parameters=some.rows(keys).parameters.copy(), as_of=some.rows(keys).as_of)
    more.parameters[:, WEIGHT_PRECISION] += 4
    added = some.contribute(more, *some.pairs(), now=some.tick, counts=some.tick)
    np.testing.assert_allclose(added.amounts[:, WEIGHT_PRECISION] * UNIT, 4.0, rtol=1e-5)


def test_a_shard_that_is_alone_holds_a_row_as_precise_as_it_is():
    some, rows = shared(), learned(keys_of(100), 1)
    some.contribute(rows, *pairs_of(1))
    assert some.rows(rows.keys).parameters.tobytes() == whole(some).rows(rows.keys).parameters.tobytes()


def whole(some: Shared) -> Shared:
    """The rows of all shards together."""
    speaker = shared(fades=some.tick > 0)
    speaker.own = speaker.merged = some.merged
    return speaker


def test_a_shard_knows_what_it_added_itself_apart_from_the_others():
    one, other, keys = shared(), shared(), keys_of(10)
    mine = one.contribute(learned(keys, 1), *pairs_of(1))
    theirs = other.contribute(learned(keys, 2), *pairs_of(2))
    one.merged.add(theirs)
    assert one.own.get(mine.keys).amounts.tolist() == mine.amounts.tolist()
    one.merged.add(-mine)
    assert one.merged.get(theirs.keys).amounts.tolist() == other.merged.get(theirs.keys).amounts.tolist()


def test_pairs_are_no_rows():
    some = shared()
    contribution = some.contribute(learned(keys_of(5), 1), *pairs_of(1))
    assert some.rows(contribution.keys).keys.tolist() == keys_of(5).tolist()
    assert len(set(some.pair_keys.tolist())) == PAIRS
    assert all(key & int(SHARED) for key in some.pair_keys.tolist())


@pytest.mark.parametrize("precision", [1e8, 1e20, 1e30])
def test_rows_that_are_known_too_precisely_keep_their_means_and_get_no_more_precise(precision):
    """Such as of a number in the thousands that is not scaled: sums of integers end somewhere."""
    shards, keys = [shared() for _ in range(64)], keys_of(5)
    rows = learned(keys, 1)
    rows.parameters[:, [WEIGHT_PRECISION, FACTOR_PRECISION]] = np.float32(precision)
    pairs = pairs_of(1)[0], np.full(PAIRS, precision, np.float32)
    # Given shards that come that far at once, of which none knows of the others
    added = [some.contribute(rows, *pairs) for some in shards]
    (first, *_) = shards
    for contribution in added[1:]:
        first.merged.add(contribution)
    # Then their sum is what each of them learned
    both = first.rows(keys).parameters
    means = [WEIGHT, *range(FACTORS, FACTORS + 4)]
    np.testing.assert_allclose(both[:, means], rows.parameters[:, means], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(first.pairs()[0], pairs[0], rtol=1e-3)
    # And learning goes on from there without gaining precision
    again = Rows(keys=keys, seen=rows.seen, parameters=both + np.float32(0.01))
    more = first.contribute(again, first.pairs()[0] + np.float32(0.01), first.pairs()[1])
    assert not more.amounts[:, [WEIGHT_PRECISION, FACTOR_PRECISION]].any()
    assert (first.rows(keys).parameters[:, means] > both[:, means]).all()
