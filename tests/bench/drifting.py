"""Planted streams that stay as they are or drift, as batches that a learner takes: no bytes, no decoding."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tests.bench.ceilings import LEARNING
from tests.bench.keys import local_of
from worker.model.batch import Batch, Entries
from worker.modelling import Model
from worker.simulate.planted import Law, Planted, PlantedBatch

FEATURES = tuple(LEARNING.features)
ALONE = LEARNING.model_copy(update={"model": Model(merge=False)})
BATCH = 10_000
KINDS = {
    "abrupt_10": 0.1, "abrupt_30": 0.3, "abrupt_100": 1.0, "gradual": 0.3, "label_flip": 0.0, "broken_feature": 0.0,
}  # the share of the items whose bias is drawn anew  # fmt: skip
RAMP = 500_000  # events of the gradual drift
_FLIPPED = 0.05  # of the labels
_MOST = 1 << 22  # values of a feature
_NOBODY = _MOST - 1  # the user of every event once that field is broken


def stream(kind: str | None, seed: int, events: int, drift: int) -> Iterator[Batch]:
    """Draw a stream that drifts from event number `drift` on; `None` is one that does not."""
    share = KINDS[kind] if kind else 0.0
    planted = Planted(
        seed=seed, events=events, drift_share=share,
        drift_at=None if kind is None or share == 0 else 0.0 if kind == "gradual" else drift / events,
    )  # fmt: skip
    rng = np.random.default_rng([seed, 1])
    for batch in planted.batches(BATCH):
        yield encoded(_drifted(kind, batch, planted.law, drift, rng))


def _drifted(kind: str | None, batch: PlantedBatch, law: Law, drift: int, rng: np.random.Generator) -> PlantedBatch:
    index = batch.first + np.arange(len(batch))
    if kind == "gradual":  # more and more events come from what is true at the end
        logits = np.log(batch.truth / (1 - batch.truth))
        before = rng.random(len(batch)) >= (index - drift) / RAMP
        logits += np.where(before, law.item_bias[batch.item] - law.item_bias_after[batch.item], 0.0)
        return replace(batch, labels=(rng.random(len(batch)) < 1 / (1 + np.exp(-logits))).astype(np.int64))
    if kind == "label_flip":
        flipped = (rng.random(len(batch)) < _FLIPPED) & (index >= drift)
        return replace(batch, labels=np.where(flipped, 1 - batch.labels, batch.labels))
    if kind == "broken_feature":
        return replace(batch, user=np.where(index >= drift, _NOBODY, batch.user))
    return batch


def encoded(batch: PlantedBatch) -> Batch:
    n, fields = len(batch), 1 + len(FEATURES)
    numbers: NDArray[np.uint64] = np.zeros((n, fields), np.uint64)
    for at, name in enumerate(FEATURES):
        numbers[:, 1 + at] = 1 + at * _MOST + getattr(batch, name).astype(np.uint64)
    return Batch(
        entries=Entries(
            fields=fields, keys=local_of(numbers.ravel()), values=np.ones(n * fields, np.float32),
            starts=np.arange(n * fields + 1),
        ),
        labels=batch.labels.astype(np.float32), weights=np.ones(n, np.float32), times=batch.times,
    )  # fmt: skip
