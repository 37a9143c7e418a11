"""What of the intake is learned: each id once, a sample of the negatives, labels that may be wrong."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from tests.support.lineage import NOW, Writer, versions
from worker.events.intake import Source
from worker.events.pack import pack
from worker.events.rejects import Reason
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.quality.progress import EVENTS, LABEL, LOSS, WEIGHT
from worker.snapshot.lineage import advance, apply, verify
from worker.snapshot.manifest import Manifest
from worker.snapshot.state import ShardState

MODEL: dict[str, Any] = {"factors": 4, "merge": False}


def learning_of(*, model: dict[str, Any] | None = None, **intake: Any) -> Learning:
    return Learning.model_validate(
        {"events": intake, "features": {"user": {}, "item": {}}, "model": MODEL | (model or {})}
    )


def events(n: int, seed: int, *, rate: float = 0.3, first: int = 0) -> list[dict[str, Any]]:
    """Make events with ids that count up from `first`; so many labels are 1."""
    rng = np.random.default_rng(seed)
    drawn = zip(rng.integers(300, size=n).tolist(), rng.integers(80, size=n).tolist(), rng.random(n), strict=True)
    return [
        {"id": first + at, "user": f"u{u}", "item": i, "label": int(r < rate), "time": NOW + at}
        for at, (u, i, r) in enumerate(drawn)
    ]


def learn(learning: Learning, stream: Sequence[Any], poll: int = 500, *, packed: int = 1) -> ShardState:
    """Learn events, dictionaries or what is none, polled and packed so many at a time."""
    state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
    values = [one if isinstance(one, bytes) else orjson.dumps(one) for one in stream]
    if learning.events.format == "arrow":
        values = [pack([json.loads(it) for it in values[at : at + packed]]) for at in range(0, len(values), packed)]
    for start in range(0, len(values), poll):
        part = values[start : start + poll]
        pipeline.learn(state, part, np.full(len(part), NOW), start + len(part))
    return state


def sent_twice(seed: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give events, and the same with some of them repeated soon after."""
    once = events(1_500, seed)
    rng = np.random.default_rng(seed)
    places = [(float(at), one) for at, one in enumerate(once)]
    again = [(at + float(rng.uniform(0.1, 60)), one) for at, one in places if rng.random() < 0.3]
    return once, [one for _, one in sorted([*places, *again], key=lambda it: it[0])]


# --- duplicates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["json", "arrow"])
@pytest.mark.parametrize("poll", [1, 7, 5_000])
def test_what_was_sent_twice_is_learned_once(format_, poll):
    once, twice = sent_twice()
    learning = learning_of(id="id", duplicate_window=64, format=format_)
    state = learn(learning, twice, poll, packed=9)
    single = learn(learning_of(), once)
    assert state.model.digest() == single.model.digest()
    assert state.progress.sums.tobytes() == single.progress.sums.tobytes()
    assert dict(state.skipped) == {"duplicate": len(twice) - len(once)}
    assert not state.rejected
    assert state.digest() == learn(learning, twice, packed=9).digest(), "however it is polled"


def test_an_id_beyond_the_window_is_new_again():
    once = events(10, 1)
    state = learn(learning_of(id="id", duplicate_window=9), [*once, once[0], once[9]])
    assert (state.progress.events, dict(state.skipped)) == (11, {"duplicate": 1})


def test_123_and_its_text_are_one_id_and_none_is_none():
    one = events(1, 1)[0]
    state = learn(
        learning_of(id="id"),
        [one | {"id": 123}, one | {"id": "123"}, one | {"id": None}, one | {"id": None}, {**one, "id": "124"}],
    )
    assert (state.progress.events, dict(state.skipped)) == (4, {"duplicate": 1})
    del one["id"]
    assert learn(learning_of(id="id"), [one, one]).progress.events == 2


def test_a_bad_event_leaves_its_id_to_a_good_one_and_an_id_of_another_type_is_bad():
    good = events(1, 1)[0]
    state = learn(learning_of(id="id"), [good | {"label": 7}, good, good | {"id": 1.5}])
    assert state.progress.events == 1
    assert dict(state.rejected) == {str(Reason.LABEL_OUT_OF_RANGE): 1, str(Reason.WRONG_TYPE): 1}
    assert not state.skipped


