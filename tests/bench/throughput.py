"""Events a second from a real Kafka topic: a consumer that only counts, and workers that learn and commit.

JSON events of about 180 bytes with 5 fields, K = 16, exactly-once commits every second, 4 partitions, the broker on the
same machine. A worker's rate is taken between its first and its last commit, by its manifests, so neither its start nor
its end counts. The rounds of all candidates alternate; medians are given.
"""

import os
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from deploy.broker import broker
from worker.config import Config
from worker.settings import load
from worker.simulate import Planted, simulate
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind
from worker.stream import client, provision
from worker.stream.tail import Tail

EVENTS = 3_000_000
PARTITIONS = 4
ROUNDS = 5
_FOLDER = Path("build/bench")
_TIMEOUT_SECONDS = 300.0


def measure() -> dict[str, Any]:
    """Give events a second: medians over the rounds, and the ratio to the consumer of the same round."""
    rates: dict[str, list[float]] = {"consume_only": [], "headrace_1_worker": [], "headrace_2_workers": []}
    with broker() as kafka:
        events = f"bench-{uuid.uuid4().hex[:8]}"
        first = _configure(kafka.bootstrap_servers, events, "sent")
        provision.create(client.administer(first), first, partitions=PARTITIONS)
        simulate(first, Planted(events=EVENTS))
        for number in range(ROUNDS):
            rates["consume_only"].append(_consume(first))
            for workers in (1, 2):
                config = _configure(kafka.bootstrap_servers, events, f"{workers}-{number}")
                name = f"headrace_{workers}_worker" + ("s" if workers > 1 else "")
                rates[name].append(_learn(config, workers))
    told: dict[str, Any] = {f"{name}_eps": median(found) for name, found in rates.items()}
    for name in ("headrace_1_worker", "headrace_2_workers"):
        pairs = zip(rates[name], rates["consume_only"], strict=True)
        told[f"{name}_to_consume_only"] = median(ours / ceiling for ours, ceiling in pairs)
    return told | {"events": EVENTS, "rounds": ROUNDS, "event_bytes": 180, "broker": kafka.description}


def _configure(bootstrap_servers: str, events: str, name: str) -> Config:
    _FOLDER.mkdir(parents=True, exist_ok=True)
    path = _FOLDER / "headrace.toml"
    path.write_text(
        f'kafka = {{ bootstrap_servers = "{bootstrap_servers}", group = "{events}.{name}" }}\n'
        f'events = {{ topic = "{events}" }}\n'
        f'model = {{ topic = "{events}.{name}.model" }}\n'
        f'dead_letter = {{ topic = "{events}.{name}.rejected" }}\n'
        "metrics = { port = 0 }\n"
        "features = { user = {}, item = {}, hour = {}, device = {}, slot = {} }\n"
    )
    return load(path, {})


def _consume(config: Config) -> float:
    consumer = Consumer(client.consumer_settings(config) | {"group.id": uuid.uuid4().hex, "stats_cb": lambda _: None})
    consumer.assign([TopicPartition(config.events.topic, partition, 0) for partition in range(PARTITIONS)])
    consumer.consume(1, 30)
    began, count = time.perf_counter(), 1
    while count < EVENTS:
        count += len(consumer.consume(config.run.poll_events, 0.1))
    seconds = time.perf_counter() - began
    consumer.close()
    return count / seconds


def _learn(config: Config, workers: int) -> float:
    admin = client.administer(config)
    provision.create(admin, config)
    command = [sys.executable, "-m", "worker", "run", "--config", str(_FOLDER / "headrace.toml")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    with ExitStack() as stack:
        processes = []
        for number in range(workers):
            log = stack.enter_context((_FOLDER / f"worker-{number}.log").open("wb"))
            processes.append(subprocess.Popen(command, stderr=log, env=environment))
            stack.callback(processes[-1].kill)
        _await_end(config, processes)
        for process in processes:
            process.terminate()
        for process in processes:
            if process.wait(60) != 0:
                raise RuntimeError(f"a worker ended with {process.returncode}: see {_FOLDER}")
    rate = _rate(config)
    for future in admin.delete_topics([config.model.topic, config.dead_letter.topic]).values():
        future.result(30)
    return rate


def _await_end(config: Config, processes: list["subprocess.Popen[bytes]"]) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        learned = 0
        for shard in range(PARTITIONS):
            with Tail(client.reader_settings(config.kafka), config.model.topic, shard) as tail:
                found = tail.last_manifest()
            learned += found[0].state.events if found else 0
        if learned == EVENTS:
            return
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise RuntimeError(f"{learned:,} of {EVENTS:,} events were learned: see {_FOLDER}")
        time.sleep(0.5)


def _rate(config: Config) -> float:
    """Give the events a second between the first commit and the last, over all shards."""
    commits: dict[int, list[Manifest]] = {}
    for shard in range(PARTITIONS):
        with Tail(client.reader_settings(config.kafka), config.model.topic, shard) as tail:
            records = tail.records(tail.bounds()[0])
            commits[shard] = [Manifest.decode(record.value) for record, _ in records if record.kind is Kind.MANIFEST]
    every = [manifest for manifests in commits.values() for manifest in manifests]
    began, ended = min(it.created for it in every), max(it.created for it in every)
    first = sum(manifests[0].state.events for manifests in commits.values() if manifests[0].created - began < 500)
    return (EVENTS - first) / ((ended - began) / 1_000)
