"""What the settings do that are off unless asked for: admission, samples of negatives, noisy labels, clipped numbers.

One shard, the worker's own pipeline, no Kafka; nothing is timed. Streams are planted, so that what is true is known.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tests.bench.ceilings import LEARNING, NOW
from tests.bench.size import Size, tell
from worker.events.pack import write
from worker.learning import Events, Feature, Learning
from worker.modelling import Model
from worker.pipeline import Pipeline, Prepared
from worker.simulate import Planted
from worker.simulate.encoding import encode
from worker.snapshot.state import ShardState

INCLUDES = {
    "admit_after.*": "a million planted events of 500,000 users and 100,000 items; both are held back until they are "
    "seen so many times; bytes with the counters (0: without)",
    "keep_negatives.*": "2,000,000 planted events, 1.8 % positive; this share of the negatives learned; second half, "
    "all events counted: mean score over mean label, log loss",
    "label_noise.*": "a million planted events, of which 5 % have the other label; this `model.label_noise`; second "
    "half: mean score over mean truth, log loss above that of the truth",
    "numbers.*": "100,000 events with 13 numbers of scales from 1e-6 to 1e6; clean, and with 0.1 % of absurd ones up "
    "to 1e30; by default, and with a wider clip; `least`: the entropy of what the labels were drawn from",
}
_BATCH = 10_000
_PURCHASES = 0.1  # of the positives stay: 1.8 % of all
_FLIPS = 0.05
_NUMBERS = 13


def measure(size: Size) -> dict[str, Any]:
    """Learn each stream with each setting."""
    return {
        "admit_after": _admission(size.of(1_000_000, 20_000)),
        "keep_negatives": _negatives(size.of(2_000_000, 20_000)),
        "label_noise": _noise(size.of(1_000_000, 20_000)),
        "numbers": _numbers(size.of(100_000, 10_000)),
    }


def _admission(events: int) -> dict[str, Any]:
    def learning(after: int) -> Learning:
        rare = Feature(admit_after=after)
        return Learning(features=LEARNING.features | {"user": rare, "item": rare})

    pipeline = Pipeline(LEARNING)  # what is prepared does not depend on the setting
    states = {after: ShardState.fresh(0, learning(after)) for after in (0, 2, 3, 5)}
    for batch in Planted(events=events, users=500_000, items=100_000).batches(_BATCH):
        prepared = pipeline.prepare(encode(batch), np.full(len(batch), NOW))
        for state in states.values():
            pipeline.take(state, prepared, state.next_offset + len(batch))
    tell("admission measured")
    return {
        str(after): {
            "rows": len(state.model.table),
            "bytes": state.model.nbytes,
            "log_loss": state.progress.loss,
            "log_loss_percent": 100 * (state.progress.loss / states[0].progress.loss - 1),
        }
        for after, state in states.items()
    }


def _prepared(pipeline: Pipeline, events: int) -> Iterator[tuple[Prepared, NDArray[np.float64]]]:
    """Prepare a planted stream, with the probability of each label."""
    for batch in Planted(events=events, users=20_000, items=2_000).batches(_BATCH):
        yield pipeline.prepare(encode(batch), np.full(len(batch), NOW)), batch.truth


def _negatives(events: int) -> dict[str, Any]:
    shares = {"1": 1.0, "0.1": 0.1, "0.02": 0.02}
    learnings = [LEARNING.model_copy(update={"events": Events(keep_negatives=share)}) for share in shares.values()]
    states, pipelines = [ShardState.fresh(0, it) for it in learnings], [Pipeline(it) for it in learnings]
    scores, labels = [list[NDArray[np.float64]]() for _ in shares], []
    rng = np.random.default_rng(0)
    for number, batch in enumerate(Planted(events=events, users=20_000, items=2_000).batches(_BATCH)):
        bought = batch.labels * (rng.random(len(batch)) < _PURCHASES)
        values, late = encode(replace(batch, labels=bought)), 2 * number * _BATCH >= events
        if late:
            labels.append(bought)
            entries = pipelines[0].prepare(values, np.full(len(batch), NOW)).batches[0].entries
        for at, (state, pipeline) in enumerate(zip(states, pipelines, strict=True)):
            if late:
                scores[at].append(state.model.predict(entries).predictions.astype(np.float64))
            pipeline.learn(state, values, np.full(len(batch), NOW), state.next_offset + len(batch))
    tell("samples of negatives measured")
    y = np.concatenate(labels)
    return {name: _judged(np.concatenate(p), y) for name, p in zip(shares, scores, strict=True)}


def _judged(p: NDArray[np.float64], y: NDArray[np.int64]) -> dict[str, float]:
    loss = -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))
    return {"calibration": float(p.mean() / y.mean()), "log_loss": float(loss)}


def _noise(events: int) -> dict[str, Any]:
    rates = (0.0, _FLIPS / 2, _FLIPS, 1.5 * _FLIPS)
    learnings = [LEARNING.model_copy(update={"model": Model(label_noise=rate)}) for rate in rates]
    states, pipelines = [ShardState.fresh(0, it) for it in learnings], [Pipeline(it) for it in learnings]
    scores, truths = [list[NDArray[np.float32]]() for _ in rates], []
    rng, done = np.random.default_rng(3), 0
    for prepared, truth in _prepared(pipelines[0], events):
        batch = prepared.batches[0]
        flipped = rng.random(len(batch)) < _FLIPS
        batch = replace(batch, labels=np.where(flipped, 1 - batch.labels, batch.labels).astype(np.float32))
        done += len(batch)
        if 2 * done > events:
            truths.append(truth)
        for at, state in enumerate(states):
            learned = state.model.learn(batch)
            if 2 * done > events:
                scores[at].append(learned.predictions)
    tell("noise in labels measured")
    t = np.concatenate(truths)
    found = {}
    for rate, of_rate in zip(rates, scores, strict=True):
        p = np.concatenate(of_rate).astype(np.float64)
        excess = np.mean(t * np.log(t / p) + (1 - t) * np.log((1 - t) / (1 - p)))
        found[f"{rate:g}"] = {"calibration": float(p.mean() / t.mean()), "excess_log_loss": float(excess)}
    return found


def _numbers(events: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, absurd in (("clean", 0.0), ("absurd", 0.001)):
        table, least = _with_numbers(events, absurd)
        found[name] = {"least": least}
        for setting, feature in (("default", {}), ("clip_10", {"clip": 10.0})):
            features = {"user": Feature(), "item": Feature()}
            features |= {f"n{i}": Feature(kind="numeric", **feature) for i in range(_NUMBERS)}
            learning = Learning(features=features, events=Events(format="arrow"), model=Model(merge=False))
            state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
            for start in range(0, events, _BATCH // 2):
                message = write(table.slice(start, _BATCH // 2))
                pipeline.learn(state, [message], np.array([NOW]), state.next_offset + 1)
            found[name][setting] = {"log_loss": float(state.progress.loss)}
    return found


def _with_numbers(events: int, absurd: float) -> tuple[pa.RecordBatch, float]:
    """Draw events whose labels depend on 13 numbers and an item; gives the entropy of the labels too."""
    rng = np.random.default_rng(0)
    z, slopes = rng.normal(size=(events, _NUMBERS)), rng.normal(0, 0.35, _NUMBERS)
    item = rng.integers(200, size=events)
    logit = -1 + z @ slopes + rng.normal(0, 0.5, 200)[item] + 0.5 * z[:, 0] * np.where(item % 2, 1, -1)
    p = 1 / (1 + np.exp(-logit))
    scale = 10.0 ** rng.integers(-6, 7, _NUMBERS)
    raw = scale * (rng.choice([0, 1, 30, 1000], _NUMBERS) + z)
    raw = np.where(rng.random(raw.shape) < absurd, rng.choice([1e30, -1e30, 1e12], raw.shape), raw)
    columns = {
        "user": pa.array([f"u{number % 50}" for number in range(events)]),
        "item": pa.array(item),
        "label": pa.array((rng.random(events) < p).astype(int)),
        "time": pa.array(np.full(events, NOW)),
    } | {f"n{i}": pa.array(raw[:, i]) for i in range(_NUMBERS)}
    return pa.RecordBatch.from_pydict(columns), float(-np.mean(p * np.log(p) + (1 - p) * np.log1p(-p)))
