"""Pairs of fields that do not matter are dropped, by what events say of them, and taken up again after a drift."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.interplay import FIELDS, THEN, TOGETHER, VALUES, learning_of, stream
from worker.model.batch import Batch
from worker.model.cells import Cells
from worker.model.pairs import Pairs
from worker.model.selection import EVERY, REGION, Selection, region_words
from worker.snapshot.state import ShardState

LONG = stream(9 * EVERY, drift=6 * EVERY)


def learned(batch: Batch, cuts: list[int] | None = None, **model) -> ShardState:
    state = ShardState.fresh(0, learning_of(**model))
    edges = [0, *(cuts or []), len(batch)]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            state.model.learn(batch[start:stop])
        if start % 2:
            state.digest()  # a commit in between
    return state


def takes_part(state: ShardState, pair: tuple[int, int]) -> bool:
    return bool(state.model.pairs.matrix()[pair])


def test_pairs_that_do_not_matter_are_dropped_and_the_one_that_does_stays():
    state = learned(LONG[0 : 6 * EVERY])
    left_out = ~state.model.pairs.in_force()
    assert left_out.sum() == FIELDS * (FIELDS - 1) // 2 - (FIELDS - 1) - 45, "as many as may be"
    assert takes_part(state, TOGETHER)
    assert (state.model.pairs.left[left_out] > 0).all(), "pairs with the bias stay"


def test_all_are_taken_up_again_when_others_matter():
    state = learned(LONG[0 : 6 * EVERY])
    assert not state.model.pairs.in_force().all()
    state.model.learn(LONG[6 * EVERY : 7 * EVERY])
    assert state.model.pairs.in_force().all()
    state.model.learn(LONG[7 * EVERY : 9 * EVERY])
    assert takes_part(state, THEN)


def test_it_costs_no_more_than_a_thousandth_of_the_loss():
    part = LONG[0 : 6 * EVERY]

    def loss(**model) -> float:
        p = ShardState.fresh(0, learning_of(**model)).model.learn(part).predictions.astype(np.float64)
        return float(-np.log(np.where(part.labels == 1, p, 1 - p)).mean())

    assert loss(pairs="auto") < 1.001 * loss(pairs="all")


@hypothesis_settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 4 * EVERY - 1), max_size=6, unique=True).map(sorted))
def test_how_events_are_cut_into_batches_changes_no_bit(cuts):
    part = LONG[0 : 4 * EVERY]
    whole, cut = learned(part), learned(part, cuts)
    assert not whole.model.pairs.in_force().all()
    assert cut.model.pairs.left_out() == whole.model.pairs.left_out()
    assert cut.digest() == whole.digest()


@pytest.mark.parametrize("settings", [{"loss": "squared"}, {"half_life": "1s"}, {"max_rows": 135}, {"merge": True}])
def test_it_goes_with_every_other_setting(settings):
    cuts = [100, EVERY + 1, 3 * EVERY]
    one, other = learned(LONG[0 : 4 * EVERY], cuts, **settings), learned(LONG[0 : 4 * EVERY], **settings)
    assert one.digest() == other.digest()
    rows = 1 + VALUES * (FIELDS - 1)  # of them a few are missing: were it many, each event would evict, for minutes
    assert (len(one.model.table) < rows) == ("max_rows" in settings)
    assert np.isfinite(one.model.pair_means).all()
    assert one.model.pairs.in_force()[one.model.pairs.left == 0].all()


def test_an_event_is_predicted_by_the_pairs_that_take_part_also_where_all_learn_from_it():
    state = learned(LONG[0 : 4 * EVERY])
    some = LONG[4 * EVERY : 4 * EVERY + 200]
    for at in range(len(some)):
        one = LONG[4 * EVERY + at : 4 * EVERY + at + 1]
        entries = one.entries
        first, last = entries.starts[0], entries.starts[-1]
        alone = type(entries)(
            fields=FIELDS, keys=entries.keys[first:last], values=entries.values[first:last],
            starts=entries.starts - first,
        )  # fmt: skip
        predicted = state.model.predict(alone)
        learned_ = state.model.learn(one)
        assert predicted.predictions.tobytes() == learned_.predictions.tobytes()
        assert predicted.variances.tobytes() == learned_.variances.tobytes()


def test_where_no_pair_can_be_dropped_it_is_as_if_all_were_asked_for():
    assert region_words(11) == 0
    assert region_words(12) > 0
    few = learning_of().model_copy(update={"features": dict(list(learning_of().features.items())[:10])})
    state = ShardState.fresh(0, few)
    assert len(state.cells) == 0
    assert type(state.model.pairs) is Pairs
    assert state.model.pairs.left_out() == ""


def test_one_event_of_every_so_many_is_sampled_wherever_the_stream_is_cut():
    cells = Cells({REGION: region_words(FIELDS)})
    pairs = Selection(FIELDS, cells)
    whole = pairs.sampled(1_000).copy()
    assert len(whole) == 250
    assert (np.diff(whole // 4) == 1).all(), "one of each four"
    assert set(whole % 4) == {0, 1, 2, 3}, "not the same one of each"
    found = []
    for n in (1, 2, 3, 10, 500, 484):
        with pairs.learning():
            found += (pairs.sampled(n) + pairs.count).tolist()
            pairs.note(n)
    assert found == whole.tolist()
