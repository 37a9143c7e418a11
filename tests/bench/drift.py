"""Detectors of drift: how often they alarm for nothing, how soon they find what is planted, and what they cost.

Ours is told how often it may be wrong. Those of others have thresholds: each gets the one of a small grid whose rate of
false alarms on streams that stay as they are is nearest to ours as configured. The dummy alarms once in so many events.
"""

import json
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy import movielens
from tests.bench import loosening
from tests.bench.ceilings import NOW
from tests.bench.drifting import ALONE, BATCH, KINDS, RAMP, stream
from tests.bench.peers.installed import Environment
from tests.bench.size import Size, tell
from worker.learning import Feature, Learning
from worker.model.batch import Batch
from worker.pipeline import Pipeline, Prepared
from worker.quality.layout import NAMES
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.state import ShardState
from worker.watching import Quality

INCLUDES = {
    "false_alarms.*": "20 planted streams (4 where all parts are measured) of 5,000,000 events that stay as they are: "
    "alarms a million events, as "
    "configured, and measured from the end of the warm-up on; each detector alone; MovieLens-100K: alarms of 100,000, "
    "in the order of time, which is not stationary, and the mean of 5 shuffles, which are",
    "detection.*": "drift after 800,000 events: median events to the first alarm, the share of streams without one "
    "within 200,000 events (gradual 500,000), F1 with alarms before the drift as false ones; `headrace`: any of ours",
    "tuned.*": "River's detectors on the losses: the setting, and its false alarms a million events",
    **loosening.INCLUDES,
    "overhead.*": "nanoseconds an event of all that is watched, per cent of predicting and learning (`take`), and of "
    "that with decoding (`pipeline`); one thread",
}
EVERY = 1_000_000  # events between two false alarms
_STREAMS, _EVENTS, _TUNED_ON = 20, 5_000_000, 2
_DRIFTS, _DRIFT, _HORIZON = 8, 800_000, 200_000
_WARM = 40_000
_SHUFFLES = 5
_GRID = {
    "adwin": (2e-3, 1e-4, 1e-6, 1e-9),
    "page_hinkley": (100.0, 150.0, 225.0, 350.0, 500.0),
}
_FOLDER = Path("build/bench/drift")
_SCRIPT = Path(__file__).parent / "peers" / "with_river_drift.py"
Alarms = dict[str, list[int]]  # by detector: the numbers of the events


def measure(size: Size) -> dict[str, Any]:
    """Measure all of it."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    streams = max(2, int(size.fewer(_STREAMS, 4) * min(1.0, 5 * size.share)))
    events = size.of(_EVENTS, 100_000)
    alarms: list[Alarms] = []
    for seed in range(streams):
        alarms.append(_ours(stream(None, 100 + seed, events, 0), _path(None, seed) if seed < _TUNED_ON else None))
        tell(f"stationary {seed}: {alarms[-1]}")
    spent = streams * (events - _WARM) / 1e6
    counts = {name: sum(len(it[name]) for it in alarms) for name in NAMES}
    environment = Environment()
    reason = environment.missing(("river",))
    tuned = {} if reason else _tune(environment, events)
    return {
        "false_alarms": {
            "configured": 1e6 / EVERY,
            "measured": sum(counts.values()) / spent,
            "events": streams * events,
            **{f"measured_{name}": count / spent for name, count in counts.items()},
            "movielens_alarms": _movielens(),
            "movielens_shuffled_alarms": sum(map(_movielens, range(_SHUFFLES))) / _SHUFFLES,
        },
        "tuned": {"missing": reason} if reason else tuned,
        "detection": _detection(size, environment, tuned),
        "loosen": loosening.measure(size),
        "overhead": _overhead(size),
    }


def _learning(every: int = EVERY) -> Learning:
    return ALONE.model_copy(update={"quality": Quality(false_alarm_every=every)})


def _path(kind: str | None, seed: int) -> Path:
    return _FOLDER / f"{kind or 'stationary'}-{seed}.npy"


def _ours(batches: Iterable[Batch], losses: Path | None) -> Alarms:
    """Learn a stream, and give the alarms; its losses go to a file."""
    learning = _learning()
    pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
    alarms: Alarms = {name: [] for name in NAMES}
    told = [0] * len(NAMES)
    kept: list[NDArray[np.float32]] = []
    for batch in batches:
        if losses is not None:
            scores = state.model.learn(batch)
            judged = state.progress.add(scores.predictions, batch.labels, batch.weights)
            state.watch.observe(batch, scores.predictions, scores.variances, batch.weights, judged)
            kept.append(judged.losses.astype(np.float32))
        else:
            pipeline.take(state, Prepared(batches=[batch], rejected=[]), state.next_offset + len(batch))
        for detector, name in enumerate(NAMES):
            alarm = state.watch.alarm(detector)
            if alarm.alarms > told[detector]:  # one at most: a window, in which it holds still, is longer than a batch
                told[detector] = alarm.alarms
                alarms[name].append(alarm.event)
    if losses is not None:
        np.save(losses, np.concatenate(kept))
    return alarms


def _river(environment: Environment, path: Path, detectors: list[tuple[str, float]]) -> list[list[int]]:
    task = json.dumps({"path": str(path), "skip": _WARM, "detectors": detectors})
    ended = subprocess.run(
        [str(environment.python), "-W", "ignore", str(_SCRIPT), task], capture_output=True, text=True, check=True
    )
    found: list[list[int]] = json.loads(ended.stdout)
    return found


def _tune(environment: Environment, events: int) -> dict[str, Any]:
    """Give each of River's detectors the setting whose rate of false alarms is nearest to ours as configured."""
    grid = [(kind, setting) for kind, settings in _GRID.items() for setting in settings]
    tasks = [(seed, one) for seed in range(_TUNED_ON) for one in grid]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda it: len(_river(environment, _path(None, it[0]), [it[1]])[0]), tasks))
    rates = {
        one: sum(count for (_, it), count in zip(tasks, found, strict=True) if it == one)
        / (_TUNED_ON * (events - _WARM) / 1e6)
        for one in grid
    }
    told = {}
    for kind, settings in _GRID.items():
        best = min(settings, key=lambda it, kind=kind: abs(np.log((rates[kind, it] + 0.05) * EVERY / 1e6)))
        told[kind] = {"setting": best, "false_alarms": rates[kind, best]} | {
            f"false_alarms_at_{setting:g}": rates[kind, setting] for setting in settings
        }
    return told


