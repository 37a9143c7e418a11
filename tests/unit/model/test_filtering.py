"""The kernel of the Gaussian: pairs one by one, or all at once, give the same bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.batches import Event, batch_of, entries_of
from worker.model import gaussian
from worker.model.gaussian import Gaussian, Settings
from worker.model.pairs import Pairs
from worker.model.rows import Prior

NEVER, ALWAYS = (10**9, 0), (0, 10**9)  # LEAST_FIELDS, FEW_OF: one by one, all at once


def drawn(n: int, fields: int, missing: float, rng: np.random.Generator) -> list[Event]:
    """Events of single values, numbers, some of them absurd, and lists."""
    events = []
    for _ in range(n):
        event: Event = []
        for field in range(fields):
            values = rng.choice(8, rng.integers(1, 4) if rng.random() < 0.2 else 1, replace=False)
            entries = [(1_000 * field + int(v), float(rng.normal() * rng.choice([1, 1, 1, 1e3]))) for v in values]
            event.append([] if rng.random() < missing else entries)
        events.append(event)
    return events


def bits(way: tuple[int, int], patch: pytest.MonkeyPatch, **of) -> list[bytes]:
    rng = np.random.default_rng(of["seed"])
    fields, chosen = of["fields"], None
    if of["some"]:
        every = [(i, j) for i in range(fields) for j in range(i + 1, fields)]
        chosen = [every[at] for at in rng.choice(len(every), rng.integers(len(every)), replace=False)] if every else []
    prior = Prior(factors=of["factors"], seed=3, init_deviation=0.3, weight_precision=2.0, factor_precision=5.0)
    settings = Settings(prior=prior, logistic=of["logistic"], half_life_ms=of["half_life_ms"])
    model = Gaussian(settings, fields, Pairs(fields, chosen))
    patch.setattr(gaussian, "LEAST_FIELDS", way[0])
    patch.setattr(gaussian, "FEW_OF", way[1])
    found = []
    for batch in range(2):
        events = drawn(30, fields, of["missing"], rng)
        times = np.arange(30) + 100 * batch
        scores = model.learn(batch_of(events, rng.integers(0, 2, 30), rng.choice([0, 0.5, 1, 3], 30), times))
        scored = model.predict(entries_of(events))
        found += [scores.predictions, scores.variances, scored.predictions, scored.variances]
    found += [model.pair_means, model.pair_precisions, model.table.part(0, len(model.table)).parameters]
    return [part.tobytes() for part in found]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({
        "seed": st.integers(0, 2**32 - 1),
        "fields": st.sampled_from([1, 2, 5, 7, 8, 9, 16, 19]),
        "factors": st.sampled_from([0, 1, 3, 8, 13, 16]),
        "missing": st.sampled_from([0.0, 0.1, 0.6]),
        "some": st.booleans(),
        "logistic": st.booleans(),
        "half_life_ms": st.sampled_from([0, 64 * 5]),
    })
)  # fmt: skip
def test_pairs_taken_one_by_one_and_all_at_once_give_the_same_bits(of):
    with pytest.MonkeyPatch.context() as patch:
        assert bits(NEVER, patch, **of) == bits(ALWAYS, patch, **of)