def test_an_id_may_be_a_feature_too():
    learning = learning_of(id="user")
    state = learn(learning, events(500, 1))
    assert state.progress.events == len({event["user"] for event in events(500, 1)})


def test_shards_that_look_for_ids_and_find_no_duplicate_learn_as_others_do():
    stream = events(1_000, 1)
    state, other = learn(learning_of(id="id"), stream), learn(learning_of(), stream)
    assert state.model.digest() == other.model.digest()
    assert state.digest() != other.digest(), "what it remembers is part of it"


# --- negatives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poll", [1, 7, 5_000])
@pytest.mark.parametrize("intake", [{}, {"id": "id"}, {"format": "arrow"}, {"id": "id", "format": "arrow"}])
def test_how_events_are_polled_changes_nothing_of_which_negatives_are_kept(intake, poll):
    _, twice = sent_twice()
    learning = learning_of(keep_negatives=0.25, **intake)
    state, whole = learn(learning, twice, poll, packed=50), learn(learning, twice, packed=50)
    assert state.digest() == whole.digest()
    assert state.skipped == whole.skipped


def test_by_their_ids_the_same_are_kept_in_any_format_and_at_any_place():
    once, twice = sent_twice()
    states = [
        learn(learning_of(keep_negatives=0.25, id="id", format=format_), stream, packed=7)
        for format_ in ("json", "arrow")
        for stream in (once, twice, [b"no event" if format_ == "json" else {"label": None}, *once])
    ]
    assert len({state.model.digest() for state in states}) == 1
    assert {state.skipped["negative"] for state in states} == {states[0].skipped["negative"]}


def test_a_message_of_several_batches_is_one_message_however_it_is_polled():
    """What is counted is its row in the message, not in what was decoded at once."""

    def message(seed: int) -> bytes:
        sink = pa.BufferOutputStream()
        columns = pa.table({"user": ["u"] * 200, "item": [seed] * 200, "label": [0] * 200, "time": [NOW] * 200})
        with pa.ipc.new_stream(sink, columns.schema) as writer:
            for batch in columns.to_batches(max_chunksize=20):
                writer.write_batch(batch)
        return bytes(sink.getvalue())

    learning = learning_of(keep_negatives=0.5, format="arrow")
    values, states = [message(seed) for seed in range(6)], []
    for poll in (1, 6):
        state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
        for start in range(0, 6, poll):
            pipeline.learn(state, values[start : start + poll], np.full(poll, NOW), start + poll)
        states.append(state)
    assert states[0].digest() == states[1].digest()
    # Were batches counted for themselves, each would keep the same rows, and the number be a multiple of 10.
    assert 500 < states[0].progress.events < 700


def test_what_is_left_out_makes_no_rows_and_moves_nothing():
    stream = events(2_000, 2)
    for event in stream:
        if not event["label"]:
            event |= {"user": f"negative{event['id']}", "time": NOW + 5_000}
    state = learn(learning_of(keep_negatives=1e-9), stream)
    positives = learn(learning_of(), [event for event in stream if event["label"]])
    assert len(state.model.table) == len(positives.model.table)
    assert state.watermark == positives.watermark
    assert state.skipped["negative"] == sum(not event["label"] for event in stream)
    assert state.next_offset == len(stream)


def test_sums_stand_for_all_events():
    stream = events(30_000, 3, rate=0.02)
    state, full = learn(learning_of(keep_negatives=0.1), stream), learn(learning_of(), stream)
    kept, all_ = state.progress.sums, full.progress.sums
    positives = all_[LABEL]
    assert kept[EVENTS] + state.skipped["negative"] == all_[EVENTS]
    assert kept[LABEL] == positives
    assert kept[WEIGHT] == pytest.approx(all_[WEIGHT], rel=0.02)
    assert kept[LOSS] == pytest.approx(all_[LOSS], rel=0.05)
    histogram = state.progress.histogram.sum(axis=1)
    assert histogram[0] == pytest.approx(all_[WEIGHT] - positives, rel=0.02)
    assert histogram[1] == positives


def test_negatives_that_are_left_out_are_remembered_like_others():
    """The second event of an id is a duplicate, whether the first was learned or left out."""
    stream = events(400, 4, rate=0.0)
    clicked = [event | {"label": 1} for event in stream]
    state = learn(learning_of(id="id", keep_negatives=0.1), [*stream, *clicked])
    assert state.skipped["duplicate"] == 400
    assert state.progress.sums[LABEL] == 0


