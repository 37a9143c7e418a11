"""Values seen too seldom count as rare: held against a model of the same kind that learns what the rule says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.batches import Event, batch_of, entries_of, learned_in_parts
from tests.unit.model.test_contract import MODELS, every_kind, rows_of
from worker.learning import Learning
from worker.model.batch import NOWHERE, Batch
from worker.model.learner import Learner
from worker.snapshot.kinds import learner_of

AFTER = (3, 0, 2)  # of the three features
COUNTERS = 262_144  # so many that nothing is counted too often


def learner(kind: str, after: tuple[int, ...] = AFTER, **model: object) -> Learner:
    features = {f"f{n}": {"kind": "multi", "max_values": 3, "admit_after": times} for n, times in enumerate(after)}
    model = {"merge": False, "admission_counters": COUNTERS} | MODELS[kind] | model
    return learner_of(Learning.model_validate({"features": features, "model": model}))


class Rule:
    """What the rule says: exact counts, and events with rare values in place of those that are held back."""

    def __init__(self, model: Learner) -> None:
        assert model.room.admission is not None
        thresholds = model.room.admission.thresholds
        self.after, self.rare = thresholds.after.tolist(), thresholds.rare.tolist()
        self.seen: dict[int, int] = {}
        self.admitted = self.held_back = 0

    def apply(self, event: Event, held: set[int], *, anew: bool = False) -> Event:
        return [
            self._field(entries, after, rare, held, anew=anew)
            for entries, after, rare in zip(event, self.after, self.rare, strict=True)
        ]

    def _field(self, entries, after, rare, held, *, anew):
        kept: list[tuple[int, float]] = []
        first = -1
        for key, x in entries:
            if after <= 1 or key in held:
                kept.append((key, x))
                continue
            self.seen[key] = self.seen.get(key, 0) + 1
            if self.seen[key] >= after:
                self.admitted += 1
                if anew:
                    del self.seen[key]
                kept.append((key, x))
                continue
            self.held_back += 1
            if first < 0:
                first = len(kept)
                kept.append((rare, x))
            else:
                kept[first] = rare, float(np.float32(kept[first][1]) + np.float32(x))
                kept.append((rare, 0.0))
        return kept


def various(n: int, seed: int) -> tuple[list[Event], np.ndarray]:
    """Events of a bias and three lists, some of whose values come often, most of them seldom."""
    rng = np.random.default_rng(seed)

    def some(field: int) -> list[tuple[int, float]]:
        keys = np.unique(1_000 * field + np.minimum(rng.zipf(1.3, rng.integers(4)), 900)).tolist()
        return [(key, float(np.float32(1 / len(keys)))) for key in keys]

    events: list[Event] = [[[(1, 1.0)], some(1), some(2), some(3)] for _ in range(n)]
    return events, rng.integers(0, 2, n).astype(np.float32)


@every_kind
@pytest.mark.parametrize("bounds", [{}, {"max_rows": 60}])
def test_what_is_learned_is_what_the_rule_says_to_the_bit(kind, bounds):
    model, plain = learner(kind, **bounds), learner(kind, after=(0, 0, 0), **bounds)
    assert plain.room.admission is None
    rule = Rule(model)
    events, labels = various(400, 1)
    predictions = []
    for number, (event, label) in enumerate(zip(events, labels, strict=True)):
        ruled = rule.apply(event, set(rows_of(plain)), anew=bool(bounds))
        predictions.append(plain.learn(batch_of([ruled], [label], times=[number])).predictions)
    learned = model.learn(batch_of(events, labels))
    assert learned.predictions.tobytes() == np.concatenate(predictions).tobytes()
    assert rows_of(model) == rows_of(plain)
    assert model.digest() == plain.digest()
    assert (model.room.admission.admitted, model.room.admission.held_back) == (rule.admitted, rule.held_back)
    assert rule.admitted > 20
    assert rule.held_back > 100
    assert (model.room.evicted > 0) == bool(bounds)


@every_kind
@pytest.mark.parametrize("bounds", [{}, {"max_rows": 60}, {"max_bytes": "32KiB"}])
@settings(max_examples=10)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_how_events_are_cut_into_batches_changes_no_bit(kind, bounds, sizes):
    events, labels = various(sum(sizes), len(sizes))
    few = bounds | {"admission_counters": 1_024}  # which are halved now and then, and collide
    whole, cut = learner(kind, **few), learner(kind, **few)
    at_once = whole.learn(batch_of(events, labels)).predictions
    predictions = learned_in_parts(cut, events, labels, sizes, cut.room.admission._cells.settle)
    assert predictions.tobytes() == at_once.tobytes()
    assert rows_of(cut) == rows_of(whole)
    assert cut.digest() == whole.digest()
    assert cut.room.admission._cells.settle() == whole.room.admission._cells.settle()


@every_kind
def test_a_prediction_counts_a_value_without_a_row_as_rare_and_changes_nothing(kind):
    model = learner(kind)
    events, labels = various(300, 2)
    model.learn(batch_of(events, labels))
    rare = model.room.admission.thresholds.rare.tolist()
    held, before = set(rows_of(model)), (rows_of(model), model.room.admission._cells.settle())
    for event in various(60, 3)[0]:
        ruled: Event = []
        for entries, after, key in zip(event, model.room.admission.thresholds.after, rare, strict=True):
            gone = [at for at, entry in enumerate(entries) if after > 1 and entry[0] not in held]
            ruled.append([(key, 0.0) if at in gone else entry for at, entry in enumerate(entries)])
            total = np.float32(0)
            for at in gone:
                total += np.float32(entries[at][1])
            if gone:
                ruled[-1][gone[0]] = key, float(total)
        expected = model.predict(entries_of([ruled]), model.gather(entries_of([ruled]).keys))
        scores = model.predict(entries_of([event]))
        assert scores.predictions.tobytes() == expected.predictions.tobytes()
        assert scores.variances.tobytes() == expected.variances.tobytes()
    assert (rows_of(model), model.room.admission._cells.settle()) == before


def test_an_event_that_lets_a_value_in_is_predicted_with_the_row_as_it_begins():
    model = learner("gaussian", after=(2, 0, 0))
    model.learn(batch_of([[[(1, 1.0)], [(7, 1.0)], [], []]] * 1 + [[[(1, 1.0)], [(8, 1.0)], [], []]], [1, 1]))
    event: Event = [[(1, 1.0)], [(7, 1.0)], [], []]
    fresh = model.predict(entries_of([event]), model.gather(entries_of([event]).keys))
    assert model.predict(entries_of([event])).predictions != fresh.predictions, "what others taught the rare row"
    assert model.learn(batch_of([event], [1])).predictions == fresh.predictions
    assert 7 in rows_of(model)


def test_what_is_learned_from_is_left_as_it_is():
    model = learner("gaussian")
    batch = batch_of(*various(50, 4))
    before = batch.entries.keys.copy(), batch.entries.values.copy()
    model.learn(batch)
    assert (batch.entries.keys == before[0]).all()
    assert (batch.entries.values == before[1]).all()


def test_a_value_that_was_evicted_is_counted_from_the_beginning():
    model = learner("gaussian", after=(3, 0, 0), max_rows=40)

    def meet(key: int, times: int) -> None:
        model.learn(batch_of([[[(1, 1.0)], [(key, 0.01)], [], []]] * times, [1] * times))

    meet(7, 3)
    assert 7 in rows_of(model)
    others: list[Event] = [[[(1, 1.0)], [], [(100 + n, 1.0)], []] for n in range(60)]
    model.learn(batch_of(others, [1] * 60))
    assert 7 not in rows_of(model)
    meet(7, 2)
    assert 7 not in rows_of(model)
    meet(7, 1)
    assert 7 in rows_of(model)


def test_a_row_that_many_partition_keys_share_belongs_to_none():
    model = learner("gaussian", after=(2, 0, 0))
    events: list[Event] = [[[(1, 1.0)], [(key, 1.0)], [(500, 1.0)], []] for key in (7, 8, 7)]
    plain = batch_of(events, [1, 0, 1])
    routes = np.array([NOWHERE, 70, NOWHERE, NOWHERE, 80, NOWHERE, NOWHERE, 70, NOWHERE])
    model.learn(
        Batch(entries=plain.entries, labels=plain.labels, weights=plain.weights, times=plain.times, routes=routes)
    )
    rare = int(model.room.admission.thresholds.rare[1])
    rows = model.table.part(0, 99)
    assert dict(zip(rows.keys.tolist(), rows.routes.tolist(), strict=True)) == {1: -1, rare: -1, 500: -1, 7: 70}
    assert routes[1] == 70


def test_counters_count_towards_the_bytes_of_a_model():
    counters = 1_000_000
    with_, without = learner("gaussian", admission_counters=counters), learner("gaussian", after=(0, 0, 0))
    more = with_.nbytes - without.nbytes
    assert 0.99 < more / (counters * 13 / 8) < 1.01, "as the configuration counts them"


@pytest.mark.parametrize("merge", [False, True])
def test_the_bytes_of_a_full_model_are_within_a_twentieth_of_what_it_may_take(merge):
    model = learner("gaussian", after=(2, 2, 0), merge=merge, factors=16, max_bytes="4MiB", admission_counters=500_000)
    rng, shared, largest = np.random.default_rng(1), np.uint64(1 << 63) if merge else np.uint64(0), 0
    for _ in range(40):
        keys = np.repeat(rng.integers(2, 2**40, size=(1_000, 2)).astype(np.uint64), 2, axis=0)
        keys[:, 1] |= shared
        events: list[Event] = [[[(1, 1.0)], [(int(one), 1.0)], [(int(other), 1.0)], []] for one, other in keys]
        model.learn(batch_of(events, rng.integers(2, size=2_000)))
        model.boundary()
        model.digest()
        largest = max(largest, model.nbytes)
    assert model.room.evicted > 0
    # A bound leaves room for the routes of rows, which none have here: 4 of 100 bytes.
    assert 0.94 * 2**22 < largest < 1.05 * 2**22
