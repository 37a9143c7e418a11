"""Many fields: 13 numeric and 26 categorical ones, the shape of the Criteo log, where the cost of all pairs shows."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.broker import Broker
from tests.bench import rig
from tests.bench.ceilings import NOW, alone
from tests.bench.size import Size, medians, ratio, rounds
from worker.config import Config
from worker.learning import Feature, Learning
from worker.modelling import Model
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState
from worker.stream.sending import Sender

INCLUDES = (
    "13 numeric and 26 categorical fields, JSON of 540 bytes, a planted logit with weights of all and 5 pairs; K = 16; "
    '`all` pairs and `model.pairs = "auto"`: kernel alone, from Kafka by one worker with 4 merged shards (of the '
    "clock, and per second of its processor time, from when half of the events are learned, and `auto` has chosen), "
    "the whole pipeline from memory in one thread then (`settled`), log loss of one shard; `consume_only`: a bare "
    'loop; `auto_packed`: the same events in packed messages (`events.format = "arrow"`), `*_local`: without merging'
)
EVENTS = 800_000
NUMERIC, CATEGORICAL = 13, 26
_PAIRS = ((0, 5), (1, 12), (3, 7), (5, 20), (9, 14))  # of categorical fields that interact
_DIMENSIONS = 4
_BATCH = 10_000
_START = 1_735_689_600_000
_HELD, _A_ROUND = 250_000, 2  # of the events, what is learned from memory; and then by each round, in batches
_AUTO = 'pairs = "auto"'
_ALONE = ("auto_local", "auto_packed")  # left out where all parts are measured in half an hour


def features() -> dict[str, Feature]:
    """Give the features: numbers enter by their logarithm, standardised by hand."""
    numeric = Feature(kind="numeric", transform="log", shift=2.1, scale=1.4)
    return {f"n{i}": numeric for i in range(NUMERIC)} | {f"c{i}": Feature() for i in range(CATEGORICAL)}


def _toml() -> str:
    return "\n".join(
        f'[features.{name}]\nkind = "{it.kind}"\ntransform = "{it.transform}"\nshift = {it.shift}\nscale = {it.scale}'
        for name, it in features().items()
    )


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
    json, packed = (_sent(kafka, events, wire) for wire in ("json", "arrow"))
    count = size.of(_HELD)
    held = list(draw(count + size.rounds * _A_ROUND * _BATCH))
    held, ahead = held[: -(-count // _BATCH)], held[-(-count // _BATCH) :]
    some = held[: max(1, len(held) // 10)]
    told: dict[str, Any] = {}
    kernels, settled = {}, {}
    for pairs in ("all", "auto"):
        learning = Learning(features=features(), model=Model(pairs=pairs))
        state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
        _learn(state, pipeline, held)
        told[pairs] = {"log_loss": state.progress.loss}
        kernels[pairs] = alone(some, learning)["kernel"]
        # Each round goes on: to learn the same again would be a drift.
        rest = iter([ahead[at : at + _A_ROUND] for at in range(0, len(ahead), _A_ROUND)])
        settled[pairs] = lambda state=state, pipeline=pipeline, rest=rest: _learn(state, pipeline, next(rest))
    cores: dict[str, list[float]] = defaultdict(list)

    def learn(name: str, sent: Config, setting: str) -> float:
        wire = f', format = "{sent.events.format}"'
        config = rig.configure(kafka, sent.events.topic, name, features=_toml(), of_events=wire, of_model=setting)
        learned = rig.learn(config, 1, events, after=events // 2)
        cores[name].append(learned.events_per_core_second)
        return learned.events_per_second

    workers = {
        name: lambda name=name, sent=sent, setting=setting: learn(name, sent, setting)
        for name, sent, setting in (
            ("all", json, ""),
            ("auto", json, _AUTO),
            ("auto_local", json, f"{_AUTO}\nmerge = false"),
            ("auto_packed", packed, _AUTO),
            ("auto_packed_local", packed, f"{_AUTO}\nmerge = false"),
        )
        if not size.whole or name not in _ALONE
    }
    consume_only = "consume_only_per_core_eps"
    workers[consume_only] = lambda: rig.consume(json, events, time.process_time)
    found = rounds(workers, size.rounds)
    told |= medians({consume_only: found.pop(consume_only)}, "")
    for name, rate in medians(found, "").items():
        told.setdefault(name, {}).update(
            {"headrace_1_worker_eps": rate, "headrace_1_worker_per_core_eps": median(cores[name])}
        )
    for key, candidates in (("kernel_eps", kernels), ("settled_pipeline_eps", settled)):
        for pairs, rate in medians(rounds(candidates, size.rounds), "").items():
            told[pairs][key] = rate
    told["auto_to_all"] = ratio(found, "auto", "all")
    told["auto_log_loss_percent"] = 100 * (told["auto"]["log_loss"] / told["all"]["log_loss"] - 1)
    for sent in (json, packed):
        rig.drop(sent, events=True)
    return told | {"events": events}


def _sent(kafka: Broker, events: int, wire: str) -> Config:
    """Send the stream to a topic of its own."""
    sent = rig.configure(kafka, rig.fresh_topic(), "sent", features=_toml(), of_events=f', format = "{wire}"')
    rig.create(sent)
    with Sender(sent, rate=None, progress=None) as sender:
        for number, batch in enumerate(draw(events)):
            sender.wait()
            sender.send([b"%d" % (number * _BATCH + at) for at in range(len(batch))], batch)
    return sent


def _learn(state: ShardState, pipeline: Pipeline, batches: Sequence[list[bytes]]) -> float:
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
