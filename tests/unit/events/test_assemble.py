import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.events.assemble import cross, distinct, interleave, starts_of
from worker.events.hashing import xxh64

keys = st.integers(1, 5).map(lambda key: key * 2**61)  # alike in their low bits, so that they collide


def _starts(lists: list[list]) -> np.ndarray:
    return np.cumsum([0, *map(len, lists)])


@given(st.lists(st.none() | st.lists(st.none() | keys, max_size=8), max_size=8))
def test_distinct_keeps_the_first_of_equals(lists):
    flat = [key for one in lists for key in one or []]
    found, values, starts = distinct(
        np.array([key or 0 for key in flat], np.uint64),
        np.array([key is not None for key in flat], np.bool_),
        np.cumsum([0, *(len(one or []) for one in lists)]),
        np.array([one is not None for one in lists], np.bool_),
    )
    expected = [list(dict.fromkeys(key for key in one or [] if key is not None)) for one in lists]
    assert found.tolist() == list(itertools.chain(*expected))
    assert values.tolist() == [float(np.float32(1 / len(one))) for one in expected for _ in one]
    assert starts.tolist() == _starts(expected).tolist()


def test_a_list_that_is_null_is_empty_whatever_extent_it_has():
    found, _, starts = distinct(
        np.array([7, 8], np.uint64), np.ones(2, np.bool_), np.array([0, 1, 2]), np.array([False, True])
    )
    assert (found.tolist(), starts.tolist()) == ([8], [0, 0, 1])


def test_a_long_list():
    many = np.arange(1, 65_537, dtype=np.uint64)
    found, values, _ = distinct(
        np.concatenate([many, many]), np.ones(131_072, np.bool_), np.array([0, 131_072]), np.ones(1, np.bool_)
    )
    assert np.array_equal(found, many)
    assert set(values.tolist()) == {2.0**-16}


events = st.lists(st.lists(st.lists(st.integers(1, 2**64 - 1), max_size=3), min_size=3, max_size=3), max_size=5)


def _by_field(lists: list[list[list[int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay out lists[event][field] field by field: keys, values (1, 2, 3 ... halves), starts."""
    flat: list[int] = []
    starts = np.zeros((3, len(lists) + 1), np.int64)
    for field in range(3):
        starts[field, 0] = len(flat)
        for e, event in enumerate(lists):
            flat += event[field]
            starts[field, e + 1] = len(flat)
    return np.array(flat, np.uint64), np.arange(len(flat), dtype=np.float32) / 2, starts


@given(events | events.map(lambda few: few * 100))  # more than are taken at once
def test_interleave_turns_fields_into_events(lists):
    flat, values, fields = _by_field(lists)
    found, found_values, starts = interleave(flat, values, fields)
    ordered = [one for event in lists for one in event]
    assert found.tolist() == list(itertools.chain(*ordered))
    assert starts.tolist() == _starts(ordered).tolist()
    positions = [int(at) for e in range(len(lists)) for f in range(3) for at in range(fields[f, e], fields[f, e + 1])]
    assert found_values.tolist() == [at / 2 for at in positions]


@given(events, st.permutations([0, 1, 2]))
def test_cross_combines_every_entry_with_every_other(lists, order):
    flat, values, fields = _by_field(lists)
    found, found_values, starts = cross(flat, values, fields[list(order)], np.uint64(9))
    expected: list[tuple[int, float]] = []
    counts = []
    for e in range(len(lists)):
        ranges = [range(fields[f, e], fields[f, e + 1]) for f in order]
        combinations = list(itertools.product(*ranges))
        counts.append(combinations)
        for combination in combinations:
            text = b"".join(int(flat[at]).to_bytes(8, "little") for at in combination)
            key = int(xxh64(np.frombuffer(text, np.uint8), 0, len(text), np.uint64(9)))
            expected.append((key, float(np.prod([values[at] for at in combination], dtype=np.float32))))
    assert list(zip(found.tolist(), found_values.tolist(), strict=True)) == expected
    assert starts.tolist() == _starts(counts).tolist()


@given(st.lists(st.booleans()))
def test_starts_count_up_what_is_given(given_):
    starts = starts_of(np.array(given_, np.bool_))
    assert (starts.dtype, starts.tolist()) == (np.int64, [0, *itertools.accumulate(map(int, given_))])
