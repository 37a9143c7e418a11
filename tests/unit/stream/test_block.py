"""The poison breaker: what is refused is never learned, and what is sane is learned to the bit as without it."""

from collections import Counter

import numpy as np
import orjson
import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.lineage import NOW, Writer, events, learning_of
from worker.events.pack import pack
from worker.learning import Events, Learning
from worker.pipeline import Pipeline
from worker.snapshot.kinds import breaker_of
from worker.snapshot.state import ShardState
from worker.stream.block import Block
from worker.stream.owned import Owned
from worker.stream.stages import Stages

BLOCK = 100


def freezing(learning: Learning | None = None, **quality) -> Learning:
    learning = learning or learning_of()
    bounds = {} if {"rejected_share", "unknown_share"} & quality.keys() else {"base_rate": (0.1, 0.6)}
    given = {f"freeze_{name}": value for name, value in ({"events": BLOCK} | bounds | quality).items()}
    return learning.model_copy(update={"quality": type(learning.quality).model_validate(given)})


def poison(n: int, seed: int = 99) -> list[bytes]:
    return [orjson.dumps(orjson.loads(event) | {"label": 0}) for event in events(n, seed)]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Live:
    """A shard of a worker, without Kafka."""

    def __init__(self, learning: Learning, state: ShardState | None = None) -> None:
        self.clock = Clock()
        breaker = breaker_of(learning)
        assert breaker is not None
        block = Block(breaker, packed=learning.events.format == "arrow", clock=self.clock)
        self.owned = Owned.restored(state or ShardState.fresh(0, learning), [], block)
        self.block = block
        self._stages = Stages(Pipeline(learning), most_events=1_000_000)

    def send(self, values: list[bytes], *, cuts: tuple[int, ...] = ()) -> "Live":
        start = self.owned.read_to
        for first, last in zip((0, *cuts), (*cuts, len(values)), strict=True):
            messages = [
                Message(topic="t", partition=0, offset=start + number, key=b"k", value=value, timestamp=(1, NOW))
                for number, value in enumerate(values[first:last], first)
            ]
            if messages:
                self._stages.hand_over(self.owned, messages)
        self.owned.read_to = start + len(values)
        self._await()
        return self

    def wait(self, seconds: float) -> "Live":
        """Let time pass, and do what the loop does then."""
        self.clock.now += seconds
        if self.block.overdue:
            self._stages.cut(self.owned)
        self._await()
        return self

    def _await(self) -> None:
        self._stages.apart(self.owned, self.owned.handed_over, lambda: None)

    @property
    def state(self) -> ShardState:
        return self.owned.state


def learned(learning: Learning, parts: list[tuple[int, list[bytes]]], *, poison: int = 0, upto: int = 0) -> str:
    """Digest a shard that has learned these parts alone, each from its offset on."""
    state = ShardState.fresh(0, learning)
    for start, values in parts:
        Pipeline(learning).learn(state, values, np.full(len(values), NOW), start + len(values))
    if poison:
        state.skipped["poison"] = poison
    state.next_offset = upto or state.next_offset
    return state.digest()


SANE = [*events(260, 0), b"no json", *events(249, 1)]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(SANE)), max_size=8), st.booleans())
def test_what_is_sane_is_learned_to_the_bit_however_it_is_polled(cuts, late):
    live = Live(freezing()).send(SANE, cuts=tuple(sorted(cuts)))
    assert live.state.next_offset == 400, "the block before the open one is held back too"
    assert live.owned.dead_letters[0][0].offset() == 260
    if late:
        live.wait(9.9)
        assert live.state.next_offset == 400
        live.wait(0.2)
        assert live.state.next_offset == len(SANE)
    else:
        live.send(events(90, 2)).send(events(100, 3))
    upto = live.state.next_offset
    every = [*SANE, *events(90, 2), *events(100, 3)]
    assert live.state.digest() == learned(learning_of(), [(0, every[:upto])])
    assert not live.block.refused


@pytest.mark.parametrize("start", [500, 517, 599])
def test_a_refused_block_freezes_the_shard_and_nothing_of_the_poison_is_learned(start):
    good = events(start, 0)
    live = Live(freezing()).send(good).send(poison(400)).send(events(300, 5))
    assert live.owned.frozen
    refused = live.block.refused
    assert live.state.next_offset == refused.first_offset
    assert start - 2 * BLOCK <= refused.first_offset <= start
    assert refused.last_offset < start + 2 * BLOCK, "found within a block that is nothing but poison"
    assert [fault.reason for fault in refused.faults] == ["base_rate"]
    assert live.state.digest() == learned(learning_of(), [(0, good[: refused.first_offset])])
    live.wait(100)
    assert live.state.next_offset == refused.first_offset
    # When the worker is started anew with the range named
    learning = freezing()
    first, last = start, start + 399
    named = learning.model_copy(update={"events": Events(skip=(f"0:{first}-{last}",))})
    again = Live(named, live.state).send([*good, *poison(400), *events(300, 5)][live.state.next_offset :]).wait(100)
    # Then it is as if nothing of it had ever been sent
    assert not again.owned.frozen
    want = learned(learning_of(), [(0, good), (start + 400, events(300, 5))], poison=400)
    assert again.state.digest() == want


