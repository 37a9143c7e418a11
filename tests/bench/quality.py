"""Progressive log loss and AUC of each learner with its defaults: every event is predicted before it is learned."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deploy import movielens
from worker.config import Feature, Learning, Model
from worker.pipeline import Pipeline
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.state import ShardState

_BATCH = 10_000
_IDS = {"user": Feature(), "item": Feature()}
_SIDE = {name: Feature() for name in ("age", "gender", "occupation", "year")} | {"genres": Feature(kind="multi")}
_CONTEXT = {name: Feature() for name in ("hour", "device", "slot")}
_LEARNERS = {
    "gaussian": Model(),
    "sgd": Model(kind="sgd", merge=False),
    "ftrl": Model(kind="ftrl", merge=False),
}
_NOW = 2_000_000_000_000  # record timestamps after every event: none is from the future


def measure() -> dict[str, Any]:
    """Learn MovieLens-100K, with user and item only and with its side features, and a planted stream with a drift."""
    planted = Planted(events=1_000_000)
    found = {
        "movielens_user_item": _learn(_IDS, _movielens()),
        "movielens": _learn(_IDS | _SIDE, _movielens()),
        "planted": _learn(_IDS | _CONTEXT, (line for batch in planted.batches(_BATCH) for line in encode(batch))),
    }
    found["planted"]["gaussian"]["irreducible_log_loss"] = planted.irreducible_log_loss
    return found


def _movielens() -> Iterator[bytes]:
    path = Path("build/bench/movielens.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    movielens.write_jsonl(path)
    yield from path.read_bytes().splitlines()


def _learn(features: dict[str, Feature], lines: Iterable[bytes]) -> dict[str, Any]:
    held = list(lines)
    return {name: _result(Learning(features=features, model=model), held) for name, model in _LEARNERS.items()}


def _result(learning: Learning, held: list[bytes]) -> dict[str, float]:
    pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
    for start in range(0, len(held), _BATCH):
        values = held[start : start + _BATCH]
        pipeline.learn(state, values, np.full(len(values), _NOW), start + len(values))
    progress = state.progress
    return {"log_loss": progress.loss, "auc": progress.auc, "constant_log_loss": progress.constant_loss}
