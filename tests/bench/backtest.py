"""Learning online against retraining every day, and what a grid finds, by `headrace backtest` on MovieLens-100K.

The same learner and the same settings, over the same events in the order of time, after a warm-up of a tenth. Liu et
al., *Monolith: Real Time Recommendation System With Collisionless Embedding Table* (2022), tell of +0.24 to +0.37
points of AUC for learning online, on data of their own. Most people of MovieLens-100K came once, and rated for an hour
or less: a label that is known at once says much of the next one, and one that is known an hour later hardly anything.
So what is gained is measured by how late labels are known.
"""

import tempfile
from pathlib import Path
from typing import Any

from deploy import movielens
from tests.bench.size import Size, tell
from worker.backtest import Backtest, Candidate, Outcome, Ranked
from worker.config import Config

INCLUDES = {
    "online_minus_batch_auc_points": "MovieLens-100K, side features, a label known at once: AUC of the model that "
    "learns online less that of itself retrained every day, in points; `low` and `high`: the 95 % interval",
    "delay_*": "the same, each label known so much later by both",
    "grid_winner_log_loss": "the best of 8 configurations, the default among them, with labels known at once",
}
_SIDE = {name: {} for name in ("age", "gender", "occupation", "year")} | {"genres": {"kind": "multi"}}
_FEATURES = {"user": {}, "item": {}} | _SIDE
_DELAYS_MS = {"1m": 60_000, "10m": 600_000, "1h": 3_600_000, "1d": 86_400_000}
_HALF_LIVES = ("off", "364d")
_FACTORS = (4, 8, 16, 32)


def measure(size: Size) -> dict[str, Any]:
    """Compare on a recording of the data set."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        movielens.write_recording(folder / "movielens", most=size.of(100_000, 10_000))
        found = _against_batch(folder, 0)
        by_delay = {f"delay_{name}": _against_batch(folder, delay) for name, delay in _DELAYS_MS.items()}
        return found | by_delay | _grid(folder)


def _against_batch(folder: Path, delay_ms: int) -> dict[str, Any]:
    outcome = _run(folder, [Candidate(name="online", config=_config())], delay_ms=delay_ms, batches=("1d",))
    batch = next(one for one in outcome.ranking if one.kind == "batch")
    points, low, high = _points(batch)
    tell(f"delay {delay_ms / 1000:,.0f} s: {points:+.2f} points, {low:+.2f} to {high:+.2f}")
    online = next(one for one in outcome.ranking if one.kind == "online")
    return {
        "online_minus_batch_auc_points": points, "low": low, "high": high,
        "online_log_loss": online.log_loss, "batch_log_loss": batch.log_loss,
        "online_auc": online.auc, "batch_auc": batch.auc,
    }  # fmt: skip


def _points(batch: Ranked) -> tuple[float, float, float]:
    """Give the difference of online from batch, which is compared with online, in points."""
    if batch.auc_difference is None or batch.auc_low is None or batch.auc_high is None:
        raise ValueError("too few events to compare areas")
    return -100 * batch.auc_difference, -100 * batch.auc_high, -100 * batch.auc_low


def _grid(folder: Path) -> dict[str, Any]:
    every = [
        Candidate(name=f"factors={factors} half_life={half_life}", config=_config(factors=factors, half_life=half_life))
        for factors in _FACTORS
        for half_life in _HALF_LIVES
    ]
    outcome = _run(folder, [Candidate(name="default", config=_config()), *every])
    by_name = {one.name: one for one in outcome.ranking}
    tell(f"winner: {outcome.winner.name}")
    return {
        "grid_winner": outcome.winner.name,
        "grid_winner_log_loss": by_name[outcome.winner.name].log_loss,
        "default_log_loss": by_name["default"].log_loss,
    }


def _run(folder: Path, candidates: list[Candidate], **asked: Any) -> Outcome:
    return Backtest(folder / "movielens", candidates, folder / "out", base_rate=False, jobs=1, **asked).run()


def _config(**model: Any) -> Config:
    # One shard has nobody to merge with.
    return Config.model_validate({"features": _FEATURES, "model": {"merge": False} | model})
