"""The scale of numbers is part of a shard: learned in order, published, restored, served."""

from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from tests.support.lineage import NOW, Writer, versions
from tests.support.scales import standard_of
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.follow.shard import FollowedShard
from worker.follow.whole import Whole
from worker.learning import Learning
from worker.model.batch import Entries
from worker.model.learner import Scores
from worker.pipeline import Pipeline
from worker.snapshot.lineage import apply, verify
from worker.stream.merging import recall

FEATURES = {
    "user": {},
    "price": {"kind": "numeric"},
    "visits": {"kind": "numeric", "transform": "log", "clip": 4},
    "tags": {"kind": "multi"},
}
MODELS = {
    "gaussian": {"factors": 4, "merge": False},
    "gaussian-merged": {"factors": 4},
    "gaussian-squared": {"factors": 4, "loss": "squared"},
    "gaussian-fading": {"factors": 4, "half_life": "1h"},
    "sgd": {"kind": "sgd", "merge": False},
    "ftrl": {"kind": "ftrl", "merge": False},
}
every_model = pytest.mark.parametrize("model", MODELS)


def learning_of(model: str = "gaussian", **features: object) -> Learning:
    return Learning.model_validate({"features": FEATURES | features, "model": MODELS[model]})


def events(n: int, seed: int = 0, *, absurd: float = 0.0) -> list[bytes]:
    """Make events whose label depends on a price in the thousands, a share of these absurd, some missing."""
    rng = np.random.default_rng(seed)
    prices = rng.normal(3_000.0, 500.0, n)
    labels = rng.random(n) < 1 / (1 + np.exp(-(prices - 3_000.0) / 250.0))
    prices = np.where(rng.random(n) < absurd, rng.choice([1e30, -1e300], n), prices)
    missing, visits = rng.random(n) < 0.1, rng.geometric(0.05, n)
    return [
        orjson.dumps(
            {"user": f"u{at % 20}", "price": None if missing[at] else float(prices[at]), "visits": int(visits[at]),
             "tags": ["a", "b"][: at % 3], "label": int(labels[at]), "time": NOW + at * 1_000}
        )
        for at in range(n)
    ]  # fmt: skip


def entries_of(learning: Learning, values: list[bytes]) -> Entries:
    return Features(learning).encode(Decoder(learning, labelled=False).decode(values, np.full(len(values), NOW)).table)


def restored(writer: Writer) -> Writer:
    """Give a writer that goes on from what another one has published, from its newest base on."""
    copy = Writer(writer.learning)
    for version in versions(writer.log, writer.learning, start=writer.manifests[-1].bases[-1].offset):
        apply(copy.state, version)
    verify(copy.state, writer.manifests[-1])
    recall(SimpleNamespace(model=writer.learning.model), copy.state, writer.manifests[-1], [], lambda _: None)
    return copy


def bits(scores: Scores) -> tuple[bytes, bytes]:
    return scores.predictions.tobytes(), scores.variances.tobytes()


@every_model
def test_a_shard_that_is_restored_goes_on_to_the_bit(model, monkeypatch):
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)
    values, bases = events(600, absurd=0.05), set()
    whole, cut = Writer(learning_of(model)), Writer(learning_of(model), base_part_bytes=512)
    # Given a shard that changes hands with every version, the first time amid its first numbers
    for start in range(0, 600, 15):
        for writer in (whole, cut):
            writer.learn(values[start : start + 15])
            bases |= {base.version for base in writer.commit().bases}
        copy = restored(cut)
        assert copy.state.cells.memory.words.tobytes() == cut.state.cells.memory.words.tobytes()
        cut.state = copy.state
    assert cut.state.digest() == whole.state.digest()
    assert len(bases) > 3, "bases carried it too, in parts"


@every_model
def test_the_size_of_a_poll_does_not_change_a_bit(model):
    values = events(400, absurd=0.02)
    whole, cut = Writer(learning_of(model)), Writer(learning_of(model))
    whole.learn(values)
    for start in range(0, 400, 13):
        cut.learn(values[start : start + 13])
    assert cut.state.digest() == whole.state.digest()
    assert standard_of(whole.state).counts.tolist() == [
        sum(b'price":null' not in it for it in values),
        400,
    ]


@every_model
def test_a_follower_scores_as_the_worker_would(model):
    learning, writer = learning_of(model), Writer(learning_of(model))
    whole = Whole(learning)
    follower = FollowedShard(learning.model.name, 0, learning, whole)
    for number in range(3):
        writer.learn(events(80, number, absurd=0.02))
        writer.commit()
        for version in versions(writer.log, learning)[number:]:
            follower._apply(version)
        asked = events(30, 9, absurd=0.1)
        served = follower.predict(entries_of(learning, asked))[0]
        state = restored(writer).state
        assert bits(served) == bits(state.model.predict(state.standardiser.standardise(entries_of(learning, asked))))
        # And so the next event is predicted before it is learned
        batch = Pipeline(learning).prepare(asked[:1], np.full(1, NOW)).batches[0]
        (prediction,) = state.model.learn(state.standardiser.take(batch)).predictions
        assert prediction == served.predictions[0]


