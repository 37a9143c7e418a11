"""What a follower says about a score, from versions as a writer makes them: no Kafka is needed for that."""

import math
from itertools import pairwise

import numpy as np
import orjson
import pytest

from tests.support.lineage import NOW, Writer, versions
from worker.commands.explain import shown
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.follow import Explanation, Moved, Row
from worker.follow.explanation import explanation_of
from worker.follow.shard import FollowedShard
from worker.follow.whole import Whole
from worker.learning import Feature, Learning
from worker.model.gaussian import Scores

FEATURES = {"user": {}, "item": {}, "tags": {"kind": "multi"}}


def learning_of(*, merge: bool, **model) -> Learning:
    return Learning.model_validate({"features": FEATURES, "model": {"factors": 4, "merge": merge} | model})


def event(user: str, item: str, time: int = 0, **more) -> bytes:
    return orjson.dumps({"user": user, "item": item, "label": 1, "time": NOW + time} | more)


class Followed:
    """Two shards that are learned, and a follower of both."""

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        self.writers = [Writer(learning, shard) for shard in range(2)]
        self.start()

    def start(self) -> None:
        """Begin to follow, and read nothing yet."""
        self.whole = Whole(self.learning)
        self.shards = [FollowedShard(self.learning.model.name, n, self.learning, self.whole) for n in range(2)]

    def advance(self, shard: int, *values: bytes) -> None:
        self.writers[shard].learn(list(values))
        self.writers[shard].commit()
        self.take(shard, last=1)

    def take(self, shard: int, *, last: int = 0, start: int = 0) -> None:
        """Read versions of a shard: the last so many, or all from an offset on."""
        read = versions(self.writers[shard].log, self.learning, shard=shard, start=start)
        for version in read[-last:]:
            self.shards[shard]._apply(version)

    def entries(self, value: bytes):
        decoded = Decoder(self.learning, labelled=False).decode([value], np.full(1, -1))
        return decoded.table, Features(self.learning).encode(decoded.table)

    def explain(self, shard: int, value: bytes) -> Explanation:
        table, entries = self.entries(value)
        return explanation_of(self.learning, table, shard, self.shards[shard].behind(entries))

    def scores(self, shard: int, value: bytes) -> Scores:
        return self.shards[shard].predict(self.entries(value)[1])[0]

    def moved(self, shard: int, value: bytes) -> dict[str, Moved | None]:
        return {f"{row.feature} {row.value}".strip(): row.moved for row in self.explain(shard, value).rows}


def exactly(shard: int, version: int) -> Moved:
    return Moved(shard=shard, version=version, exactly=True)


def at_most(shard: int, version: int) -> Moved:
    return Moved(shard=shard, version=version, exactly=False)


def row(explanation: Explanation, feature: str, value: str) -> Row:
    (found,) = [one for one in explanation.rows if (one.feature, one.value) == (feature, value)]
    return found


@pytest.mark.parametrize("kind", ["sgd", "ftrl"])
def test_a_linear_kind_has_shares_of_fields_and_knows_no_deviations(kind: str) -> None:
    model = {"kind": kind, "merge": False}
    followed = Followed(Learning.model_validate({"features": FEATURES, "model": model}))
    followed.advance(0, *[event(f"u{n % 3}", f"i{n % 5}", n, tags=["a", "b"]) for n in range(40)])
    value = event("u1", "i2", tags=["b", "a"])
    told, scores = followed.explain(0, value), followed.scores(0, value)
    assert told.probability == scores.predictions[0]
    assert math.fsum(field.share for field in told.fields) == told.logit != 0.0
    assert told.probability == pytest.approx(1 / (1 + math.exp(-told.logit)), rel=1e-5)
    assert told.pairs == ()
    unknown = [told.variance, told.low, told.high, *(field.deviation for field in told.fields)]
    unknown += [number for one in told.rows for number in (one.weight_deviation, one.weight_information)]
    assert all(math.isnan(number) for number in unknown)
    assert row(told, "user", "u1").moved == exactly(0, 1)
    assert "with 90 % from ? to ?" in shown(told, 15, width=80)
    assert "nan" not in shown(told, 15, width=80)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_an_explanation_adds_up_to_the_score(merge: bool, loss: str) -> None:
    followed = Followed(learning_of(merge=merge, loss=loss))
    for number in range(3):
        followed.advance(0, *[event(f"u{n % 3}", f"i{n % 5}", n, tags=["a", "b"]) for n in range(40 * (number + 1))])
    value = event("u1", "i2", tags=["b", "new", "a"])
    told, scores = followed.explain(0, value), followed.scores(0, value)
    assert told.probability == scores.predictions[0]
    assert told.variance == scores.variances[0]
    assert (told.shard, told.version, told.loss) == (0, 3, loss)
    shares = [*(field.share for field in told.fields), *(pair.share for pair in told.pairs)]
    assert math.fsum(shares) == told.logit
    deviations = [*(field.deviation for field in told.fields), *(pair.deviation for pair in told.pairs)]
    assert sum(deviation**2 for deviation in deviations) + told.covariance == pytest.approx(told.variance, rel=1e-5)
    expected = 1 / (1 + math.exp(-told.logit)) if loss == "logistic" else told.logit
    assert told.probability == pytest.approx(expected, rel=1e-5)
    assert told.low < told.probability < told.high
    # the largest come first, none is left out
    assert sorted(field.field for field in told.fields) == ["bias", "item", "tags", "user"]
    assert len(told.pairs) == 6
    for parts in (told.fields, told.pairs):
        assert all(abs(before.share) >= abs(after.share) for before, after in pairwise(parts))
    (bias,) = [field for field in told.fields if field.field == "bias"]
    assert told.base == bias.share
    assert (told.missing, told.unseen) == ((), ("tags",))
    for field in told.fields:
        assert math.fsum(one.multiplier * one.weight for one in field.rows) == pytest.approx(field.share, abs=1e-12)


