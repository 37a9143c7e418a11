"""A drift that is answered: the same bits however events are cut, after restarts, after aborts, and in followers."""

from collections import Counter
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.lineage import NOW, Writer, learning_of, versions
from tests.unit.snapshot.test_lineage import rebuilt
from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.learning import Learning
from worker.quality import loosening
from worker.snapshot.lineage import advance, apply, require_same_learning
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind
from worker.snapshot.state import ShardState
from worker.watching import Quality

WINDOW = 1_000
DRIFT = 4_000
EVENTS = 6_000
LOOSEN = Quality(false_alarm_every=1_000_000, window=WINDOW, response="loosen", loosen_to=4.0)
KINDS = {
    "alone": {},
    "half_life": {"half_life": "1h"},
    "bounded": {"max_rows": 60},
    "merged": {"merge": True},
    "merged_half_life": {"merge": True, "half_life": "1h"},
    "merged_bounded": {"merge": True, "max_rows": 60},
    "squared": {"loss": "squared", "noise_variance": 0.2},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def cut_often(monkeypatch):
    monkeypatch.setattr(loosening, "EVERY", 64)
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


def learning(kind: str = "alone", quality: Quality = LOOSEN) -> Learning:
    return learning_of(**KINDS[kind]).model_copy(update={"quality": quality})


def drifting(first: int, last: int) -> list[bytes]:
    """Labels that follow the item, and turn around at event number `DRIFT`; some seconds apart."""
    rng = np.random.default_rng(5)
    user, item, noise = rng.integers(40, size=EVENTS), rng.integers(40, size=EVENTS), rng.random(EVENTS) < 0.1
    label = (item % 2 == 0) ^ noise ^ (np.arange(EVENTS) >= DRIFT)
    return [
        orjson.dumps({"user": f"u{user[n]}", "item": f"i{item[n]}", "label": int(label[n]), "time": NOW + 5_000 * n})
        for n in range(first, last)
    ]


def learned(kind: str, cuts: list[int], *, restart: bool = False) -> Writer:
    """A shard that has learned the stream in such batches, with a commit at the same two events."""
    writer = Writer(learning(kind))
    commits = (3_000, EVENTS)
    points = sorted({*cuts, *commits})
    for first, last in zip([0, *points[:-1]], points, strict=True):
        writer.learn(drifting(first, last))
        if last in commits:
            writer.commit()
            if restart:
                _restart(writer)
    return writer


def _restart(writer: Writer) -> None:
    """Come back as of the last version; what was read of shared rows is what is known of them."""
    state = rebuilt(writer)
    if state.model.shared is not None:
        state.model.recall()
        state.digest()
    writer.state = state


@every_kind
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, EVENTS - 1), max_size=30))
def test_how_events_are_cut_into_batches_changes_no_bit(kind, cuts):
    whole, cut = learned(kind, []), learned(kind, cuts)
    assert whole.state.loosening.times == 1
    assert DRIFT < whole.state.loosening.event < DRIFT + 500
    assert whole.state.loosening.event % 64 == 0
    assert cut.digests == whole.digests
    assert [it.state for it in cut.manifests] == [it.state for it in whole.manifests]


def answered_at(kind: str) -> int:
    return learned(kind, []).state.loosening.event


@every_kind
def test_a_restart_between_alarm_and_answer_changes_no_bit(kind):
    at = answered_at(kind)
    restarts = (at - 1, at, at + 1)  # the first with the alarm known, and not answered
    on, back = Writer(learning(kind)), Writer(learning(kind))
    for first, last in zip((0, *restarts), (*restarts, EVENTS), strict=True):
        for writer in (on, back):
            writer.learn(drifting(first, last))
            writer.commit()
        if last == at - 1:
            assert max(back.state.watch.alarm(detector).alarms for detector in range(3)) == 1
            assert back.state.loosening.times == 0
        _restart(back)
        assert back.state.digest() == on.state.digest() == on.digests[on.state.version]
    assert on.state.loosening.times == back.state.loosening.times == 1
    assert back.digests == on.digests
    assert back.manifests[-1].state == on.manifests[-1].state


@every_kind
def test_what_is_aborted_is_learned_and_loosened_again(kind):
    straight, again = learned(kind, []), Writer(learning(kind))
    again.learn(drifting(0, 3_000))
    again.commit()
    again.learn(drifting(3_000, 5_000))  # the answer among them
    assert again.state.loosening.times == 1
    again.seal()  # and aborted
    _restart(again)
    assert again.state.loosening.times == 0
    again.learn(drifting(3_000, EVENTS))
    again.commit()
    assert again.digests == straight.digests


