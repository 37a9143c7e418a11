"""What sharding costs where shards merge: per cent more progressive log loss than one shard that learns every event.

- `simulated`, by "<shards>x<events of each from one merge to the next>": a planted stream of two million events,
  200,000 users, 20,000 items and 60 contexts (tests/bench/drawn.py), with the worker's pipeline and its versions, but
  without Kafka. The shards merge at the same moment, and see all of one another then (tests/bench/lockstep.py). Second
  half of the stream only.
- `simulated_drift_16x1000_percent`: the same, where three in ten items get another bias at half time: what follows
  counts. Both sides forget with the same half-life, of two million events, with which one shard predicts best there.
  `simulated_drift_16x1000_500s_percent`: of 500,000 events.
- `simulated_contexts_64x1000_percent`: the same on what `headrace simulate` sends, with three contexts of 6, 24 and 60
  values, which every shard sees all the time: where shards move the same rows in parallel, sums are apt to overshoot.
- `isolated`, by the number of shards: the same as `simulated`, but the shards never merge.
- `movielens_8_lockstep_percent`: MovieLens-100K, user and item only, 8 shards by user, merged like `simulated` after
  every 100 events of each. All events count, the first ones too. `movielens_8_isolated_percent`: never merged.
- `movielens_8_partitions_percent`: the same stream on a real Kafka, two workers, 8 partitions, sent at 5,000 events/s,
  commits every 0.2 s. What is known of the other shards when is a matter of time, so this is the median of three runs.

Among all parts (`make bench` without ONLY) some of these rows are left out, and Kafka is met in one run only.
"""

import sys
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pyarrow as pa

from deploy import movielens
from deploy.broker import broker
from tests.bench import live
from tests.bench.drawn import EVENTS, FEATURES, ITEMS, USERS, draw
from tests.bench.lockstep import Stream, log_loss
from tests.bench.size import Size
from worker.learning import Feature, Learning
from worker.modelling import Model
from worker.simulate import Planted
from worker.simulate.encoding import encode, keys

MERGES = ((8, 10_000), (16, 10_000), (8, 1_000), (16, 1_000), (64, 1_000))
ISOLATED = (16, 64)
WHOLE_MERGES, WHOLE_ISOLATED = ((16, 10_000),), (16,)  # where all parts are to fit into half an hour
PARTITIONS = 8
RUNS = 3
INCLUDES = {
    "*percent": "per cent more progressive log loss than one shard that learns every event; all of it: ONLY=merge",
    "*": "the same, by <shards>x<events of each from one merge to the next>; second half of two million events",
}
_HALF_LIVES = {  # of event time, 1,000 events a second
    "simulated_drift_16x1000_percent": "2000s",
    "simulated_drift_16x1000_500s_percent": "500s",
}
_CONTEXTS = ("user", "item", "hour", "device", "slot")
_MOVIELENS = Path("build/bench/movielens.jsonl")


def measure(size: Size) -> dict[str, Any]:
    """Measure all, some ten minutes; among all other parts only what takes half of that."""
    events = size.of(EVENTS, 40_000)
    return _simulated(size, events) | _drift(size, events) | _contexts(events) | _movielens(size)


def _simulated(size: Size, events: int) -> dict[str, Any]:
    learning, stream, half = _learning(*FEATURES), draw(events).stream(), events // 2
    whole = _told("simulated, one shard", log_loss(stream, learning, 1, every=None, start=half))
    merged, isolated = {}, {}
    for shards, every in WHOLE_MERGES if size.whole else MERGES:
        loss = log_loss(stream, learning, shards, every=every, start=half)
        merged[f"{shards}x{every}"] = _percent(f"simulated {shards}x{every}", loss, whole)
    for shards in WHOLE_ISOLATED if size.whole else ISOLATED:
        loss = log_loss(stream, learning, shards, every=None, start=half)
        isolated[str(shards)] = _percent(f"simulated, {shards} shards apart", loss, whole)
    return {"simulated": merged, "isolated": isolated}


def _drift(size: Size, events: int) -> dict[str, Any]:
    stream, half, found = draw(events, drift=True).stream(), events // 2, {}
    for name, half_life in list(_HALF_LIVES.items())[: 1 if size.whole else None]:
        learning = _learning(*FEATURES, half_life=half_life)
        whole = _told(f"simulated drift, {half_life}, one shard", log_loss(stream, learning, 1, every=None, start=half))
        loss = log_loss(stream, learning, 16, every=1_000, start=half)
        found[name] = _percent(f"simulated drift, {half_life}, 16x1000", loss, whole)
    return found


def _contexts(events: int) -> dict[str, Any]:
    planted, half = Planted(events=events, users=USERS, items=ITEMS, drift_at=None), events // 2
    batches = list(planted.batches(100_000))
    stream = Stream(
        keys=pa.chunked_array([pa.array(keys(batch), pa.string()) for batch in batches]),
        values=[value for batch in batches for value in encode(batch)],
    )
    learning = _learning(*_CONTEXTS)
    whole = _told("simulated contexts, one shard", log_loss(stream, learning, 1, every=None, start=half))
    loss = log_loss(stream, learning, 64, every=1_000, start=half)
    return {"simulated_contexts_64x1000_percent": _percent("simulated contexts 64x1000", loss, whole)}


def _movielens(size: Size) -> dict[str, Any]:
    learning = _learning("user", "item")
    movielens.write_jsonl(_MOVIELENS)
    values = _MOVIELENS.read_bytes().splitlines()
    stream = Stream(keys=pa.array([orjson.loads(value)["user"] for value in values]), values=values)
    whole = _told("MovieLens, one shard", log_loss(stream, learning, 1, every=None))
    lockstep = log_loss(stream, learning, PARTITIONS, every=100)
    isolated = log_loss(stream, learning, PARTITIONS, every=None)
    found = {
        "movielens_8_lockstep_percent": _percent("MovieLens 8x100", lockstep, whole),
        "movielens_8_isolated_percent": _percent("MovieLens, 8 shards apart", isolated, whole),
    }
    with broker() as kafka:
        runs = [
            _percent(f"MovieLens on Kafka, run {number}", live.learn(kafka, _MOVIELENS, PARTITIONS).loss, whole)
            for number in range(1, (1 if size.whole else RUNS) + 1)
        ]
    return found | {"movielens_8_partitions_percent": median(runs)}


def _learning(*features: str, **model: Any) -> Learning:
    return Learning(features={name: Feature() for name in features}, model=Model(merge=True, **model))


def _told(what: str, loss: float) -> float:
    print(f"{what}: log loss {loss:.5f}", file=sys.stderr)
    return loss


def _percent(what: str, loss: float, whole: float) -> float:
    percent = 100 * (loss / whole - 1)
    print(f"{what}: {percent:+.3f} %", file=sys.stderr)
    return percent