def _detection(size: Size, environment: Environment, tuned: dict[str, Any]) -> dict[str, Any]:
    drift = size.of(_DRIFT, 100_000)
    found: dict[str, Any] = {}
    for kind in KINDS:
        horizon = RAMP if kind == "gradual" else _HORIZON
        each: list[Alarms] = []
        for seed in range(max(1, int(size.fewer(_DRIFTS, 3) * min(1.0, 5 * size.share)))):
            path = _path(kind, seed)
            alarms = _ours(stream(kind, seed, drift + horizon, drift), path)
            alarms["headrace"] = sorted({at for name in NAMES for at in alarms[name]})
            first = int(np.random.default_rng(seed).integers(EVERY))
            alarms["dummy"] = [at for at in range(first, drift + horizon, EVERY) if at > _WARM]
            if tuned:
                settings = [(peer, told["setting"]) for peer, told in tuned.items()]
                alarms |= dict(zip(tuned, _river(environment, path, settings), strict=True))
            path.unlink()
            each.append(alarms)
        found[kind] = {name: _judge([it[name] for it in each], drift) for name in each[0]}
        tell(f"{kind}: {found[kind]}")
    return found


def _judge(streams: list[list[int]], drift: int) -> dict[str, float | None]:
    delays = [min(at - drift for at in alarms if at > drift) for alarms in streams if any(at > drift for at in alarms)]
    false = sum(at <= drift for alarms in streams for at in alarms)
    missed = len(streams) - len(delays)
    return {
        "median_delay_events": median(delays) if delays else None,
        "missed": missed / len(streams),
        "f1": 2 * len(delays) / (2 * len(delays) + false + missed) if streams else 0.0,
    }


def _movielens(shuffle: int | None = None) -> int:
    """Count the alarms on MovieLens-100K, with the setting of the planted streams; in order of time, or in none."""
    path = _FOLDER / "movielens.jsonl"
    movielens.write_jsonl(path)
    learning = Learning(features={name: Feature() for name in ("user", "item")}, quality=_learning().quality)
    pipeline, state = Pipeline(learning), ShardState.fresh(0, learning)
    with path.open("rb") as lines:
        values = [line.rstrip(b"\n") for line in lines]
    if shuffle is not None:
        Random(shuffle).shuffle(values)
    for start, stop in pairwise([*range(0, len(values), BATCH), len(values)]):
        pipeline.learn(state, values[start:stop], np.full(stop - start, NOW), stop)
    return sum(state.watch.alarm(detector).alarms for detector in range(len(NAMES)))


def _overhead(size: Size) -> dict[str, float]:
    """Time what is watched inside the worker's own steps, round after round."""
    events = size.of(500_000, 50_000)
    values = [encode(batch) for batch in Planted(events=events).batches(BATCH)]
    learning = _learning()
    pipeline, rounds = Pipeline(learning), []
    for _ in range(size.rounds):
        state, seconds = ShardState.fresh(0, learning), dict.fromkeys(("watch", "take", "prepare"), 0.0)
        observe = state.watch.observe

        def timed(*arguments: Any, of: dict[str, float] = seconds, work: Any = observe) -> None:
            began = time.thread_time()
            work(*arguments)
            of["watch"] += time.thread_time() - began

        state.watch.observe = timed  # type: ignore[method-assign]
        for batch in values:
            began = time.thread_time()
            prepared = pipeline.prepare(batch, np.full(len(batch), NOW))
            middle = time.thread_time()
            pipeline.take(state, prepared, state.next_offset + len(batch))
            seconds["prepare"] += middle - began
            seconds["take"] += time.thread_time() - middle
        rounds.append(seconds)
    return {
        "nanoseconds": median(it["watch"] for it in rounds) / events * 1e9,
        "percent_of_take": 100 * median(it["watch"] / (it["take"] - it["watch"]) for it in rounds),
        "percent_of_pipeline": 100 * median(it["watch"] / (it["take"] + it["prepare"] - it["watch"]) for it in rounds),
    }
