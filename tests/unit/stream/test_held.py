"""What is held of the other shards: each shard gets what it lacks, once, however long it was silent."""

import numpy as np
import pytest

from worker.model.ledger import Contribution, Ledger
from worker.snapshot.manifest import Base, Input, Manifest, Peer, State
from worker.snapshot.sealing import Folding
from worker.stream.held import _MOST_HELD, Behind, Held

WIDTH = 3 + 4
VERSIONS = _MOST_HELD + 50


@pytest.fixture
def held() -> Held:
    return Held(range(3))


def peer(version: int) -> Peer:
    """As if every version were of ten events, and made a second after the one before."""
    return Peer(version=version, offset=10 * version, events=10 * version, created=1_000 * version)


def folding(version: int, shard: int = 1) -> Folding:
    rng = np.random.default_rng(version)
    return Folding(
        shard=shard,
        peer=peer(version),
        contribution=Contribution(
            keys=rng.choice(50, 9, replace=False).astype(np.uint64),
            seen=rng.integers(0, 1_000, 9),
            amounts=rng.integers(-(2**60), 2**60, (9, WIDTH)),
        ),
    )


def hold(held: Held, versions: range, shard: int = 1, *, base: int = 1) -> None:
    for version in versions:
        held.add(manifest(version, shard, base), folding(version, shard))


def digest(foldings: list[Folding]) -> int:
    ledger = Ledger(WIDTH)
    for one in foldings:
        ledger.add(one.contribution)
    return ledger.digest


def manifest(version: int, shard: int, base: int) -> Manifest:
    return Manifest(
        model="m", shard=shard, version=version, parent=version - 1, group="g", learning={}, watermark=None, records=[],
        input=Input(topic="t", partition=shard, next_offset=0), created=0, parent_chain="",
        bases=[Base(version=base, completed=version, offset=0)],
        state=State(rows=0, events=0, unstable=0, rejected={}, digest=""),
    )  # fmt: skip


def test_a_shard_gets_what_the_others_added_after_what_it_knows(held):
    hold(held, range(1, 8), shard=1)
    hold(held, range(1, 4), shard=2)
    hold(held, range(1, 4), shard=0)
    found = held.after(0, {1: peer(5)})
    assert [(it.shard, it.peer.version) for it in found] == [(1, 6), (1, 7), (2, 1), (2, 2), (2, 3)]
    assert held.after(0, {1: peer(7), 2: peer(3)}) == []


def test_what_every_shard_knows_is_let_go(held):
    hold(held, range(1, 8))
    held.forget({0: {1: peer(5)}, 2: {1: peer(3)}, 1: {}})  # a shard folds nothing of its own
    assert [run.first for run in held._runs[1]] == [4, 5, 6, 7]
    held.forget({1: {}})
    assert not held._runs[1]


def test_what_a_silent_shard_lacks_is_summed_up_to_the_bit(held):
    # Given a shard that knows little, one that knows more, and one that knows nearly all
    hold(held, range(1, VERSIONS + 1))
    known = {0: {1: peer(5)}, 2: {1: peer(30)}}
    should = {shard: digest(held.after(shard, of)) for shard, of in known.items()}
    # When so much is held that it is summed up
    held.forget(known)
    # Then each can still go on from where it is
    assert [run.first for run in held._runs[1]] == [6, 31]
    for shard, of in known.items():
        found = held.after(shard, of)
        assert found[-1].peer == peer(VERSIONS)
        assert digest(found) == should[shard]
        assert not held.lost(shard, of)
    # and what comes after is held beside it, and summed up in its turn
    hold(held, range(VERSIONS + 1, 2 * VERSIONS + 1))
    assert digest(held.after(2, known[2])) == digest([folding(version) for version in range(31, 2 * VERSIONS + 1)])
    held.forget(known)
    assert [run.first for run in held._runs[1]] == [6, 31]
    assert digest(held.after(2, known[2])) == digest([folding(version) for version in range(31, 2 * VERSIONS + 1)])


def test_versions_are_not_summed_up_across_one_that_is_missing(held):
    hold(held, range(1, 60))
    hold(held, range(61, VERSIONS))
    held.forget({0: {}})
    assert [(run.first, run.folding.peer.version) for run in held._runs[1]] == [(1, 59), (61, VERSIONS - 1)]
    assert [it.peer.version for it in held.after(0, {})] == [59]


def test_a_version_that_never_comes_is_lost_once_a_base_holds_it(held):
    hold(held, range(1, 4))
    hold(held, range(5, 8), base=4)
    assert held.lost(0, {1: peer(3)}) == []  # version 4 is damaged, perhaps: the base itself would need it
    hold(held, range(8, 10), base=6)
    assert held.lost(0, {1: peer(3)}) == [1]
    assert held.lost(0, {1: peer(2)}) == []  # it has to fold 3 first
    assert held.lost(0, {1: peer(4)}) == []
    assert held.lost(1, {}) == []
    assert held.lost(0, {1: peer(9)}) == []  # all there is


def test_how_far_the_least_informed_shard_is_behind(held):
    hold(held, range(1, 8))
    assert held.behind({0: {1: peer(7)}, 2: {1: peer(4)}}) == {
        0: Behind(events=0, seconds=0),  # it has no version yet
        1: Behind(events=30, seconds=3),
        2: Behind(events=0, seconds=0),
    }
    assert held.behind({0: {1: peer(7)}})[1] == Behind(events=0, seconds=0)
    # Who was never folded in is lacked as a whole, but since when cannot be told
    assert held.behind({0: {}})[1] == Behind(events=70, seconds=0)
    assert held.behind({0: {}, 2: {1: peer(6)}})[1] == Behind(events=70, seconds=1)


def test_nobody_is_behind_itself_and_nobody_who_is_not_here_is_behind(held):
    hold(held, range(1, 8))
    assert set(held.behind({1: {}})) == {0, 2}
    assert held.behind({}) == {}


def test_what_was_there_before_reading_began_counts_as_lacked(held):
    held.begin(1, peer(5))
    assert held.behind({0: {1: peer(3)}})[1] == Behind(events=20, seconds=2)
    assert held.behind({0: {1: peer(5)}})[1] == Behind(events=0, seconds=0)


def test_a_version_without_events_is_not_lacked(held):
    hold(held, range(1, 8))
    more = folding(8)
    later = peer(8).model_copy(update={"events": peer(7).events})
    held.add(manifest(8, 1, 1), Folding(shard=1, peer=later, contribution=more.contribution[:0]))
    assert held.behind({0: {1: peer(7)}})[1] == Behind(events=0, seconds=0)
    # whoever has folded it in is not ahead of whom it then learns from
    assert held.behind({0: {1: later}})[1] == Behind(events=0, seconds=0)


def test_a_clock_that_was_set_back_makes_nobody_late(held):
    hold(held, range(1, 3))
    known = peer(1).model_copy(update={"created": 10**9})
    assert held.behind({0: {1: known}})[1] == Behind(events=10, seconds=0)
