"""A model is carried to more shards, or fewer: who asks about a user gets the same answer as before."""

import numpy as np
import orjson
import pytest

from tests.support.lineage import NOW, Writer, events, learning_of, versions
from tests.support.scales import standard_of
from worker.errors import IncompatibleDataError
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.partition import partition
from worker.follow.whole import Whole
from worker.learning import Feature, Learning
from worker.model.batch import NOWHERE
from worker.model.learner import Scores
from worker.model.rows import WEIGHT, WEIGHT_PRECISION
from worker.snapshot.assembler import Assembler
from worker.snapshot.lineage import apply, verify
from worker.snapshot.manifest import Peer
from worker.snapshot.resharding import reshard
from worker.snapshot.sealing import Folding
from worker.snapshot.state import ShardState
from worker.stream.contributions import folding_of

USERS = 300


def learned(learning: Learning, shards: int, n: int = 3_000) -> list[Writer]:
    """Let shards learn the users that the partitioner gives them, and fold one another in."""
    writers = [Writer(learning, shard) for shard in range(shards)]
    for round_ in range(3):
        parts: list[list[bytes]] = [[] for _ in range(shards)]
        for event in events(n, round_, users=USERS, start=NOW + round_ * 1_800_000):
            parts[partition(orjson.loads(event)["user"].encode(), shards, "murmur2")].append(event)
        published: list[Folding] = []
        for writer, part in zip(writers, parts, strict=True):
            writer.learn(part)
            first = writer.next_offset
            writer.commit([folding for folding in published if folding.shard != writer.shard])
            (version,) = versions(writer.log, learning, shard=writer.shard, start=first)
            if learning.model.merge:
                published.append(folding_of(version, learning.model.factors))
    return writers


def scores(states: list[ShardState], learning: Learning) -> Scores:
    """Score every user with some items, as a follower does."""
    whole = Whole(learning)
    for state in states:
        whole.replace(None, state)
    found = []
    for user in range(USERS):
        asked = [orjson.dumps({"user": f"u{user}", "item": f"i{item}"}) for item in range(0, 100, 9)]
        table = Decoder(learning, labelled=False).decode(asked, np.full(len(asked), NOW)).table
        state = states[partition(f"u{user}".encode(), len(states), "murmur2")]
        found.append(whole.predict(state.model, Features(learning).encode(table)))
    return Scores(
        predictions=np.concatenate([it.predictions for it in found]),
        variances=np.concatenate([it.variances for it in found]),
    )


def published(moved, learning: Learning) -> list[Writer]:
    """Publish the first versions of new shards, each of which knows all the others' from the start."""
    writers = []
    for it in moved:
        writer = Writer(learning, it.state.shard)
        writer.state = it.state
        others = [
            Folding(shard=other.state.shard, peer=Peer(version=1, offset=0), contribution=other.contribution)
            for other in moved
            if other is not it and other.contribution is not None
        ]
        writer.commit(others, carried=it.contribution)
        writers.append(writer)
    return writers


def read(writers: list[Writer], learning: Learning) -> list[ShardState]:
    """Read the shards back from what they have published."""
    states = []
    for writer in writers:
        state, assembler = ShardState.fresh(writer.shard, learning), Assembler(learning.model.name, writer.shard)
        for offset, record in writer.log:
            version = assembler.feed(record, offset)
            if version is not None:
                apply(state, version)
        verify(state, writer.manifests[-1])
        states.append(state)
    return states


@pytest.mark.parametrize("half_life", ["off", "1h"])
@pytest.mark.parametrize("new", [6, 3, 4])
def test_scores_are_as_before_and_nothing_is_counted_twice(new, half_life):
    learning = learning_of(merge=True, half_life=half_life)
    old = [writer.state for writer in learned(learning, 4)]
    before = scores(read(learned(learning, 4), learning), learning)

    writers = published(reshard(old, new, learning), learning)
    states = read(writers, learning)

    after = scores(states, learning)
    np.testing.assert_allclose(after.predictions, before.predictions, atol=0 if half_life == "off" else 1e-6, rtol=0)
    assert sum(it.progress.events for it in states) == sum(it.progress.events for it in old)
    local = sum(len(it.model.table) - shared_rows(it) for it in old)
    assert sum(len(it.model.table) - shared_rows(it) for it in states) == local
    # and each new shard knows what all have added, from its first version on
    assert len({writer.state.view() for writer in writers}) == 1