@pytest.mark.parametrize("merge", [False, True])
def test_a_number_is_explained_on_the_scale_of_its_shard(merge: bool) -> None:
    learning = learning_of(merge=merge)
    price = Feature(kind="numeric")
    followed = Followed(learning.model_copy(update={"features": learning.features | {"price": price}}))
    prices = np.random.default_rng(0).normal([3_000, 100], [500, 10], (200, 2))
    for shard in range(2):  # which know two scales
        some = prices[:, shard].tolist()
        followed.advance(shard, *[event(f"u{n % 3}", f"i{n % 5}", n, price=some[n]) for n in range(200)])
    for shard, asked, expected in ((0, 4_000.0, 2.0), (1, 80.0, -2.0), (0, 1e30, 5.0)):
        value = event("u1", "i2", price=asked)
        told, scores = followed.explain(shard, value), followed.scores(shard, value)
        assert (told.probability, told.variance) == (scores.predictions[0], scores.variances[0])
        assert math.fsum([*(it.share for it in told.fields), *(it.share for it in told.pairs)]) == told.logit
        number = row(told, "price", f"{asked:.15g}")
        assert number.multiplier == pytest.approx(expected, abs=0.4 if asked < 1e30 else 0)


def test_a_row_says_what_it_holds() -> None:
    followed = Followed(learning_of(merge=True))
    followed.advance(0, event("u1", "i1", 5), event("u1", "i2", 1_500))
    told = followed.explain(0, event("u1", "i1"))
    user, item = row(told, "user", "u1"), row(told, "item", "i1")
    assert (user.scope, item.scope) == ("local", "shared")
    _, entries = followed.entries(event("u1", "i1"))
    assert (user.key, item.key) == (f"{entries.keys[1]:016x}", f"{entries.keys[2]:016x}")
    held = followed.writers[0].state.model.table.get(entries.keys[1:2])
    assert user.weight == held.parameters[0, 0]
    assert user.weight_deviation == pytest.approx(held.parameters[0, 1] ** -0.5)
    assert user.weight_information == held.parameters[0, 1] - 2.0 > 0
    assert user.factor_information == pytest.approx(user.factor_precision - 5.0)
    assert (user.seen, item.seen) == ("2025-01-01T00:00:01.500Z", "2025-01-01T00:00:00.005Z")
    assert told.missing == ("tags",)
    # A value never seen is its prior
    new = row(followed.explain(0, event("u9", "i1")), "user", "u9")
    assert (new.weight, new.weight_information, new.seen, new.moved) == (0.0, 0.0, None, None)


@pytest.mark.parametrize("merge", [False, True])
def test_each_row_names_the_version_that_last_moved_it(merge: bool) -> None:
    followed = Followed(learning_of(merge=merge))
    followed.advance(0, event("u1", "i1"), event("u2", "i2"))
    followed.advance(0, event("u2", "i1"))
    assert followed.moved(0, event("u1", "i1")) == {
        "bias": exactly(0, 2), "user u1": exactly(0, 1), "item i1": exactly(0, 2),
    }  # fmt: skip
    assert followed.moved(0, event("u3", "i2")) == {
        "bias": exactly(0, 2), "user u3": None, "item i2": exactly(0, 1),
    }  # fmt: skip


