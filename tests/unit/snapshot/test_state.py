"""The digest of a shard: of what was learned and counted, not of how it came to be."""

import numpy as np
import pytest

from tests.support.lineage import Writer, events, learning_of
from worker.learning import Feature
from worker.model.cells import Words
from worker.snapshot.state import ShardState


def learned(*batches: list, **model) -> Writer:
    writer = Writer(learning_of(**model))
    for batch in batches:
        writer.learn(batch)
    return writer


def test_batches_commits_and_restarts_are_not_in_the_digest():
    some = events(300, 0)
    whole = learned(some)
    cut = learned(some[:100])
    cut.commit()
    cut.learn(some[100:101])
    cut.learn(some[101:])
    cut.commit()
    assert cut.state.digest() == whole.state.digest()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.rejected.update(["empty"]),
        lambda state: setattr(state, "next_offset", state.next_offset + 1),
        lambda state: setattr(state, "watermark", state.watermark + 1),
        lambda state: setattr(state.model, "unstable", 1),
        lambda state: state.progress.sums.__setitem__(0, 1),
        lambda state: state.progress.histogram.__setitem__((0, 0), 1),
        lambda state: state.model.pair_means.__setitem__((0, 1), 0.5),
        lambda state: state.model.pair_precisions.__setitem__((0, 1), 0.5),
        lambda state: state.model.table.touch(state.model.table.keys[:1] + 1),
        lambda state: state.cells.put(Words(places=np.array([3]), values=np.array([1], np.uint64))),
    ],
)
def test_whatever_is_learned_or_counted_is_in_the_digest(change):
    learning = learning_of()
    number = {"hour": Feature(kind="numeric", field="time")}
    writer = Writer(learning.model_copy(update={"features": learning.features | number}))
    writer.learn(events(50, 0))
    state = writer.state
    before = state.digest()
    change(state)
    assert state.digest() != before


def test_a_fresh_state_is_what_the_settings_say():
    state = ShardState.fresh(3, learning_of(factors=2, prior_weight_precision=4.0, prior_pair_precision=0.5))
    assert (state.shard, state.version, state.next_offset, state.chain) == (3, 0, 0, "")
    assert state.model.settings.prior.weight_precision == 4
    assert (state.model.pair_precisions == 0.5).all()
    assert state.model.table.parameters.shape[1] == 5
    assert len(state.model.pair_means) == 3, "two features and the bias"