@every_kind
def test_a_follower_has_the_bits_of_the_writer_at_every_version(kind):
    writer = Writer(learning(kind))
    for first in range(0, EVENTS, 500):
        writer.learn(drifting(first, first + 500))
        writer.commit()
    first, *rest = versions(writer.log, writer.learning)
    state = ShardState.fresh(0, writer.learning, reserve=False)
    apply(state, first)
    for version in rest:
        advance(state, version)  # verifies the digest
        told = version.manifest.state
        assert (state.loosening.times, state.loosening.event) == (told.loosened, told.loosened_at)
    assert [manifest.state.loosened for manifest in writer.manifests][-4:] == [1, 1, 1, 1]
    assert state.digest() == writer.digests[writer.state.version]
    assert state.watch.digest() == writer.state.watch.digest()


def test_a_version_that_does_not_hold_leaves_the_answers_as_they_were():
    writer = Writer(learning())
    for first in range(0, EVENTS, 500):
        writer.learn(drifting(first, first + 500))
        if writer.commit().state.loosened:
            break
    *before, last = versions(writer.log, writer.learning)
    state = ShardState.fresh(0, writer.learning)
    for version in before:
        apply(state, version)
    state.digest()
    damaged = last.manifest.model_copy(update={"state": last.manifest.state.model_copy(update={"digest": "0" * 32})})
    with pytest.raises(CorruptSnapshotError, match="has digest"):
        advance(state, replace(last, manifest=damaged))
    assert (state.loosening.times, state.loosening.event) == (0, 0)


@pytest.mark.parametrize("answered", [True, False])
def test_what_is_watched_is_in_the_digest_where_it_decides(answered):
    quality = LOOSEN if answered else Quality(false_alarm_every=1_000_000, window=WINDOW)
    state = Writer(learning(quality=quality)).state
    before = state.digest()
    state.watch.words[0] += 1
    assert (state.digest() != before) == answered
    before = state.digest()
    state.loosening.event += 1
    assert (state.digest() != before) == answered


def test_the_version_of_the_answer_holds_all_local_rows():
    writer = Writer(learning())
    rows = {}
    for first in range(0, EVENTS, 100):
        writer.learn(drifting(first, first + 100))
        manifest = writer.commit()
        rows[manifest.state.loosened_at] = sum(it.rows for it in manifest.records if it.kind is Kind.ROWS)
        if manifest.state.loosened:
            break
    assert rows[manifest.state.loosened_at] == len(writer.state.model.table) == 81


def test_without_a_response_the_digest_is_that_of_a_shard_that_is_not_watched():
    told = Writer(learning(quality=Quality(false_alarm_every=1_000_000, window=WINDOW)))
    nothing = Writer(learning(quality=Quality(false_alarm_every=0)))
    for writer in (told, nothing):
        writer.learn(drifting(0, EVENTS))
        writer.commit()
    assert sum(told.state.watch.alarm(detector).alarms for detector in range(3)) > 0
    assert told.digests == nothing.digests
    assert told.state.loosening.times == told.manifests[-1].state.loosened == 0


def test_the_answer_helps():
    told = Writer(learning(quality=Quality(false_alarm_every=1_000_000, window=WINDOW)))
    answered = Writer(learning())
    for writer in (told, answered):
        writer.learn(drifting(0, EVENTS))
    assert answered.state.progress.loss < told.state.progress.loss


def manifest_of(quality: Quality) -> Manifest:
    writer = Writer(learning(quality=quality))
    writer.learn(drifting(0, 10))
    return writer.commit()


@pytest.mark.parametrize(
    ("written", "wanted", "differ"),
    [
        ({}, {"window": 5_000}, Counter()),
        ({}, {"response": "loosen"}, Counter(["quality.response"])),
        ({"response": "loosen"}, {}, Counter(["quality.response"])),
        ({"response": "loosen"}, {"response": "loosen"}, Counter()),
        ({"response": "loosen"}, {"response": "loosen", "loosen_to": 2.0}, Counter(["quality.loosen_to"])),
        ({"response": "loosen"}, {"response": "loosen", "window": 5_000}, Counter(["quality.window"])),
        (
            {"response": "loosen"},
            {"response": "loosen", "slices": {"item": ("i1",)}},
            Counter(["quality.slices.item"]),
        ),
    ],
)
def test_who_is_watched_otherwise_goes_on_unless_alarms_are_answered(written, wanted, differ):
    manifest, mine = manifest_of(Quality(**written)), learning(quality=Quality(**wanted))
    if not differ:
        require_same_learning(manifest, mine, "group")
        return
    with pytest.raises(IncompatibleDataError) as refused:
        require_same_learning(manifest, mine, "group")
    assert Counter(line.split(":")[0].strip() for line in str(refused.value).split("\n")[1:-1]) == differ