def test_wider_bounds_learn_what_was_refused():
    values = [*events(300, 0), *poison(300)]
    frozen = Live(freezing()).send(values)
    assert frozen.owned.frozen
    wide = freezing(base_rate=(0.0, 0.6))
    again = Live(wide, frozen.state).send(values[frozen.state.next_offset :]).wait(100)
    assert again.state.digest() == learned(learning_of(), [(0, values)])


@pytest.mark.parametrize("start", [300, 333])
def test_poison_is_passed_over_until_blocks_are_sane_again(start):
    good, bad, after = events(start, 0), [*poison(399), b"no json"], events(600, 5)
    live = Live(freezing(resume="sane")).send([*good, *bad, *after]).wait(100)
    ranges = live.state.passed_over
    first, last = ranges[0][0], ranges[-1][1]
    assert [one[1] + 1 for one in ranges[:-1]] == [other[0] for other in ranges[1:]]
    assert start - 2 * BLOCK < first <= start
    assert start + 400 - 1 <= last < start + 400 + 2 * BLOCK
    every = [*good, *bad, *after]
    assert live.state.skipped == Counter(poison=last - first)
    assert live.state.rejected == {"not_json": 1}
    assert len(live.owned.dead_letters) == 1
    assert live.block.refused is None
    # And a replay of what the version says was passed over agrees
    named = learning_of().model_copy(update={"events": Events(skip=(f"0:{first}-{last}",))})
    assert live.state.digest() == learned(named, [(0, every)])
    assert live.state.digest() != learned(learning_of(), [(0, every)])


def test_a_version_says_what_was_passed_over_once():
    writer = Writer(learning_of())
    writer.state = Live(freezing(resume="sane")).send([*events(300, 0), *poison(300), *events(400, 1)]).state
    manifest = writer.commit()
    assert manifest.passed_over == [(200, 699)]
    writer.learn(events(10, 3))
    assert writer.commit().passed_over == []


def test_a_slow_shard_is_judged_as_it_is_and_found_out_within_a_block():
    live = Live(freezing()).send(events(300, 0)).wait(10)
    assert live.state.next_offset == 300
    for _ in range(10):
        live.send(poison(10)).wait(10)
    assert live.owned.frozen
    assert 300 <= live.state.next_offset < 400
    live = Live(freezing())
    for seed in range(30):  # chance alone freezes nothing
        live.send(events(7, seed)).wait(10)
    assert (live.owned.frozen, live.state.next_offset) == (False, 210)


def test_bad_records_freeze_a_shard():
    live = Live(freezing(rejected_share=0.5)).send(events(300, 0)).send([b"no json"] * 100)
    assert [fault.reason for fault in live.block.refused.faults] == ["rejected"]
    assert live.owned.dead_letters == [], "they are read again, and sent then"


@pytest.mark.parametrize("merge", [False, True])
def test_values_that_are_all_new_freeze_a_shard_once_it_knows_some(merge):
    learning = freezing(learning_of(merge=merge), unknown_share=0.9)
    live = Live(learning).send(events(1_200, 0, users=30, items=30))
    assert not live.owned.frozen, "in the beginning all values are new"
    live.send(events(400, 1, users=10**9, items=30))
    assert not live.owned.frozen, "half of the values are known"
    live.send(events(400, 2, users=10**9, items=10**9))
    assert [fault.reason for fault in live.block.refused.faults] == ["unknown"]


def test_packed_messages_are_judged_by_the_events_that_they_hold():
    learning = freezing(learning_of().model_copy(update={"events": Events(format="arrow")}))

    def packed(values: list[bytes]) -> list[bytes]:
        rows = [orjson.loads(value) for value in values]
        return [pack(rows[at : at + 30]) for at in range(0, len(rows), 30)]

    good = packed(events(600, 0))
    live = Live(learning).send(good)
    assert live.state.next_offset == 16, "blocks are of 4 messages, the one before the open one is held back too"
    assert live.state.progress.events == 480
    live.send(packed(poison(300)))
    assert live.owned.frozen
    assert live.state.next_offset == live.block.refused.first_offset == 16
    plain = learning_of().model_copy(update={"events": Events(format="arrow")})
    assert live.state.digest() == learned(plain, [(0, good[:16])])
