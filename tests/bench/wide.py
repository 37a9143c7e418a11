"""Many fields: 13 numeric and 26 categorical ones, the shape of the Criteo log, where the cost of all pairs shows."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from deploy.broker import Broker
from tests.bench import rig
from tests.bench.ceilings import NOW, alone
from tests.bench.size import Size, medians, ratio, rounds, skipped
from worker.errors import ConfigurationError
from worker.learning import Feature, Learning, Model
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState
from worker.stream.sending import Sender

INCLUDES = (
    "13 numeric and 26 categorical fields, JSON of 540 bytes, a planted logit with weights of all and 5 pairs; K = 16; "
    '`all` pairs and `model.pairs = "auto"`: kernel alone, from Kafka by one worker (of the clock, and per second of '
    "its processor time; there `auto` still chooses for all of the time), the whole pipeline from memory in one thread "
    "once all events were learned, and `auto` has chosen (`settled`), log loss of one shard"
)
EVENTS = 250_000
NUMERIC, CATEGORICAL = 13, 26
_PAIRS = ((0, 5), (1, 12), (3, 7), (5, 20), (9, 14))  # of categorical fields that interact
_DIMENSIONS = 4
_BATCH = 10_000
_START = 1_735_689_600_000


def features() -> dict[str, Feature]:
    """Give the features: numbers enter by their logarithm, standardised by hand."""
    numeric = Feature(kind="numeric", transform="log", shift=2.1, scale=1.4)
    return {f"n{i}": numeric for i in range(NUMERIC)} | {f"c{i}": Feature() for i in range(CATEGORICAL)}


def draw(events: int, seed: int = 5) -> Iterator[list[bytes]]:
    """Write the stream as JSON, in batches."""
    rng = np.random.default_rng(seed)
    sizes = np.geomspace(4, 60_000, CATEGORICAL).astype(int)
    weights = [rng.normal(0, 0.25, size) for size in sizes]
    factors = {(i, j): (rng.normal(0, 0.5, (sizes[i], _DIMENSIONS)), rng.normal(0, 0.5, (sizes[j], _DIMENSIONS)))
               for i, j in _PAIRS}  # fmt: skip
    slopes = rng.normal(0, 0.12, NUMERIC)
    names = [f'"n{i}":%d' for i in range(NUMERIC)] + [f'"c{i}":"%x"' for i in range(CATEGORICAL)]
    template = ("{" + ",".join(names) + ',"label":%d,"time":%d}').encode()
    popular = [_zipf(size) for size in sizes]
    for first in range(0, events, _BATCH):
        n = min(_BATCH, events - first)
        numbers = np.floor(np.exp(rng.normal(2.0, 1.5, (n, NUMERIC)))).astype(int)
        values = [np.searchsorted(of, rng.random(n)) for of in popular]
        logit = -1.5 + ((np.log1p(numbers) - 2.1) / 1.4) @ slopes
        logit += sum(weight[value] for weight, value in zip(weights, values, strict=True))
        for (i, j), (left, right) in factors.items():
            logit += (left[values[i]] * right[values[j]]).sum(axis=1)
        label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
        columns = [*numbers.T.tolist(), *(value.tolist() for value in values), label.tolist()]
        yield [template % event for event in zip(*columns, range(_START + first, _START + first + n), strict=True)]


def measure(kafka: Broker, size: Size) -> dict[str, Any]:
    """Measure with all pairs, and with those that matter."""
    events = size.of(EVENTS, 20_000)
    topic = rig.fresh_topic()
    toml = "\n".join(
        f'[features.{name}]\nkind = "{it.kind}"\ntransform = "{it.transform}"\nshift = {it.shift}\nscale = {it.scale}'
        for name, it in features().items()
    )
    sent = rig.configure(kafka, topic, "sent", features=toml)
    rig.create(sent)
    with Sender(sent, rate=None, progress=None) as sender:
        for number, batch in enumerate(draw(events)):
            sender.wait()
            sender.send([b"%d" % (number * _BATCH + at) for at in range(len(batch))], batch)
    held = list(draw(events))
    some = held[: max(1, len(held) // 10)]
    kernels, settled, workers, told = {}, {}, {}, {}
    cores: dict[str, list[float]] = {}

    def learn(pairs: str, setting: str) -> float:
        config = rig.configure(kafka, topic, pairs, features=toml, of_model=setting)
        learned = rig.learn(config, 1, events)
        cores[pairs].append(learned.events_per_core_second)
        return learned.events_per_second

    for pairs, setting in (("all", ""), ("auto", 'pairs = "auto"')):
        try:
            learning = Learning(features=features(), model=Model(**({"pairs": pairs} if setting else {})))
            rig.configure(kafka, topic, pairs, features=toml, of_model=setting)
        except (ConfigurationError, ValidationError) as error:
            told[pairs] = skipped(error)
            continue
        state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
        _learn(state, pipeline, held)
        told[pairs] = {"log_loss": state.progress.loss}
        kernels[pairs] = alone(some, learning)["kernel"]
        settled[pairs] = lambda state=state, pipeline=pipeline: _learn(state, pipeline, some)
        cores[pairs] = []
        workers[pairs] = lambda pairs=pairs, setting=setting: learn(pairs, setting)
    found = rounds(workers, size.rounds)
    for pairs, rate in medians(found, "").items():
        told[pairs] |= {"headrace_1_worker_eps": rate, "headrace_1_worker_per_core_eps": median(cores[pairs])}
    kernel = rounds(kernels, size.rounds)
    for pairs, rate in medians(kernel, "").items():
        told[pairs]["kernel_eps"] = rate
    for pairs, rate in medians(rounds(settled, size.rounds), "").items():
        told[pairs]["settled_pipeline_eps"] = rate
    if "auto" in found:
        told["auto_to_all"] = ratio(found, "auto", "all")
        told["auto_log_loss_percent"] = 100 * (told["auto"]["log_loss"] / told["all"]["log_loss"] - 1)
    rig.drop(sent, events=True)
    return told | {"events": events}


def _learn(state: ShardState, pipeline: Pipeline, batches: list[list[bytes]]) -> float:
    """Learn events in one thread, from memory: events a second."""
    began = time.perf_counter()
    for batch in batches:
        pipeline.learn(state, batch, np.full(len(batch), NOW), state.next_offset + len(batch))
    return sum(map(len, batches)) / (time.perf_counter() - began)


def _zipf(count: int) -> NDArray[np.float64]:
    weights = 1 / np.arange(1, count + 1)
    cumulative: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    cumulative[-1] = 1
    return cumulative
