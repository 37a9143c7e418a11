"""Progressive log loss and AUC: every event predicted before it is learned, ours and others' on the same streams.

Ours is one shard with the defaults, by the worker's own pipeline, without Kafka. The peers are at their best of a small
grid (tests/bench/peers/known.py), picked on this very stream: optimistic for them.

- `movielens_user_item`, `movielens`: MovieLens-100K, without and with side features.
- `interactions`: 500,000 planted events (200,000 where all parts are measured) of 61,000 users and 18,000 items with an
  interaction of both so strong that a factorization machine pays, and three contexts; three in ten items get another
  bias at half time.
- `planted`: the stream of `headrace simulate`, a million events with a weaker interaction. Ours only.
"""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from deploy import movielens
from tests.bench.peers import missing
from tests.bench.peers.installed import Environment
from tests.bench.peers.known import PEERS, Peer
from tests.bench.size import Size, tell
from worker.learning import Feature, Learning
from worker.modelling import Model
from worker.pipeline import Pipeline
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.state import ShardState

INCLUDES = {
    "*.excess_log_loss": "above the irreducible one: the mean entropy of the planted labels",
    "*.gaussian.*": "ours with the defaults: one shard, no Kafka",
    "*.linear.*": "ours with `model.factors = 0`: what no pair of fields adds to",
    "*.best_peer": "the peer with the lowest log loss; `best_peer_percent`: how much more it has than ours",
    "*": "progressive; peers at their best of a small grid, picked on this stream",
}
_BATCH = 10_000
_IDS = {"user": Feature(), "item": Feature()}
_SIDE = {name: Feature() for name in ("age", "gender", "occupation", "year")} | {"genres": Feature(kind="multi")}
_CONTEXT = {name: Feature() for name in ("hour", "device", "slot")}
_NOW = 2_000_000_000_000  # record timestamps after every event: none is from the future
_FOLDER = Path("build/bench")
_COMPARED = ("vowpal_wabbit_driver", "river_ftrl", "river_fm", "scikit_learn", "pytorch_fm")
_AT_ONCE = 2  # nothing is timed here
_OURS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "linear": {"factors": 0},
    "sgd": {"kind": "sgd"},
    "ftrl": {"kind": "ftrl"},
}


def measure(size: Size) -> dict[str, Any]:
    """Let all learn all streams."""
    hard = Planted(
        events=size.of(size.fewer(500_000, 200_000), 20_000),
        users=61_000,
        items=18_000,
        user_exponent=1.0,
        factor_deviation=0.65,
    )
    planted = Planted(events=size.of(1_000_000, 20_000))
    _FOLDER.mkdir(parents=True, exist_ok=True)
    movielens.write_jsonl(_FOLDER / "movielens.jsonl")
    _write(hard, _FOLDER / "interactions.jsonl")
    limit = size.of(100_000, 5_000)
    environment = Environment()
    absent = {name: reason for name in _COMPARED if (reason := missing(PEERS[name], environment, size)) is not None}
    found: dict[str, Any] = {}
    for stream, features, path, most in (
        ("movielens_user_item", _IDS, _FOLDER / "movielens.jsonl", limit),
        ("movielens", _IDS | _SIDE, _FOLDER / "movielens.jsonl", limit),
        ("interactions", _IDS | _CONTEXT, _FOLDER / "interactions.jsonl", hard.events),
    ):
        with path.open("rb") as lines:
            found[stream] = _ours(features, [line.rstrip(b"\n") for line in islice(lines, most)])
        found[stream] |= _theirs(environment, absent, list(features), path, most)
        best = min((name for name in _COMPARED if "log_loss" in found[stream].get(name, {})),
                   key=lambda name, of=found[stream]: of[name]["log_loss"], default=None)  # fmt: skip
        if best is not None:
            percent = 100 * (found[stream][best]["log_loss"] / found[stream]["gaussian"]["log_loss"] - 1)
            found[stream] |= {"best_peer": best, "best_peer_percent": percent}
    found["planted"] = _ours(_IDS | _CONTEXT, [line for batch in planted.batches(_BATCH) for line in encode(batch)])
    for stream, of in (("interactions", hard), ("planted", planted)):
        least = of.irreducible_log_loss
        found[stream]["gaussian"]["irreducible_log_loss"] = least
        for told in found[stream].values():
            if isinstance(told, dict) and "log_loss" in told:
                told["excess_log_loss"] = told["log_loss"] - least
    return found


def _ours(features: dict[str, Feature], lines: list[bytes]) -> dict[str, Any]:
    found = {}
    for name, model in _OURS.items():
        try:
            found[name] = _learn(features, lines, model)
        except ValidationError:  # a kind that this release does not have
            continue
        tell(f"{name}: {found[name]['log_loss']:.4f}")
    return found


def _theirs(
    environment: Environment, absent: dict[str, str], features: list[str], path: Path, limit: int
) -> dict[str, Any]:
    """Let every peer learn with every setting of its grid; gives each at its best."""

    def run(peer: Peer, settings: dict[str, Any]) -> dict[str, Any]:
        found = peer.run(environment.python, settings=settings, path=str(path), limit=limit, fields=features)
        tell(f"{peer.script} {settings}: {found['log_loss']:.4f}")
        return {"log_loss": found["log_loss"], "auc": found["auc"], "settings": settings}

    told: dict[str, Any] = {name: {"missing": reason} for name, reason in absent.items()}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = {
            name: [pool.submit(run, PEERS[name], settings) for settings in PEERS[name].grid]
            for name in sorted(_COMPARED, key=lambda name: name != "river_fm")  # the slowest first
            if name not in absent
        }
        for name, settings in running.items():
            try:
                each = [one.result() for one in settings]
            except RuntimeError as error:
                told[name] = {"missing": str(error)}
            else:
                told[name] = min(each, key=lambda one: float(one["log_loss"])) | {"tried": len(each)}
    return told


def _write(planted: Planted, path: Path) -> None:
    with path.open("wb") as file:
        for batch in planted.batches(_BATCH):
            file.write(b"\n".join(encode(batch)) + b"\n")


def _learn(features: dict[str, Feature], lines: list[bytes], model: dict[str, Any]) -> dict[str, Any]:
    learning = Learning(features=features, model=Model(**model))
    pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
    for start in range(0, len(lines), _BATCH):
        values = lines[start : start + _BATCH]
        pipeline.learn(state, values, np.full(len(values), _NOW), start + len(values))
    progress = state.progress
    return {"log_loss": progress.loss, "auc": progress.auc, "constant_log_loss": progress.constant_loss}
