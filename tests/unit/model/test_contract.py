"""What every kind of learner does, whatever it learns by: `worker.model.learner`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.batches import Event, batch_of, entries_of, learned_in_parts, stream
from worker.learning import Learning
from worker.model.forgetting import NEVER
from worker.model.learner import Learner
from worker.snapshot.kinds import learner_of

MODELS = {
    "gaussian": {"factors": 4},
    "gaussian-squared": {"factors": 4, "loss": "squared"},
    "gaussian-linear": {"factors": 0},
    "gaussian-one-pair": {"factors": 4, "pairs": [["f1", "bias"]]},
    "gaussian-no-pair": {"pairs": "none"},
    "gaussian-auto": {"factors": 4, "pairs": "auto"},
    "sgd": {"kind": "sgd"},
    "sgd-squared": {"kind": "sgd", "loss": "squared"},
    "ftrl": {"kind": "ftrl"},
    "ftrl-sparse": {"kind": "ftrl", "ftrl_l1": 0.5, "ftrl_l2": 1.0},
    "gaussian-noise": {"factors": 4, "label_noise": 0.05},
    "sgd-noise": {"kind": "sgd", "label_noise": 0.05},
    "ftrl-noise": {"kind": "ftrl", "label_noise": 0.05},
}
every_kind = pytest.mark.parametrize("kind", MODELS)


def learner(kind: str, features: int = 3, *, events: dict[str, object] | None = None, **settings: object) -> Learner:
    """Make a learner of so many features beside the bias, as a configuration does."""
    model = {"merge": False} | MODELS[kind] | settings
    named = {f"f{n}": {} for n in range(features)}
    return learner_of(Learning.model_validate({"events": events or {}, "features": named, "model": model}))


def rows_of(model: Learner) -> dict[int, tuple[bytes, int]]:
    """By key: the bits of a row, and when it was last moved."""
    rows = model.table.part(0, len(model.table))
    parts = zip(rows.keys.tolist(), rows.parameters, rows.seen.tolist(), strict=True)
    return {key: (parameters.tobytes(), seen) for key, parameters, seen in parts}


def keys_of(events: list[Event]) -> set[int]:
    return set(entries_of(events).keys.tolist())


@every_kind
def test_an_event_is_predicted_before_it_is_learned_and_predicting_changes_nothing(kind):
    model = learner(kind)
    events, labels = stream(60)
    model.learn(batch_of(events[:20], labels[:20]))
    for event, label in zip(events[20:], labels[20:], strict=True):
        before = rows_of(model), model.digest()
        predicted = model.predict(entries_of([event]))  # values never seen among them
        assert (rows_of(model), model.digest()) == before
        learned = model.learn(batch_of([event], [label]))
        assert predicted.predictions.tobytes() == learned.predictions.tobytes()
        assert predicted.variances.tobytes() == learned.variances.tobytes()


def various(n: int, seed: int) -> tuple[list[Event], np.ndarray]:
    """Events of a bias, and of two values out of many."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(60, size=(n, 2)).tolist()
    events: list[Event] = [[[(1, 1.0)], [(100 + one, 1.0)], [(200 + other, 1.0)], []] for one, other in drawn]
    return events, rng.integers(0, 2, n).astype(np.float32)


@every_kind
@pytest.mark.parametrize("bounds", [{}, {"max_rows": 20}, {"max_bytes": "16KiB"}])
@hypothesis_settings(max_examples=10)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_how_events_are_cut_into_batches_changes_no_bit(kind, bounds, sizes):
    events, labels = various(sum(sizes), len(sizes)) if bounds else stream(sum(sizes), seed=len(sizes))
    whole, cut = learner(kind, **bounds), learner(kind, **bounds)
    at_once = whole.learn(batch_of(events, labels)).predictions
    predictions = learned_in_parts(cut, events, labels, sizes)
    assert predictions.tobytes() == at_once.tobytes()
    assert rows_of(cut) == rows_of(whole)
    assert cut.digest() == whole.digest()