def test_a_shared_row_names_the_shard_whose_version_it_was() -> None:
    followed = Followed(learning_of(merge=True))
    followed.advance(0, event("u1", "i1", 10), event("u1", "i2", 11))
    followed.advance(1, event("v1", "i1", 20), event("v1", "i3", 21))
    followed.advance(1, event("v1", "i3", 5))
    assert followed.moved(0, event("u1", "i1")) == {
        "bias": exactly(1, 2), "user u1": exactly(0, 1), "item i1": exactly(1, 1),
    }  # fmt: skip
    assert followed.moved(1, event("v1", "i2"))["item i2"] == exactly(0, 1)
    # Of two shards, that of the later event counts as the last, and of one its last version
    followed.advance(0, event("u1", "i1", 12), event("u1", "i2", 3))
    assert followed.moved(1, event("v1", "i1"))["item i1"] == exactly(1, 1)
    assert followed.moved(1, event("v1", "i2"))["item i2"] == exactly(0, 2)
    # in whichever order they are read
    told = followed.moved(0, event("u1", "i1")), followed.moved(1, event("v1", "i3"))
    for order in ((0, 1), (1, 0)):
        followed.start()
        for shard in order:
            followed.take(shard)
        assert (followed.moved(0, event("u1", "i1")), followed.moved(1, event("v1", "i3"))) == told


@pytest.mark.parametrize("merge", [False, True])
def test_a_row_from_a_base_was_moved_at_or_before_it(merge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)
    followed = Followed(learning_of(merge=merge))
    writer = followed.writers[0]
    writer.learn([event("u1", "i1")])
    writer.commit()
    while writer.state.bases[-1].version == 1:
        writer.learn([event("u2", "i2")])
        writer.commit()
    base = writer.state.bases[-1]
    writer.learn([event("u3", "i3")])
    last = writer.commit().version
    assert base.version < last
    followed.start()
    followed.take(0, start=base.offset)
    assert followed.shards[0].manifest.version == last
    assert followed.moved(0, event("u1", "i1")) == {
        "bias": exactly(0, last), "user u1": at_most(0, base.version), "item i1": at_most(0, base.version),
    }  # fmt: skip
    assert followed.moved(0, event("u3", "i3"))["item i3"] == exactly(0, last)
    # What moved in the base's own version is known to the version
    assert followed.moved(0, event("u2", "i2"))["user u2"] == exactly(0, base.version)
    # A copy that is read anew, after damage, knows of unmoved rows that they were moved at or before its base
    followed.shards[0].restart()
    followed.take(0, start=base.offset)
    assert followed.moved(0, event("u1", "i1"))["user u1"] == at_most(0, base.version)


def test_a_shard_without_versions_explains_by_the_prior() -> None:
    followed = Followed(learning_of(merge=True))
    told = followed.explain(1, event("u1", "i1"))
    assert (told.version, told.base) == (0, 0.0)
    assert told.unseen == ("bias", "user", "item")
    assert all(one.moved is None for one in told.rows)


def test_a_seed_draws_and_the_scores_stay() -> None:
    followed = Followed(learning_of(merge=True))
    followed.advance(0, *[event(f"u{n % 3}", f"i{n % 5}", n) for n in range(40)])
    _, entries = followed.entries(event("u1", "i1"))
    plain, same, _ = followed.shards[0].predict(entries)
    scores, drawn, version = followed.shards[0].predict(entries, 5)
    assert same is plain.predictions
    assert scores.predictions.tobytes() == plain.predictions.tobytes()
    assert scores.variances.tobytes() == plain.variances.tobytes()
    assert (version, drawn.tobytes()) == (1, followed.shards[0].predict(entries, 5)[1].tobytes())
    assert drawn[0] != plain.predictions[0]


@pytest.mark.parametrize("merge", [False, True])
def test_a_value_that_is_held_back_is_explained_by_the_row_of_rare_values(merge) -> None:
    features = {name: feature | {"admit_after": 2} for name, feature in FEATURES.items()}
    learning = learning_of(merge=merge)
    learning = Learning.model_validate({"features": features, "model": learning.model.model_dump()})
    followed = Followed(learning)
    followed.advance(0, *[event("u1", "i1", n, tags=["a", f"t{n}"]) for n in range(9)])
    told = followed.explain(0, event("u1", "new", tags=["a", "b", "c"]))
    assert {(one.feature, one.value): one.rare for one in told.rows} == {
        ("bias", ""): False, ("user", "u1"): False, ("item", "new"): True,
        ("tags", "a"): False, ("tags", "b"): True, ("tags", "c"): True,
    }  # fmt: skip
    b, c = row(told, "tags", "b"), row(told, "tags", "c")
    assert (b.key, b.seen, b.moved) == (c.key, c.seen, c.moved)
    assert b.moved == exactly(0, 1)
    assert (b.multiplier, c.multiplier) == (pytest.approx(2 / 3), 0)
    assert told.probability == followed.scores(0, event("u1", "new", tags=["a", "b", "c"])).predictions[0]
    assert math.isclose(told.logit, math.log(told.probability / (1 - told.probability)), rel_tol=1e-5)
    variance = sum(part.deviation**2 for part in [*told.fields, *told.pairs]) + told.covariance
    assert math.isclose(told.variance, variance, rel_tol=1e-5)
    assert told.unseen == (), "what stands for rare values was learned from: the first user, item and tags"
    assert "tags = a, b (rare), c (rare)" in shown(told, 15, width=120)
