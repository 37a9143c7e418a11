"""Real topics and real workers: what the benchmarks that need a Kafka broker share."""

import os
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from deploy.broker import Broker, broker
from deploy.broker.launch import VARIABLE
from deploy.demo.workers import Workers
from worker.config import Config
from worker.settings import load
from worker.stream import client, provision

PARTITIONS = 4
FOLDER = Path("build/bench")
FIVE = "features = { user = {}, item = {}, hour = {}, device = {}, slot = {} }"  # of the planted stream
_TIMEOUT_SECONDS = 300.0
_SHORTEST_SECONDS = 2.0  # of a window that is a measurement
_LOOK_SECONDS = 0.1  # a commit is noticed that late


# Kafka's default: a group waits so long for its first members. Ours gives shards to the first at once, for tests: on
# a fast machine half of a topic would be learned before a second worker has joined.
_TOGETHER = {"group.initial.rebalance.delay.ms": "3000"}


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What workers did with a topic."""

    events_per_second: float  # while every shard had events to learn
    events_per_core_second: float  # of the workers' processor time, from when they were ready (or later) to the end
    metrics: Counter[str]  # summed over workers and labels, by name


def kafka() -> AbstractContextManager[Broker]:
    """Give a broker at which workers that start together begin together."""
    return broker() if VARIABLE in os.environ else broker(properties=_TOGETHER)


def configure(
    kafka: Broker,
    events: str,
    name: str,
    *,
    features: str = FIVE,
    more: str = "",
    of_events: str = "",
    of_model: str = "",
) -> Config:
    """Write a configuration as a user would, for a model of its own of the topic `events`, and read it back.

    Args:
        kafka: the broker.
        events: the topic of events.
        name: of the model.
        features: its features, in TOML.
        more: further lines of TOML, before any table of their own.
        of_events: further settings of `events`, each with a comma before.
        of_model: further settings of `model`, a line each.

    Raises:
        ConfigurationError: this release does not know one of these settings.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    path, model = FOLDER / "headrace.toml", f"{events}.{name}-{uuid.uuid4().hex[:6]}"  # groups outlive their models
    path.write_text(
        f'kafka = {{ bootstrap_servers = "{kafka.bootstrap_servers}", group = "{model}" }}\n'
        f'events = {{ topic = "{events}"{of_events} }}\n'
        f'dead_letter = {{ topic = "{model}.rejected" }}\n'
        "metrics = { port = 0 }\n"
        f"{more}\n{features}\n"
        f'[model]\ntopic = "{model}.model"\n{of_model}\n'
    )
    return load(path, {})


def fresh_topic() -> str:
    """Give a name that no topic has: a cluster that is not ours may hold those of other runs."""
    return f"bench-{uuid.uuid4().hex[:8]}"


def create(config: Config) -> None:
    """Make the event topic of a configuration, and the two others."""
    provision.create(client.administer(config), config, partitions=PARTITIONS)


def drop(config: Config, *, events: bool = False) -> None:
    """Delete the topics of a model, those that are still there, and where asked that of its events."""
    topics = [config.model.topic, config.dead_letter.topic, *([config.events.topic] if events else [])]
    admin = client.administer(config)  # held: its end is the end of what it was asked
    for future in admin.delete_topics(topics).values():
        try:
            future.result(30)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def consume(config: Config, messages: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Count the messages of the event topic, and do nothing else: messages a second of some clock."""
    settings = client.consumer_settings(config) | {"group.id": uuid.uuid4().hex, "stats_cb": lambda _: None}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(config.events.topic, partition, 0) for partition in range(PARTITIONS)])
    consumer.consume(1, 30)
    began, count = clock(), 1
    while count < messages:
        count += len(consumer.consume(config.run.poll_events, 0.1))
    seconds = clock() - began
    consumer.close()
    return count / seconds


def learn(config: Config, workers: int, events: int, after: int = 0) -> Learned:
    """Let workers learn all events of the topic into a new model, which is deleted then.

    Args:
        config: of the model.
        workers: how many processes.
        events: of the topic.
        after: so many, processor time counts; from when the workers are ready unless told otherwise.
    """
    provision.create(client.administer(config), config)
    with Workers(FOLDER, workers) as running:
        began = time.monotonic()
        urls = running.await_ready(PARTITIONS)
        ready, before = time.monotonic(), _sum(urls)
        commits: dict[int, list[tuple[float, float]]] = {shard: [] for shard in range(PARTITIONS)}
        if after:
            before = _watch(running, urls, after, commits)
        metrics = _watch(running, urls, events, commits)
        running.stop()
    drop(config)
    return Learned(
        events_per_second=_rate(commits, began, ready),
        events_per_core_second=_per_core_second(before, metrics),
        metrics=metrics,
    )


def scrape(url: str) -> Counter[str]:
    """Read the metrics of a worker, by name summed over their labels, and by name and labels too."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own worker's, on the loopback
        lines = answer.read().decode().splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] += float(value)
            if "{" in name:
                found[name.partition("{")[0]] += float(value)
    return found


def _sum(urls: list[str]) -> Counter[str]:
    return sum((scrape(url) for url in urls), Counter())


def _per_core_second(before: Counter[str], after: Counter[str]) -> float:
    seconds = "process_cpu_seconds_total"
    spent, learned = (after[name] - before[name] for name in (seconds, "headrace_events_total"))
    return float(learned / spent if spent > 0 else after["headrace_events_total"] / after[seconds])


def _watch(
    running: Workers, urls: list[str], events: int, commits: dict[int, list[tuple[float, float]]]
) -> Counter[str]:
    """Note when each shard has committed how many events, until so many are; gives the metrics then.

    By the workers' counters: they trim the model topic as they go, so it does not tell of the first versions any more.
    """
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        running.require_running()
        now, metrics = time.monotonic(), _sum(urls)
        for shard, known in commits.items():
            count = metrics[f'headrace_events_total{{shard="{shard}"}}']
            if count > (known[-1][1] if known else 0):
                known.append((now, count))
        if metrics["headrace_events_total"] >= events:
            return metrics
        if now > deadline:
            raise RuntimeError(f"{metrics['headrace_events_total']:,.0f} of {events:,} events learned: see {FOLDER}")
        time.sleep(_LOOK_SECONDS)


def _rate(commits: dict[int, list[tuple[float, float]]], started: float, ready: float) -> float:
    """Give the events a second of the time when all workers had their shards and all shards had events.

    Between two commits a shard is taken to have learned evenly. Where there are too few events for that, their starts
    count too.

    Args:
        commits: of each shard, when how many events were committed.
        started: when the workers were started.
        ready: when all of them had shards.
    """
    began = max(ready, *(known[0][0] for known in commits.values()))
    ended = min(known[-1][0] for known in commits.values())
    if ended - began < _SHORTEST_SECONDS:
        began, ended = started, max(known[-1][0] for known in commits.values())
        return sum(known[-1][1] for known in commits.values()) / (ended - began)
    learned = 0.0
    for known in commits.values():
        at, count = zip(*known, strict=True)
        learned += float(np.interp(ended, at, count) - np.interp(began, at, count))
    return learned / (ended - began)