@every_kind
def test_a_bounded_model_keeps_the_rows_that_say_the_most(kind):
    model = learner(kind, max_rows=40)
    rng = np.random.default_rng(1)
    for _ in range(50):  # the values 100 to 109 come again and again, all the others once
        often, labels = 100 + rng.integers(10, size=20), rng.random(20) < 0.9
        model.learn(batch_of([[[(1, 1.0)], [(int(key), 1.0)], [], []] for key in often], labels))
        once = rng.integers(1_000, 2**40, size=20)
        model.learn(batch_of([[[(1, 1.0)], [(int(key), 0.1)], [], []] for key in once], labels))
        assert len(model.table) <= 40
    assert model.room.evicted > 900
    assert set(range(100, 110)) | {1} <= rows_of(model).keys()


@every_kind
def test_rows_of_an_event_that_fills_the_bound_alone_are_all_there_when_it_is_learned(kind):
    model, free = learner(kind, max_rows=20), learner(kind)
    model.room._limit = 3  # fewer than the configuration lets anybody set
    events: list[Event] = [[[(1, 1.0)], [(10 * n + i, 0.2) for i in range(5)], [], []] for n in range(1, 5)]
    model.learn(batch_of(events, [1, 0, 1, 0]))
    assert rows_of(model).keys() == keys_of(events[-1:]), (
        "those of the event before went, as far as they are not its own"
    )
    free.learn(batch_of(events[:1], [1]))
    other = learner(kind, max_rows=20)
    other.room._limit = 3
    other.learn(batch_of(events[:1], [1]))
    assert rows_of(other) == rows_of(free)


@pytest.mark.parametrize("merge", [False, True])
def test_the_bytes_of_a_full_model_are_within_a_twentieth_of_what_it_may_take(merge):
    model = learner("gaussian", merge=merge, factors=16, max_bytes="4MiB")
    rng = np.random.default_rng(1)
    shared, largest = np.uint64(1 << 63) if merge else np.uint64(0), 0
    for _ in range(40):
        keys = rng.integers(2, 2**40, size=(1_000, 2)).astype(np.uint64)
        keys[:, 1] |= shared
        events: list[Event] = [[[(1, 1.0)], [(int(one), 1.0)], [(int(other), 1.0)], []] for one, other in keys]
        model.learn(batch_of(events, rng.integers(2, size=1_000)))
        model.boundary()
        model.digest()
        largest = max(largest, model.nbytes)
    assert model.room.evicted > 0
    assert 0.95 * 2**22 < largest < 1.05 * 2**22


def test_what_has_faded_goes_first():
    """A row of much evidence that is old, and one of little that is new: the clock decides."""
    model = learner("gaussian", max_rows=20, half_life="1s")
    old: list[Event] = [[[(1, 1.0)], [(7, 1.0)], [], []]] * 200
    model.learn(batch_of(old, [1, 0] * 100, times=[0] * 200))
    new: list[Event] = [[[(1, 1.0)], [(100 + n % 18, 1.0)], [], []] for n in range(90)]
    model.learn(batch_of(new, [1] * 90, times=[60_000] * 90))
    assert 7 in rows_of(model)
    model.learn(batch_of([[[(1, 1.0)], [(999, 1.0)], [], []]], [1], times=[60_000]))
    assert 7 not in rows_of(model)
    assert rows_of(model).keys() >= {999, *range(100, 118)}


@every_kind
def test_the_same_events_give_the_same_digest_and_other_events_another(kind):
    events, labels = stream(200)

    def learned(events: list[Event], labels: np.ndarray) -> int:
        model = learner(kind)
        model.learn(batch_of(events, labels))
        return model.digest()

    assert learned(events, labels) == learned(events, labels)
    assert learned(events, labels) != learned(events[::-1], labels[::-1]), "learned one after the other, in order"
    assert learned(events, labels) != learned(events, 1 - labels)


