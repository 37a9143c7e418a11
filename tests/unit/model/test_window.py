"""The window of event ids, against a queue of Python."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.cells import Cells
from worker.model.window import NO_ID, REGION, Window, words_of

# Few of them, so that they come again; those that differ by 16 or 64 begin at the same slot of a small index.
IDS = st.lists(st.one_of(st.integers(0, 20), st.sampled_from([16 * n for n in range(12)])), max_size=80)


def cells_of(size: int) -> Cells:
    return Cells({"other": 3, REGION: words_of(size), "another": 2})


def admit(window: Window, ids: list[int]) -> list[bool]:
    return window.admit(np.array(ids, np.uint64)).tolist()


def remembered(last: deque[int], ids: list[int]) -> list[bool]:
    """Tell which are new, and remember them: by a queue that is as long as the window."""
    found = []
    for identity in ids:
        found.append(identity not in last or identity == 0)
        if identity and identity not in last:
            last.append(identity)
    return found


@given(st.integers(1, 9), IDS)
def test_it_knows_the_last_ids_and_no_others(size, ids):
    window = Window(cells_of(size))
    assert admit(window, ids) == remembered(deque(maxlen=size), ids)


@given(st.integers(1, 9), IDS, st.lists(st.integers(1, 7), max_size=30))
def test_how_ids_are_cut_into_batches_changes_no_bit(size, ids, cuts):
    whole, cut = cells_of(size), cells_of(size)
    at_once, parts, start, window = admit(Window(whole), ids), [], 0, Window(cut)
    for length in [*cuts, len(ids)]:
        parts += admit(window, ids[start : start + length])
        start += length
        if length % 2:
            cut.settle()  # a commit in between
    assert parts == at_once
    assert cut.settle() == whole.settle()


@given(st.integers(1, 9), IDS, IDS, IDS)
def test_a_copy_goes_on_as_the_original_does(size, before, meanwhile, after):
    # Given a window that has published what it holds, and a copy that was in use before it read that
    one, copy = cells_of(size), cells_of(size)
    window, other = Window(one), Window(copy)
    admit(other, [])
    admit(window, before)
    copy.put(one.part(0, len(one)))
    one.settle()
    # When it publishes what has changed since
    admit(window, meanwhile)
    copy.put(one.touched())
    assert copy.settle() == one.settle()
    # Then both know the same
    assert admit(other, after) == admit(window, after)
    assert copy.settle() == one.settle()


def test_an_event_without_an_id_is_never_a_duplicate_and_takes_no_place():
    cells = cells_of(2)
    window = Window(cells)
    assert admit(window, [7, 8]) == [True, True]
    assert admit(window, [int(NO_ID)] * 5) == [True] * 5
    assert admit(window, [7, 8]) == [False, False]
    assert cells.region("other").tolist() == [0] * 3
    assert cells.region("another").tolist() == [0] * 2


@pytest.mark.parametrize("size", [1, 1_000])
def test_an_id_that_was_sent_again_and_again_is_not_kept_longer_for_it(size):
    window = Window(cells_of(size))
    assert admit(window, [5]) == [True]
    for number in range(size - 1):
        assert admit(window, [1_000_000 + number, 5]) == [True, False]
    assert admit(window, [77, 5]) == [True, True], "the window has moved past it"


def test_many_ids_and_those_of_the_window_are_all_found_again():
    ids = np.random.default_rng(1).integers(1, 2**64, 50_000, np.uint64)
    window = Window(cells_of(10_000))
    assert window.admit(ids).all()
    assert not window.admit(ids[-10_000:]).any()
    assert window.admit(ids[:10_000]).all()