def test_which_negatives_are_kept_is_not_guessed_where_nobody_says_where_records_stand():
    pipeline = Pipeline(learning_of(keep_negatives=0.1))
    assert pipeline.asks_source
    values = [orjson.dumps(event) for event in events(3, 1)]
    with pytest.raises(ValueError, match="offsets of their records"):
        pipeline.prepare(values, np.full(3, NOW))
    assert not Pipeline(learning_of(id="id")).asks_source
    # Gaps between offsets count: they are where transactions end, and where a topic was compacted.
    stream = [orjson.dumps(event) for event in events(3_000, 1)]
    near, far = (
        pipeline.prepare(stream, np.full(3_000, NOW), Source(shard=0, offsets=step * np.arange(3_000)))
        for step in (1, 2)
    )
    assert near.batches[0].times.tolist() != far.batches[0].times.tolist()


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def bases_early(monkeypatch):
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


@pytest.mark.usefixtures("bases_early")
@pytest.mark.parametrize(
    "intake", [{"id": "id", "duplicate_window": 700}, {"id": "id", "duplicate_window": 900, "keep_negatives": 0.2}]
)
def test_a_restart_remembers_what_was_sent_and_what_was_skipped(intake):
    # Given a shard whose bases travel in parts, and whose window has moved on several times since the first
    learning = learning_of(model={"label_noise": 0.05}, **intake)
    writer, whole = Writer(learning, base_part_bytes=4_000, record_limit_bytes=20_480), ShardState.fresh(0, learning)
    for number in range(14):
        writer.learn([orjson.dumps(event) for event in events(200, number, first=150 * number)])
        writer.commit()
    last = writer.manifests[-1]
    assert last.bases[-1].version > 1
    assert last.state.skipped.keys() == set(writer.state.skipped) >= {"duplicate"}
    # When it is restored, from the last base or as a follower reads it
    restored = ShardState.fresh(0, learning)
    for version in versions(writer.log, learning, start=last.bases[-1].offset):
        apply(restored, version)
    verify(restored, last)
    first, *rest = versions(writer.log, learning)
    apply(whole, first)
    for version in rest:
        advance(whole, version)
    # Then it goes on as if nothing had happened
    stream = [orjson.dumps(event) for event in events(900, 99, first=150 * 13 - 300)]
    for state in (writer.state, restored, whole):
        other = Writer(learning)
        other.state = state
        other.learn(stream)
    assert writer.state.skipped["duplicate"] > last.state.skipped["duplicate"]
    assert restored.skipped == whole.skipped == writer.state.skipped
    assert restored.digest() == whole.digest() == writer.state.digest()


def test_a_manifest_of_a_release_that_skipped_nothing_is_read():
    writer = Writer(learning_of())
    said = json.loads(writer.advance().encode())
    assert said["state"].pop("skipped") == {}
    for name in ("id", "duplicate_window", "keep_negatives"):
        del said["learning"]["events"][name]
    assert Manifest.decode(orjson.dumps(said)).state.skipped == {}


# --- noise -----------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_labels_as_they_are_observed_and_scores_are_of_the_true_ones():
    rng = np.random.default_rng(5)
    stream = events(20_000, 5, rate=0.1)
    for event, flipped in zip(stream, rng.random(len(stream)) < 0.05, strict=True):
        event["label"] ^= int(flipped)
    state = learn(learning_of(model={"label_noise": 0.05}), stream)
    plain = learn(learning_of(), stream)
    # A tenth is positive, and of the observed labels 0.1 x 0.95 + 0.9 x 0.05 are.
    assert state.progress.sums[LABEL] / 20_000 == pytest.approx(0.14, abs=0.01)
    assert state.progress.sums[4] / state.progress.sums[LABEL] == pytest.approx(1, abs=0.03)
    assert state.progress.loss == pytest.approx(plain.progress.loss, rel=0.01)
    pipeline = Pipeline(learning_of())
    (batch,) = pipeline.prepare([orjson.dumps(event) for event in stream[:2_000]], np.full(2_000, NOW)).batches
    assert state.model.predict(batch.entries).predictions.mean() == pytest.approx(0.1, abs=0.015)
    assert plain.model.predict(batch.entries).predictions.mean() == pytest.approx(0.14, abs=0.015)