@every_kind
def test_what_counts_as_touched_is_what_was_changed_since_the_last_commit(kind):
    model = learner(kind)
    events, labels = stream(100)
    model.learn(batch_of(events[:90], labels[:90]))
    model.digest()
    assert len(model.boundary()[0]) == 0
    before = rows_of(model)
    model.learn(batch_of(events[90:], labels[90:], times=range(90, 100)))
    touched, contribution = model.boundary()
    after = rows_of(model)
    assert contribution is None
    assert set(touched.keys.tolist()) == {key for key in after if after[key] != before.get(key)} == keys_of(events[90:])
    assert {key: after[key][0] for key in touched.keys.tolist()} == {
        key: parameters.tobytes() for key, parameters in zip(touched.keys.tolist(), touched.parameters, strict=True)
    }


@every_kind
def test_rows_that_are_put_into_another_learner_give_the_same_digest_and_scores(kind):
    model, copy = learner(kind), learner(kind)
    events, labels = stream(150)
    for start in (0, 50, 100):
        part = slice(start, start + 50)
        model.learn(batch_of(events[part], labels[part], times=range(start, start + 50)))
        rows, _ = model.boundary()
        copy.table.put(rows)
        copy.pair_means, copy.pair_precisions = model.pair_means.copy(), model.pair_precisions.copy()
        assert copy.digest() == model.digest()
    entries = entries_of(events)
    assert copy.predict(entries).predictions.tobytes() == model.predict(entries).predictions.tobytes()
    given = model.gather(entries.keys)
    assert learner(kind).gather(entries.keys).tobytes() != given.tobytes()
    assert copy.predict(entries, given).predictions.tobytes() == model.predict(entries).predictions.tobytes()


@every_kind
def test_an_event_of_no_weight_is_predicted_and_not_learned(kind):
    model = learner(kind)
    events, labels = stream(20)
    model.learn(batch_of(events, labels))
    before = rows_of(model)
    unknown: Event = [[(1, 1.0)], [(999, 1.0)], [], []]
    scores = model.learn(batch_of([*events[:5], unknown], [1.0] * 6, [0.0] * 6, [99] * 6))
    assert scores.predictions.tobytes() == model.predict(entries_of([*events[:5], unknown])).predictions.tobytes()
    after = rows_of(model)
    _, seen = after.pop(999)  # the row is there, and as it begins
    assert seen == NEVER
    assert after == before
    assert model.unstable == 0


@every_kind
def test_a_sample_weight_moves_a_weight_further(kind):
    def moved(weight: float) -> float:
        model = learner(kind)
        model.learn(batch_of([[[(1, 1.0)], [], [], []]], [1.0], [weight]))
        return float(model.gather(np.array([1], np.uint64))[0, 0])

    assert 0 <= moved(0.5) < moved(1.5) < moved(2.0)


@every_kind
@pytest.mark.parametrize(
    ("key", "x", "label", "weight"),
    [
        (2, 3e38, 1.0, 1.0),
        (2, 1e20, 1.0, 1.0),
        (3, 1e20, 1.0, 1.0),  # never seen: so its score is none to be afraid of, the step is
        (2, 1.0, 3e38, 1.0),  # no logistic label, and refused as one; whatever comes, the numbers hold
        (2, 1.0, 3e38, 3e38),
        (2, 1.0, float("nan"), 1.0),
    ],
)
def test_an_event_whose_step_would_explode_is_scored_counted_and_not_learned(kind, key, x, label, weight):
    model = learner(kind)
    usual: Event = [[(1, 1.0)], [(2, 1.0)], [], []]
    model.learn(batch_of([usual, [[(1, 1.0)], [(3, 1.0)], [], []]] * 3, [1.0] * 6, [1.0, 0.0] * 3))
    before, digest = rows_of(model), model.digest()
    scores = model.learn(batch_of([[[(1, 1.0)], [(key, x)], [], []]], [label], [weight], [9]))
    assert len(scores.predictions) == 1
    assert model.unstable == 1
    assert rows_of(model) == before
    assert model.digest() != digest, "that it came is part of what the shard is"
    model.learn(batch_of([usual], [1.0], times=[9]))
    assert model.unstable == 1, "the next event is learned as ever"
    assert rows_of(model) != before


