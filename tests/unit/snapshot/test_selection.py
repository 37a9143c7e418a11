"""Which pairs of fields take part is a part of the shard: it is published, restored, followed and carried."""

import itertools

import numpy as np
import pytest

from tests.support.interplay import learning_of, stream
from tests.support.lineage import Writer, versions
from worker.follow.whole import Whole
from worker.model.selection import EVERY
from worker.snapshot.lineage import advance, apply, verify
from worker.snapshot.resharding import reshard
from worker.snapshot.state import ShardState

LONG = stream(6 * EVERY, drift=5 * EVERY)
CUTS = (0, 1_000, EVERY + 5, 3 * EVERY, 4 * EVERY + 7, 5 * EVERY, 6 * EVERY)


def written(*, upto: int = len(CUTS) - 1, **model) -> Writer:
    """A writer that commits between the cuts."""
    writer = Writer(learning_of(**model))
    for start, stop in itertools.pairwise(CUTS[: upto + 1]):
        learn(writer.state, start, stop)
        writer.commit()
    return writer


def learn(state: ShardState, start: int, stop: int) -> None:
    state.model.learn(LONG[start:stop])
    state.next_offset = stop


def restored(writer: Writer) -> ShardState:
    state = ShardState.fresh(0, writer.learning)
    for version in versions(writer.log, writer.learning):
        apply(state, version)
    verify(state, writer.manifests[-1])
    return state


@pytest.mark.parametrize("merge", [False, True])
def test_a_restored_shard_drops_and_takes_up_the_same_pairs(merge):
    writer = written(upto=4, merge=merge)
    state = restored(writer)
    if merge:
        state.model.recall()
        state.model.table.settle()
    assert not state.model.pairs.in_force().all(), "some were dropped"
    assert state.model.pairs.left_out() == writer.manifests[-1].state.left_out
    for start, stop in itertools.pairwise(CUTS[4:]):
        learn(writer.state, start, stop)
        learn(state, start, stop)
    assert state.digest() == writer.state.digest()
    assert state.model.pairs.left_out() == writer.state.model.pairs.left_out()


def test_the_manifest_says_which_pairs_take_no_part():
    writer = written()
    bits = [int(manifest.state.left_out, 16).bit_count() for manifest in writer.manifests]
    assert bits[0] == 0
    assert max(bits) == 21, "of 78 pairs, 12 of them with the bias, 45 others are kept"
    assert bits[-1] == 0, "all were taken up again"
    assert Writer(learning_of(pairs="all")).commit().state.left_out == ""


@pytest.mark.parametrize("merge", [False, True])
def test_a_follower_scores_by_the_pairs_of_the_shard(merge):
    writer = written(upto=5, merge=merge)
    first, *rest = versions(writer.log, writer.learning)
    state, whole = ShardState.fresh(0, writer.learning, reserve=False), Whole(writer.learning)
    state.model.table.keep_marks()
    apply(state, first)
    whole.replace(None, state)
    for version in rest:
        advance(state, version)
        whole.add(state, version)
    assert not state.model.pairs.in_force().all()
    entries = LONG[0:500].entries
    entries = type(entries)(
        fields=entries.fields, keys=entries.keys[: 500 * entries.fields], values=entries.values[: 500 * entries.fields],
        starts=entries.starts[: 500 * entries.fields + 1],
    )  # fmt: skip
    followed = whole.predict(state.model, entries)
    if not merge:
        assert followed.predictions.tobytes() == writer.state.model.predict(entries).predictions.tobytes()
        assert followed.variances.tobytes() == writer.state.model.predict(entries).variances.tobytes()
    # Then explaining and drawing leave out what scoring leaves out
    behind = whole.behind(state.model, entries, 1)
    assert (behind.pairs == state.model.pairs.matrix()).all()
    means, precisions = state.model.pairs.apply(behind.pair_means, behind.pair_precisions)
    drawn = whole.sample(state.model, entries, 7)
    i, j = np.argwhere(np.triu(~behind.pairs, 1))[0]
    assert (means[i, j], precisions[i, j]) == (0, np.inf)
    model = state.model if not merge else whole._model
    model.pair_means[i, j] += 100
    assert whole.sample(state.model, entries, 7).tobytes() == drawn.tobytes()
    assert whole.predict(state.model, entries).predictions.tobytes() == followed.predictions.tobytes()


def test_a_shard_that_is_carried_takes_the_choice_along():
    state = written(upto=4).state
    for moved in reshard([state], 2, learning_of()):
        assert moved.state.model.pairs.left_out() == state.model.pairs.left_out()