def test_shards_that_are_not_merged_keep_their_users_and_begin_with_the_items_of_one():
    learning = learning_of(merge=False)
    old = [writer.state for writer in learned(learning, 2)]
    moved = reshard(old, 4, learning)
    for it in moved:
        origin, table = old[it.state.shard % 2].model, it.state.model.table
        rows = table.touched()
        assert len(rows) > 100, "the items, and its users"
        assert origin.table.get(rows.keys).parameters.tobytes() == rows.parameters.tobytes()
        assert it.state.model.pair_means.tobytes() == origin.pair_means.tobytes()


@pytest.mark.parametrize("new", [1, 3, 8])
def test_every_new_shard_knows_the_scale_of_numbers_as_all_have_learned_it(new):
    # Given shards of which one has not yet seen enough numbers to know their scale
    features = learning_of().features | {"hour": Feature(kind="numeric", field="time"), "none": Feature(kind="numeric")}
    learning = learning_of(merge=True).model_copy(update={"features": features})
    old = [writer.state for writer in learned(learning, 4)]
    little = Writer(learning, 3)
    little.learn(events(20, 0, users=1))
    old[3].standardiser, old[3].cells = little.state.standardiser, little.state.cells

    states = read(published(reshard(old, new, learning), learning), learning)

    before = [standard_of(it) for it in old]
    assert [it.counts[0] > 1_000 for it in before] == [True, True, True, False]
    for state in states:
        known = standard_of(state)
        assert known.counts[0] == sum(it.counts[0] for it in before[:3])
        assert min(it.spreads[0] for it in before[:3]) < known.spreads[0] < max(it.spreads[0] for it in before[:3])
        assert known.medians[0] == pytest.approx(np.mean([it.medians[0] for it in before[:3]]), abs=known.spreads[0])
        assert (known.counts[1], known.spreads[1]) == (0, 0.0)
    assert len({state.cells.settle() for state in states}) == 1


def test_rows_that_lie_in_the_wrong_shard_are_refused():
    learning = learning_of(merge=True)
    writer = Writer(learning, 0)
    writer.learn(events(500, 1))  # of users of both partitions
    writer.commit()
    with pytest.raises(IncompatibleDataError, match=r"events.partitioner"):
        reshard([writer.state, ShardState.fresh(1, learning)], 4, learning)


@pytest.mark.parametrize("half_life", ["off", "1h"])
def test_what_two_shards_have_learned_of_a_key_is_added_up(half_life):
    # Given shards of which the last events of some users came to another one than those before
    learning = learning_of(merge=True, half_life=half_life)
    writers = learned(learning, 4)
    strays = [
        event
        for event in events(3_000, 9, users=40, start=NOW + 7_200_000)
        if partition(orjson.loads(event)["user"].encode(), 4, "murmur2") != 2
    ]
    before = {key: row for it in writers for key, row in local_rows(it.state).items()}
    writers[2].learn(strays)
    writers[2].commit()
    strayed = {key: row for key, row in local_rows(writers[2].state).items() if key in before}
    moved = set(strayed) - set(local_rows(learned(learning, 4)[2].state))
    assert 20 < len(moved) < 40

    # When the model is carried
    states = [it.state for it in reshard([writer.state for writer in writers], 3, learning)]

    # Then a user is known as precisely as both have learned, the prior counted once
    after = {key: row for state in states for key, row in local_rows(state).items()}
    for key in moved:
        total = before[key][WEIGHT_PRECISION] + strayed[key][WEIGHT_PRECISION] - 2
        mean = (
            before[key][WEIGHT] * before[key][WEIGHT_PRECISION] + strayed[key][WEIGHT] * strayed[key][WEIGHT_PRECISION]
        )
        if half_life == "off":
            np.testing.assert_allclose(after[key][WEIGHT_PRECISION], total, rtol=1e-5)
            np.testing.assert_allclose(after[key][WEIGHT], mean / total, rtol=1e-4, atol=1e-6)
        else:  # what the first one knew has faded meanwhile
            assert strayed[key][WEIGHT_PRECISION] < after[key][WEIGHT_PRECISION] < total
    # and all others are as they were
    for key in before.keys() - moved:
        assert after[key].tobytes() == local_rows(writers[2].state).get(key, before[key]).tobytes()
    # and nothing more of it is astray
    for number, state in enumerate(states):
        routes = state.model.table.routes[: len(state.model.table)]
        assert set((routes[routes != NOWHERE] % 3).tolist()) == {number}


def local_rows(state: ShardState) -> dict[int, np.ndarray]:
    table = state.model.table
    keys = table.keys[: len(table)]
    return {
        int(key): row
        for key, row in zip(keys, table.parameters[: len(table)].copy(), strict=True)
        if not key >> np.uint64(63)
    }


def shared_rows(state: ShardState) -> int:
    table = state.model.table
    return int(np.count_nonzero(table.keys[: len(table)] >> np.uint64(63)))