@every_kind
@hypothesis_settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.floats(-(2.0**100), 2.0**100, width=32),
            st.floats(-(2.0**127), 2.0**127, width=32),
            st.floats(0, 2.0**127, width=32),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_no_events_whatever_make_a_parameter_that_is_no_number(kind, rows):
    model = learner(kind)
    events = [[[(1, 1.0)], [(2, float(x))], [(3, 1.0)], []] for x, _, _ in rows]
    labels = [y if kind.endswith("squared") else y > 0 for _, y, _ in rows]
    model.learn(batch_of(events, labels, [w for _, _, w in rows]))
    assert np.isfinite(model.table.part(0, len(model.table)).parameters).all()


@every_kind
def test_a_missing_field_takes_no_part(kind):
    """The same bits as in a model that does not have the field."""
    events, labels = stream(50, fields=3, missing=False)
    wider = [[event[0], [], *event[1:]] for event in events]
    named = {"pairs": [["f0", "bias"]]} if kind == "gaussian-one-pair" else {}  # the same field, one further left
    narrow, wide = learner(kind, features=2, **named), learner(kind)
    one, other = narrow.learn(batch_of(events, labels)), wide.learn(batch_of(wider, labels))
    assert one.predictions.tobytes() == other.predictions.tobytes()
    assert rows_of(narrow) == rows_of(wide)


@every_kind
def test_an_event_with_nothing_in_it_scores_what_a_fresh_model_does(kind):
    model = learner(kind)
    nothing: Event = [[], [], [], []]
    (score,) = model.learn(batch_of([nothing], [1.0])).predictions
    assert score == (0.0 if kind.endswith("squared") else 0.5)
    assert len(model.table) == 0


@every_kind
def test_all_values_of_a_field_are_learned_each_by_its_multiplier(kind):
    model = learner(kind)
    model.learn(batch_of([[[(1, 1.0)], [(11, 0.5), (12, 0.25), (13, 0.25)], [(20, -1.0)], []]] * 3, [1.0] * 3))
    half, quarter, same, minus = model.gather(np.array([11, 12, 13, 20], np.uint64))[:, 0]
    assert half >= quarter == same
    assert minus < 0
    assert half > 0, "by three events"


@every_kind
def test_a_row_never_seen_is_as_rows_begin_and_seen_is_the_latest_event_time(kind):
    model = learner(kind)
    begin = model.gather(np.array([7], np.uint64))
    assert begin[0, 0] == 0
    model.learn(batch_of([[[(7, 1.0)], [], [], []]] * 2, [1.0, 0.0], times=[50, 40]))
    assert rows_of(model)[7][1] == 50
    assert model.table.parameters.shape[1] == begin.shape[1]
    touched, asked = model.table.touched(), model.table.get(np.array([7, 8], np.uint64))
    assert touched.columns == asked.columns
    assert touched.columns[0] == "weight"


@every_kind
def test_it_learns_what_is_there_to_learn(kind):
    """A label that two of three fields decide: the loss is well below that of the best constant."""
    rng = np.random.default_rng(1)
    sides = rng.integers(0, 5, (5_000, 3))
    events: list[Event] = [
        [[(1, 1.0)], *([(10 * n + side, 1.0)] for n, side in enumerate(row, 1))] for row in sides.tolist()
    ]
    logit = sides[:, 0] - sides[:, 1] * 0.5 - 1.0
    if kind.endswith("squared"):
        labels = logit + rng.normal(0, 0.3, len(logit))
        loss, constant = (lambda p: (p - labels) ** 2), labels.var()
    else:
        labels = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(np.float64)
        rate = labels.mean()
        constant = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
        loss = lambda p: -np.log(np.where(labels == 1, p, 1 - p))  # noqa: E731 - beside the other one
    model = learner(kind)
    each = loss(model.learn(batch_of(events, labels)).predictions.astype(np.float64))
    assert each[2_500:].mean() < 0.85 * constant
    assert each[2_500:].mean() < each[:500].mean()


LOGISTIC = ["gaussian", "gaussian-linear", "sgd", "ftrl"]


