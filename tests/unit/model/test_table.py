"""The table: rows found by key, growing, touched and settled, and a digest that knows content only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.arithmetic import normal
from worker.model.batch import NOWHERE, SHARED
from worker.model.forgetting import NEVER
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION, Prior, Rows
from worker.model.table import Table, Wanted

LARGEST = 2**64 - 1
# Keys that share their low bits collide in the index: a cluster of them is what linear probing must get right.
KEYS = st.one_of(st.integers(0, LARGEST), st.integers(0, 7).map(lambda high: high << 32), st.sampled_from([0, LARGEST]))


def prior(factors: int = 3, seed: int = 1) -> Prior:
    return Prior(factors=factors, seed=seed, init_deviation=0.05, weight_precision=2.0, factor_precision=5.0)


def keys_of(values) -> np.ndarray:
    return np.array(values, np.uint64)


def row_of(key: int, value: float, factors: int = 3) -> Rows:
    parameters = np.full((1, FACTORS + factors), value, np.float32)
    return Rows(keys=keys_of([key]), seen=np.array([int(value * 10)]), parameters=parameters)


def content(table: Table) -> dict[int, bytes]:
    rows = table.part(0, len(table))
    return {
        int(key): seen.tobytes() + parameters.tobytes()
        for key, seen, parameters in zip(rows.keys, rows.seen, rows.parameters, strict=True)
    }


def test_a_new_row_is_its_prior():
    table = Table(prior())
    (row,) = table.touch(keys_of([42]))
    parameters = table.parameters[row]
    assert parameters[WEIGHT] == 0
    assert parameters[WEIGHT_PRECISION] == 2
    assert parameters[FACTOR_PRECISION] == 5
    expected = [np.float32(0.05 * normal(np.uint64(42), np.uint64(1), k)) for k in range(3)]
    assert parameters[FACTORS:].tolist() == expected
    assert table.seen[row] == NEVER


def test_gather_gives_the_prior_of_what_was_never_seen_and_adds_nothing():
    table = Table(prior())
    gathered = table.gather(keys_of([7, 8]))
    assert len(table) == 0
    assert table.touched().keys.size == 0
    table.touch(keys_of([8, 7]))
    assert gathered.tobytes() == table.gather(keys_of([7, 8])).tobytes()
    assert gathered[0].tobytes() == table.parameters[1].tobytes()


def test_the_prior_depends_on_the_seed():
    assert not np.array_equal(Table(prior(seed=1)).gather(keys_of([7])), Table(prior(seed=2)).gather(keys_of([7])))


@given(st.lists(KEYS, max_size=200), st.integers(1, 40))
def test_every_key_has_one_row_that_is_found_again_however_often_the_table_grows(keys, capacity):
    table = Table(prior(factors=0), capacity=capacity)
    numbers: dict[int, int] = {}
    for start in range(0, len(keys), 7):
        some = keys[start : start + 7]
        for key, row in zip(some, table.touch(keys_of(some)).tolist(), strict=True):
            assert numbers.setdefault(key, row) == row
    assert sorted(numbers.values()) == list(range(len(table)))
    assert table.touch(keys_of(list(numbers))).tolist() == list(numbers.values())
    assert all(table.keys[row] == key for key, row in numbers.items())


def test_touched_rows_are_those_since_the_last_settle_in_the_order_of_their_first_touch():
    table = Table(prior())
    table.touch(keys_of([5, 3, 5, 9]))
    assert table.touched().keys.tolist() == [5, 3, 9]
    table.settle()
    assert table.touched().keys.size == 0
    table.touch(keys_of([9, 1]))
    assert table.touched().keys.tolist() == [9, 1]


def test_what_is_copied_does_not_change_with_the_table():
    table = Table(prior())
    table.put(row_of(1, 0.5))
    touched, part = table.touched(), table.part(0, 10)
    table.put(row_of(1, 0.25))
    assert touched.parameters[0, 0] == part.parameters[0, 0] == 0.5


ROWS = st.lists(st.tuples(KEYS, st.integers(-8, 8).map(lambda n: n / 4)), max_size=60)


@given(ROWS, st.integers(1, 30), st.lists(st.booleans(), min_size=60, max_size=60), st.randoms())
def test_the_digest_knows_content_only(rows, capacity, settles, random):
    """Not the order of rows, not the capacity, not the path, not when the table was settled."""
    one = Table(prior(), capacity=capacity)
    for (key, value), settle in zip(rows, settles, strict=False):
        one.put(row_of(key, value))
        if settle:
            one.settle()
    last = list(dict(rows).items())
    random.shuffle(last)
    other = Table(prior())
    for key, value in last:
        other.put(row_of(key, value))
    assert content(one) == content(other)
    assert one.settle() == other.settle()
    assert one.settle() == other.settle(), "settling again changes nothing"


@given(ROWS.filter(bool), st.integers(0, 31), st.data())
def test_the_digest_knows_every_bit(rows, bit, data):
    """Of the rows of one shard alone; `test_what_the_shards_share_is_not_in_the_digest` is of the others."""
    table = Table(prior())
    rows = [(key & ~int(SHARED), value) for key, value in rows]
    for key, value in rows:
        table.put(row_of(key, value))
    before = table.settle()
    victim = table.part(0, len(table))
    number = data.draw(st.integers(0, len(victim) - 1))
    column = data.draw(st.integers(0, FACTORS + 2))
    changed = Rows(
        keys=victim.keys[[number]], seen=victim.seen[[number]].copy(), parameters=victim.parameters[[number]].copy()
    )
    changed.parameters.view(np.uint32)[0, column] ^= np.uint32(1 << bit)
    table.put(changed)
    assert table.settle() != before
    table.put(Rows(keys=victim.keys[[number]], seen=victim.seen[[number]], parameters=victim.parameters[[number]]))
    assert table.settle() == before
    later = Rows(keys=changed.keys, seen=changed.seen + 1, parameters=victim.parameters[[number]])
    table.put(later)
    assert table.settle() != before


@given(ROWS, ROWS)
def test_what_the_shards_share_is_not_in_the_digest(local, shared):
    """Of those rows the ledger of what this shard has added is digested: what they are depends on its peers."""
    alone, both = Table(prior()), Table(prior())
    for key, value in local:
        for table in (alone, both):
            table.put(row_of(key & ~int(SHARED), value))
    for key, value in shared:
        both.put(row_of(key | int(SHARED), value))
    assert alone.settle() == both.settle()


@pytest.mark.parametrize("factors", [0, 1, 2, 16])
def test_a_table_of_any_width_digests_all_of_a_row(factors):
    table = Table(prior(factors=factors))
    table.put(row_of(1, 0.5, factors))
    before = table.settle()
    table.touch(keys_of([1]))
    table.parameters[0, -1] = np.float32(0.75)
    assert table.settle() != before


def test_an_empty_table_and_one_of_priors_differ():
    table = Table(prior())
    empty = table.settle()
    table.touch(keys_of([1]))
    assert table.settle() != empty


def test_a_full_table_takes_little_more_than_its_parameters():
    n = 100_000
    table = Table(prior(factors=16), limit=n)
    table.touch(np.arange(n, dtype=np.uint64), np.arange(n, dtype=np.int64))
    table.settle()
    raw = 4 * (FACTORS + 16) * n
    assert raw + n * (8 + 8 + 4 + 1) < table.nbytes <= 1.35 * raw, "keys, event times, routes and the index included"


def test_room_that_is_not_used_is_not_counted():
    table = Table(prior(factors=16), limit=1_000_000)
    table.touch(keys_of(range(1_000)))
    assert table.nbytes < 0.1 * 1_000_000 * 4 * (FACTORS + 16)


@pytest.mark.parametrize("route", [0, 1, 2**32 - 1, int(NOWHERE)])
def test_a_route_comes_back_whatever_32_bits_it_has(route):
    table = Table(prior())
    table.touch(keys_of([1, 2]), np.array([route, 5]))
    table.touch(keys_of([3]))
    assert table.routes.tolist() == [route, 5, NOWHERE]
    copy = Table(prior())
    copy.touch(keys_of([1]))
    copy.put(table.part(0, 3))
    assert copy.get(keys_of([3, 1, 4])).routes.tolist() == [NOWHERE, route, NOWHERE]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.integers(1, 9)),
        st.tuples(st.just("remove"), st.lists(KEYS, max_size=5)),
        st.tuples(st.just("settle")),
    ),
    max_size=80,
)


@given(STEPS, st.integers(1, 8))
def test_rows_that_are_dropped_leave_nothing_behind(steps, capacity):
    """Against a dictionary: what is there, what counts as touched, what was there and is gone, and the digest."""
    table = Table(prior(), capacity=capacity)
    held: dict[int, float] = {}
    told: set[int] = set()  # there when it was last settled
    touched: list[int] = []
    for step in steps:
        match step:
            case ("put", key, value):
                table.put(row_of(key, value))
                held[key] = value
                if key not in touched:
                    touched.append(key)
            case ("remove", keys):
                table.remove(keys_of(keys))
                for key in keys:
                    held.pop(key, None)
                touched = [key for key in touched if key in held]
            case _:
                table.settle()
                touched, told = [], set(held)
        assert table.has(keys_of(list(held))).all()
        assert table.touched().keys.tolist() == touched
        assert table.dropped().tolist() == sorted(key for key in told - held.keys() if not key & int(SHARED))
        assert table.shared_rows == sum(bool(key & int(SHARED)) for key in held)
    other = Table(prior())
    for key, value in held.items():
        other.put(row_of(key, value))
    assert content(table) == content(other)
    assert table.settle() == other.settle()


@given(st.integers(1, 40), st.data())
def test_a_row_that_moves_to_where_a_base_has_been_counts_as_touched(n, data):
    table = Table(prior())
    for key in range(n):
        table.put(row_of(key, key + 1))
    table.put(row_of(int(SHARED), 1))
    table.settle()
    order = table.keys[: n + 1].copy()
    table.swept = data.draw(st.integers(0, n + 1))
    gone = data.draw(st.sets(st.integers(0, n)))
    table.drop(np.array(sorted(gone), np.int32))
    place = {int(key): row for row, key in enumerate(table.keys[: len(table)])}
    assert set(table.touched().keys.tolist()) == {
        int(key)
        for row, key in enumerate(order)
        if row >= table.swept and row not in gone and place[int(key)] < table.swept and not key & SHARED
    }


def test_events_are_let_in_whole_or_not_at_all():
    table = Table(prior(), limit=5)
    keys, rows = keys_of([1, 2, 3, 1, 4, 5, 6, 7, 1, 2]), np.full(10, -1, np.int32)
    starts = np.array([0, 3, 5, 8, 10])  # events of three, two, three and two entries; the third has too many
    assert table.resolve(keys, starts, 1, rows, Wanted(0, 4, rows=5)) == 2
    assert (len(table), rows.tolist()) == (4, [0, 1, 2, 0, 3, -1, -1, -1, -1, -1])
    assert table.touched().keys.tolist() == [1, 2, 3, 4]
    assert table.resolve(keys, starts, 1, rows, Wanted(2, 4, rows=5, forced=2)) == 4, "as if there were room"
    assert rows.tolist() == [0, 1, 2, 0, 3, 4, 5, 6, 0, 1]


def test_room_is_counted_in_bytes_too():
    table, keys = Table(prior()), keys_of([1, int(SHARED) | 1, 2, 1])
    rows, starts = np.empty(4, np.int32), np.arange(5)
    assert table.resolve(keys, starts, 1, rows, Wanted(0, 4, bytes=11, local_bytes=2, shared_bytes=9)) == 2
    assert table.resolve(keys, starts, 1, rows, Wanted(2, 4, bytes=2, local_bytes=2, shared_bytes=9)) == 4


def test_marks_stay_with_their_rows_as_the_table_grows():
    table = Table(prior(), capacity=2)
    table.touch(keys_of([5, 6]))
    held = table.nbytes
    table.keep_marks()
    assert table.nbytes == held + 2 * 8
    table.mark(keys_of([5, 99]), -3)
    table.touch(keys_of(range(100, 140)))
    table.mark(keys_of([5, 100]), 4, over=False)
    table.mark(keys_of([6]), 7)
    assert table.marks_of(keys_of([5, 6, 100, 101, 99])).tolist() == [-3, 7, 4, 0, 0]
    table.mark(keys_of([139]), 9)
    table.remove(keys_of([5, 138, 101]))
    table.touch(keys_of([5]))
    assert table.marks_of(keys_of([5, 6, 100, 139])).tolist() == [0, 7, 4, 9], "a row that comes back begins anew"


def test_a_table_keeps_no_marks_unless_asked():
    table = Table(prior(), capacity=1)
    table.touch(keys_of(range(10)))
    assert table.marks.nbytes == 0
