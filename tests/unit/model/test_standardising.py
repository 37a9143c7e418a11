"""Numbers on one scale: by the median and the spread of those before, whatever comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.scales import standard_of
from worker.model.batch import Batch, Entries
from worker.model.cells import Cells
from worker.model.standardising import WORDS, Standardiser

FIRST = 31
CLIP = 10.0
ANY = st.floats(allow_nan=False, allow_infinity=False)
# Numbers as they come, and some that differ by hundreds of orders of magnitude; None is missing.
NUMBERS = st.one_of(st.none(), st.integers(-3, 3).map(float), st.floats(-50, 50), ANY)
EVENTS = st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from([1.0, 1.0, 1.0, 0.0, 0.5])), max_size=150)


class Shard:
    """The numbers of a shard, in fields 2 and 1 of three, of events of which each has a bias."""

    def __init__(self, *, fields: tuple[int, ...] = (2, 1), clip: float = CLIP) -> None:
        self.fields = fields
        self.cells = Cells({"other": 3, "numbers": WORDS * len(fields)})
        self.standardiser = Standardiser(self.cells, fields, [clip] * len(fields))

    def take(self, events: list[tuple], weights=None) -> np.ndarray:
        """Learn events; give what their numbers entered as [n, S]."""
        return self._values(self.standardiser.take(batch_of(events, self.fields, weights)).entries, len(events))

    def score(self, events: list[tuple]) -> np.ndarray:
        return self._values(self.standardiser.standardise(batch_of(events, self.fields).entries), len(events))

    def _values(self, entries: Entries, n: int) -> np.ndarray:
        assert entries.numbers is None
        values = np.full((n, len(self.fields)), np.nan, np.float32)
        for event in range(n):
            assert entries.values[entries.starts[event * entries.fields]] == 1.0, "the bias stays"
            for at, field in enumerate(self.fields):
                here = slice(*entries.starts[event * entries.fields + field :][:2])
                if here.stop > here.start:
                    (values[event, at],) = entries.values[here]
        return values


def batch_of(events: list[tuple], fields: tuple[int, ...], weights=None) -> Batch:
    """Give events, each with its number or None for each of the fields."""
    n, width = len(events), 1 + max(fields)
    numbers = np.array([[np.nan if v is None else v for v in event] for event in events], np.float64)
    counts = np.zeros((n, width), np.int64)
    counts[:, 0] = 1
    numbers = numbers.reshape(n, len(fields))
    counts[:, list(fields)] = ~np.isnan(numbers)
    values = np.where(np.concatenate([[i % width == 0] * c for i, c in enumerate(counts.ravel())] or [[]]), 1.0, 0.0)
    entries = Entries(
        fields=width, keys=np.zeros(counts.sum(), np.uint64), values=values.astype(np.float32),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), numbers=numbers,
    )  # fmt: skip
    some = np.ones(n, np.float32) if weights is None else np.array(weights, np.float32)
    return Batch(entries=entries, labels=np.zeros(n, np.float32), weights=some, times=np.zeros(n, np.int64))


def one(values) -> list[tuple]:
    return [(value,) for value in np.asarray(values).tolist()]


def of(values) -> Shard:
    """Give a shard that has seen these numbers, in one field."""
    shard = Shard(fields=(1,))
    shard.take(one(values))
    return shard


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(5.0, 3.0, n)


@given(EVENTS, st.data())
def test_how_events_are_cut_into_batches_changes_no_bit(events, data):
    whole, cut, numbers = Shard(), Shard(), [event[:2] for event in events]
    weights = [event[2] for event in events]
    values = whole.take(numbers, weights)
    at = 0
    while at < len(events):
        size = data.draw(st.integers(1, 40))
        part = cut.take(numbers[at : at + size], weights[at : at + size])
        assert part.tobytes() == values[at : at + size].tobytes()
        cut.cells.settle()
        at += size
    assert cut.cells.memory.words.tobytes() == whole.cells.memory.words.tobytes()
    assert cut.cells.settle() == whole.cells.settle()


@given(EVENTS)
def test_whatever_comes_what_is_known_and_what_enters_is_finite(events):
    shard = Shard()
    values = shard.take([event[:2] for event in events], [event[2] for event in events])
    known = standard_of(shard)
    assert np.isfinite(known.medians).all()
    assert (np.isfinite(known.spreads) & (known.spreads >= 0)).all()
    given_ = np.array([[v is not None for v in event[:2]] for event in events], bool).reshape(-1, 2)
    assert (np.isfinite(values) == given_).all()
    assert (np.abs(values[given_]) <= CLIP).all()


@given(EVENTS, NUMBERS, NUMBERS)
def test_a_score_tells_what_the_next_event_enters_as_and_changes_nothing(events, left, right):
    shard = Shard()
    shard.take([event[:2] for event in events], [event[2] for event in events])
    before = shard.cells.settle()
    scored = shard.score([(left, right)])
    assert shard.cells.settle() == before
    assert shard.take([(left, right)]).tobytes() == scored.tobytes()


def test_an_event_enters_by_what_is_known_of_those_before_it():
    values, shard = normal(500), Shard(fields=(1,))
    for number, value in enumerate(values.tolist()):
        known = standard_of(shard)
        (x,) = shard.take([(value,)])[0]
        if number < FIRST:
            assert x == 0.0, "of the first numbers no scale is known"
        else:
            assert x == np.float32((value - known.medians[0]) / known.spreads[0]) != 0.0
        assert standard_of(shard).counts[0] == number + 1
    # The first ones are taken as they are: their median, and the quantile of their distances from it
    known, distances = (
        standard_of(of(values[:FIRST])),
        np.sort(np.abs(values[:31] - np.median(values[:31]))),
    )
    assert known.medians[0] == np.median(values[:FIRST])
    assert known.spreads[0] == distances[1:][int(0.6827 * 29)], "one of 31 is the median"


def test_an_event_of_weight_0_is_put_on_the_scale_and_does_not_move_it():
    shard = of(normal(1_000))
    before, known = shard.cells.settle(), standard_of(shard)
    (x,) = shard.take([(8.0,)], [0.0])[0]
    assert x == np.float32((8.0 - known.medians[0]) / known.spreads[0])
    assert shard.cells.settle() == before


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_normal_numbers_come_out_standard_normal(scale, offset):
    values = (normal(30_000) - 5.0) / 3.0
    x = Shard(fields=(1,)).take(one(scale * (values + offset)))[1_000:, 0]
    assert abs(x.mean()) < 0.03
    assert abs(x.std() - 1.0) < 0.03
    np.testing.assert_allclose(x[-5_000:], values[-5_000:], atol=0.12)


@given(
    st.lists(st.tuples(st.integers(100, 999), st.booleans()), max_size=40, unique_by=lambda it: it[0]),
    st.floats(1e3, 1e308),
)
@hypothesis_settings(max_examples=10)
def test_how_absurd_a_number_is_makes_no_difference(where, size):
    """So one of 1e308 does no more than one that lies a little outside; the first numbers are kept as they are."""
    plain = normal(1_000)
    absurd, outside = plain.copy(), plain.copy()
    for place, negative in where:
        absurd[place], outside[place] = (-size, -1e3) if negative else (size, 1e3)
    one_, other = of(absurd), of(outside)
    assert one_.cells.settle() == other.cells.settle()
    assert one_.take([(7.0,)]).tobytes() == other.take([(7.0,)]).tobytes()
    assert np.abs(of(plain).take([(1e30,)])) == CLIP


@pytest.mark.parametrize("absurd", [1e30, -1e308])
def test_a_third_of_the_first_numbers_may_be_absurd(absurd):
    values = normal(2_000)
    values[:10] = absurd
    x = Shard(fields=(1,)).take(one(values))[FIRST:, 0]
    assert 0.5 < x[:100].std() < 2.0, "at once"
    assert abs(x[1_000:].std() - 1.0) < 0.06


def test_of_numbers_that_are_mostly_zero_the_spread_is_that_of_the_others():
    rng = np.random.default_rng(1)
    values = np.where(rng.random(20_000) < 0.01, rng.normal(300.0, 30.0, 20_000), 0.0)
    x = Shard(fields=(1,)).take(one(values))[10_000:, 0]
    assert np.abs(x[values[10_000:] == 0]).max() < 0.01
    assert 0.7 < x[values[10_000:] > 0].mean() < 1.3


def test_of_numbers_that_are_all_the_same_no_scale_is_known():
    shard = of([7.0] * 100)
    assert shard.take([(7.0,), (8.0,)])[:, 0].tolist() == [0.0, 0.0]
    assert shard.take([(9.0,)])[0, 0] == 2.0, "the first that differed, by 1, makes one"


def test_it_follows_numbers_that_change_their_unit():
    cents = 100.0 * normal(30_000, seed=2)
    x = Shard(fields=(1,)).take(one(np.concatenate([normal(30_000), cents])))[:, 0]
    assert abs(x[-5_000:].mean()) < 0.2
    assert abs(x[-5_000:].std() - 1.0) < 0.2


def test_fields_know_nothing_of_one_another():
    both, apart = Shard(), [of(normal(300)), of(1e6 + normal(300, seed=1))]
    both.take(list(zip(normal(300).tolist(), (1e6 + normal(300, seed=1)).tolist(), strict=True)))
    for at, shard in enumerate(apart):
        mine, alone = standard_of(both), standard_of(shard)
        assert (mine.medians[at], mine.spreads[at]) == (alone.medians[0], alone.spreads[0])


def test_what_shards_know_is_put_together_as_much_as_each_has_seen():
    shards = [of(normal(3_000)), of(100.0 + 10 * normal(1_000)), of(normal(FIRST - 1))]
    heir = Shard(fields=(1,))
    heir.standardiser.pool([shard.standardiser for shard in shards], otherwise=shards[2].standardiser)
    known, (big, small) = standard_of(heir), (standard_of(it) for it in shards[:2])
    assert known.counts[0] == 4_000, "one that still waits for its first numbers does not count"
    assert known.medians[0] == pytest.approx(0.75 * big.medians[0] + 0.25 * small.medians[0], rel=1e-12)
    distances = [int(it.cells.region("numbers")[1]) for it in shards[:2]]  # a median lies at none from itself
    spread = (distances[0] * big.spreads[0] + distances[1] * small.spreads[0]) / sum(distances)
    assert known.spreads[0] == pytest.approx(spread, rel=1e-12)
    assert np.isfinite(heir.take(one(normal(100)))).all()


def test_where_all_wait_the_first_numbers_are_gone_on_with():
    shards, heir, values = [of(normal(20)), of(normal(9, seed=1))], Shard(fields=(1,)), normal(40, seed=2)
    heir.standardiser.pool([shard.standardiser for shard in shards], otherwise=shards[0].standardiser)
    assert heir.take(one(values)).tobytes() == shards[0].take(one(values)).tobytes()
    assert heir.cells.settle() == shards[0].cells.settle()


def test_the_few_distances_that_shards_have_met_are_put_together():
    shards, heir = [of([0.0] * 40 + some) for some in ([3.0, 4.0], [1.0] * 5, [])], Shard(fields=(1,))
    heir.standardiser.pool([shard.standardiser for shard in shards], otherwise=shards[0].standardiser)
    known = standard_of(heir)
    assert known.counts[0] == 127
    assert known.spreads[0] == pytest.approx(1.0, rel=0.1), "of 1, 1, 1, 1, 1, 3 and 4"


def test_without_such_fields_nothing_is_done():
    cells = Cells({})
    batch = batch_of([], (1,))
    plain = Entries(fields=1, keys=batch.entries.keys, values=batch.entries.values, starts=batch.entries.starts)
    standardiser = Standardiser(cells, [], [])
    assert standardiser.standardise(plain) is plain
    standardiser.pool([Standardiser(Cells({}), [], [])], otherwise=standardiser)
    assert len(cells) == 0