def test_a_shard_without_a_version_gives_numbers_no_say():
    learning = learning_of("gaussian-merged")
    writer, whole = Writer(learning), Whole(learning)
    known, new = (FollowedShard(learning.model.name, shard, learning, whole) for shard in range(2))
    writer.learn(events(2_000))
    writer.commit()
    for version in versions(writer.log, learning):
        known._apply(version)
    asked = [orjson.dumps({"user": "nobody", "price": price}) for price in (1_000.0, 5_000.0, None)]
    low, high, _ = known.predict(entries_of(learning, asked))[0].predictions
    assert low < 0.05
    assert high > 0.95
    # What is shared is known to both, on which scale it lies to one: with 0 its weight counts nothing
    first, second, _ = new.predict(entries_of(learning, asked))[0].predictions
    assert first == second
    assert 0.2 < first < 0.8


@every_model
def test_absurd_numbers_spoil_neither_the_scale_nor_the_model(model):
    losses = []
    for absurd in (0.0, 0.005):
        writer = Writer(learning_of(model))
        writer.learn(events(4_000, absurd=absurd))
        losses.append(writer.state.progress.loss)
        assert writer.state.model.unstable == 0
        known = standard_of(writer.state)
        assert known.medians[0] == pytest.approx(3_000, abs=50)
        assert known.spreads[0] == pytest.approx(500, abs=50)
    assert losses[1] < 1.2 * losses[0], "that of the absurd events themselves among it"


def test_many_skewed_numbers_do_not_make_the_machine_diverge():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2_000, 13))
    labels = rng.random(2_000) < 1 / (1 + np.exp(1 - z @ rng.normal(0, 0.35, 13)))
    names = [f"n{number}" for number in range(13)]
    features = {name: {"kind": "numeric"} for name in names}
    writer = Writer(Learning.model_validate({"features": features, "model": {"merge": False}}))
    writer.learn(
        [
            orjson.dumps(dict(zip(names, row, strict=True)) | {"user": "u", "label": int(label), "time": NOW})
            for row, label in zip(np.exp(z).tolist(), labels.tolist(), strict=True)
        ]
    )
    assert writer.state.model.unstable == 0
    assert writer.state.progress.loss < 0.6


def test_events_that_are_left_out_do_not_move_the_scale():
    # Given events that have ids, of which half of the negatives are kept, and the same ones sent twice
    values = [
        orjson.dumps(orjson.loads(value) | {"id": f"e{number}"})
        for number, value in enumerate(events(600, absurd=0.02))
    ]
    settings = {"id": "id", "duplicate_window": 10_000, "keep_negatives": 0.5}
    learning = Learning.model_validate({"features": FEATURES, "events": settings, "model": MODELS["gaussian"]})
    once, twice = Writer(learning), Writer(learning)
    once.learn(values)
    for start in range(0, 600, 60):
        twice.learn(values[start : start + 60])
        twice.commit()
        twice.state = restored(twice).state
    before = standard_of(twice.state)
    twice.learn(values)
    for one in (once.state, twice.state):
        known = standard_of(one)
        assert (known.counts.tolist(), known.medians.tolist()) == (before.counts.tolist(), before.medians.tolist())
        assert known.counts[1] == one.progress.events < 600
    assert twice.state.model.digest() == once.state.model.digest()


def test_without_numbers_that_are_standardised_a_shard_remembers_nothing():
    scaled = {name: FEATURES[name] | {"standardise": "off", "clip": 5} for name in ("price", "visits")}
    writer = Writer(learning_of(**scaled))
    writer.learn(events(50))
    assert len(writer.state.cells) == 0
    assert not {"cells", "base_cells"} & {str(part.kind) for part in writer.commit().records}


@pytest.mark.parametrize("other", ["item", "tags"])
def test_numbers_take_part_in_pairs_with_categories_and_lists(other):
    """What a price does depends on the item, and on a list of tags: no weights of single fields know that."""
    rng = np.random.default_rng(5)
    n = 6_000
    price, group = rng.normal(1e6, 1e4, n), rng.integers(2, size=n)
    labels = (price > 1e6) == (group == 1)
    values = [
        orjson.dumps({"user": f"u{at % 20}", "price": float(price[at]), other: f"g{group[at]}" if other == "item" else
                      [f"g{group[at]}", "every"], "label": int(labels[at]), "time": NOW + at})
        for at in range(n)
    ]  # fmt: skip
    found = {}
    for factors in (0, 4):
        features = {"user": {}, "price": {"kind": "numeric"}, other: {"kind": "multi"} if other == "tags" else {}}
        writer = Writer(Learning.model_validate({"features": features, "model": {"factors": factors, "merge": False}}))
        writer.learn(values[: n // 2])
        state, entries = writer.state, entries_of(writer.learning, values[n // 2 :])
        scores = state.model.predict(state.standardiser.standardise(entries)).predictions
        found[factors] = np.mean((scores > 0.5) == labels[n // 2 :])
    assert found[0] < 0.6
    assert found[4] > 0.95