def rare(n: int, share: float = 1.0) -> tuple[list[Event], np.ndarray]:
    """Events of two values, of which one in fifty is positive, the more often the higher the first one.

    Such a share of the others is kept.
    """
    rng = np.random.default_rng(2)
    one, other = rng.integers(8, size=n), rng.integers(30, size=n)
    labels = rng.random(n) < 0.005 * (one + 0.5)
    kept = labels | (rng.random(n) < share)
    drawn = zip(one[kept].tolist(), other[kept].tolist(), strict=True)
    return [[[(1, 1.0)], [(100 + a, 1.0)], [(200 + b, 1.0)], []] for a, b in drawn], labels[kept].astype(np.float32)


@pytest.mark.parametrize("share", [0.1, 0.02])
@pytest.mark.parametrize("kind", LOGISTIC)
def test_scores_allow_for_negatives_that_are_left_out(kind, share):
    events, labels = rare(600_000, share)
    scores = learner(kind, events={"keep_negatives": share}).learn(batch_of(events, labels)).predictions
    # Progressively, since a learner at a constant rate is never at rest: each negative stands for those left out.
    late, stands_for = len(labels) // 3, np.where(labels > 0, 1, 1 / share)
    assert scores[late:] @ stands_for[late:] == pytest.approx(labels[late:].sum(), rel=0.05)


@pytest.mark.parametrize("kind", LOGISTIC)
def test_labels_that_are_known_to_be_flipped_now_and_then_are_seen_through(kind):
    events, labels = rare(60_000)
    flipped = np.where(np.random.default_rng(4).random(len(labels)) < 0.1, 1 - labels, labels)
    robust, plain = learner(kind, label_noise=0.1), learner(kind)
    for model in (robust, plain):
        model.learn(batch_of(events, flipped))
    entries = entries_of(events[:5_000])
    assert plain.predict(entries).predictions.mean() == pytest.approx(flipped.mean(), abs=0.02)
    assert robust.predict(entries).predictions.mean() == pytest.approx(labels.mean(), abs=0.02)


@every_kind
def test_only_what_knows_its_uncertainty_tells_a_variance(kind):
    model = learner(kind)
    events, labels = stream(30)
    variances = model.learn(batch_of(events, labels)).variances
    known = kind.startswith("gaussian")
    assert np.isfinite(variances).all() if known else np.isnan(variances).all()
    assert np.isnan(model.predict(entries_of(events)).variances).any() != known


@every_kind
def test_what_knows_how_sure_it_is_becomes_less_sure_and_scores_the_same(kind):
    model, (events, labels) = learner(kind), stream(400)
    model.learn(batch_of(events, labels))
    before, digest = model.predict(entries_of(events)), model.digest()
    if not kind.startswith("gaussian"):
        with pytest.raises(ValueError, match="only the Gaussian can be loosened"):
            model.loosen(2.0)
        assert model.digest() == digest
        return
    model.loosen(2.0)
    after = model.predict(entries_of(events))
    assert after.predictions.tobytes() == before.predictions.tobytes()
    assert (after.variances > before.variances).all()
    assert model.digest() != digest


@every_kind
def test_memory_is_told_and_grows_with_the_rows(kind):
    model = learner(kind)
    before = model.nbytes
    model.learn(batch_of([[[(key, 1.0)], [], [], []] for key in range(1, 3_000)], [1.0] * 2_999))
    assert len(model.table) == 2_999
    assert model.nbytes >= before + 1_900 * 4


@every_kind
def test_without_merging_there_is_nothing_to_take_over_or_to_renew(kind):
    model = learner(kind)
    events, labels = stream(20)
    model.learn(batch_of(events, labels))
    assert model.shared is None
    before = rows_of(model)
    model.renew(np.array(sorted(keys_of(events)), np.uint64))
    assert rows_of(model) == before
    contribution = learner_of(Learning.model_validate({"features": {"f": {}}})).boundary()[1]
    assert contribution is not None
    with pytest.raises(ValueError, match="only shards that are merged"):
        model.take_over(contribution)
