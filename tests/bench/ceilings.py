"""What bounds a worker: the client that only counts, the decoder, the learner; each alone, in the same rounds."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from deploy.broker import broker
from tests.bench import rig
from tests.bench.size import Size, medians, ratio, rounds
from worker.events.columns import columns_of
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.scanned import Scanner, join
from worker.learning import Feature, Learning
from worker.model.batch import Batch
from worker.pipeline import Pipeline
from worker.simulate import Planted, simulate
from worker.simulate.encoding import encode
from worker.snapshot.state import ShardState

INCLUDES = {
    "consume_only_eps": "confluent-kafka `consume(10000)` with a worker's settings, 4 partitions, counting only",
    "pyarrow_json_eps": "`pyarrow.json.read_json` of 10,000 joined JSON events with a schema, no Kafka",
    "scan_eps": "our scanner alone: the same bytes to the same columns, joining included in both",
    "decode_eps": "our decoder: scan, check; every bad record told with its reason; no Kafka",
    "features_eps": "decoded columns to 64-bit keys",
    "kernel_eps": "keys to rows, predict, learn; 5 fields and the bias, K = 16, one thread",
    "pipeline_eps": "decode, features, predict, learn, one after the other in one thread, no Kafka",
    "scan_to_pyarrow_json": "median of the rounds' ratios",
    "kernel_to_decode": "the same",
    "pipeline_to_consume_only": "the same",
}
LEARNING = Learning(features={name: Feature() for name in ("user", "item", "hour", "device", "slot")})
_BATCH = 10_000
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("user", "item", "hour", "device", "slot")]
    + [(name, pa.float64()) for name in ("label", "time")]
)
NOW = 2_000_000_000_000  # record timestamps after every event: none is from the future


def measure(size: Size) -> dict[str, Any]:
    """Measure each of them alone."""
    events, memory = size.of(2_000_000), size.of(500_000, _BATCH)
    batches = [encode(batch) for batch in Planted(events=memory).batches(_BATCH)]
    with broker() as kafka:
        config = rig.configure(kafka, rig.fresh_topic(), "ceilings")
        rig.create(config)
        simulate(config, Planted(events=events))
        candidates = {"consume_only": lambda: rig.consume(config, events)} | alone(batches, LEARNING)
        found = rounds(candidates, size.rounds)
        rig.drop(config, events=True)
    return medians(found) | {
        "scan_to_pyarrow_json": ratio(found, "scan", "pyarrow_json"),
        "kernel_to_decode": ratio(found, "kernel", "decode"),
        "pipeline_to_consume_only": ratio(found, "pipeline", "consume_only"),
        "rounds": size.rounds,
    }


def alone(batches: list[list[bytes]], learning: Learning) -> dict[str, Callable[[], float]]:
    """Give what measures each step of the pipeline alone, from memory: events a second."""
    decoder, features = Decoder(learning), Features(learning)
    stamps = [np.full(len(batch), NOW) for batch in batches]
    decoded = [decoder.decode(batch, times) for batch, times in zip(batches, stamps, strict=True)]
    prepared = []
    for it in decoded:
        entries = features.encode(it.table)
        routes = features.routes(it.table, entries)
        prepared.append(Batch(entries=entries, labels=it.labels, weights=it.weights, times=it.times, routes=routes))
    total = sum(map(len, batches))

    def timed(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return total / (time.perf_counter() - began)

    def kernel() -> None:
        state = ShardState.fresh(0, learning)
        for batch in prepared:
            state.model.learn(batch)

    def pipeline() -> None:
        state, whole = ShardState.fresh(0, learning), Pipeline(learning)
        for batch, times in zip(batches, stamps, strict=True):
            whole.learn(state, batch, times, state.next_offset + len(batch))

    return {
        "pyarrow_json": lambda: timed(lambda: _parse(batches)),
        "scan": lambda: timed(lambda: _scan(batches, learning)),
        "decode": lambda: timed(lambda: [decoder.decode(b, t) for b, t in zip(batches, stamps, strict=True)]),
        "features": lambda: timed(lambda: [features.encode(it.table) for it in decoded]),
        "kernel": lambda: timed(kernel),
        "pipeline": lambda: timed(pipeline),
    }


def _parse(batches: list[list[bytes]]) -> None:
    options = pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore")
    for batch in batches:
        joined = b"\n".join(batch)
        reading = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
        pj.read_json(pa.BufferReader(joined), reading, options)


def _scan(batches: list[list[bytes]], learning: Learning) -> None:
    scanner = Scanner(list(columns_of(learning, labelled=True).values()))
    for batch in batches:
        scanner.scan(join(batch), np.fromiter(map(len, batch), np.int64, len(batch)))
