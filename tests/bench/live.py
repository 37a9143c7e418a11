"""Shards that merge through a real Kafka: two workers learn a paced stream, and what they predicted is summed up."""

import time
import uuid
from pathlib import Path

from deploy.broker import Broker
from deploy.demo.topics import demo_topics
from deploy.demo.workers import Workers
from worker.config import Config
from worker.follow import Follower
from worker.load import EventMapping, load
from worker.quality.progress import Progress
from worker.settings import load as read_configuration

WORKERS = 2
EVENTS_PER_SECOND = 5_000.0
COMMIT_SECONDS = 0.2
_FOLDER = Path("build/bench")
_LEARNED_SECONDS = 120.0


def learn(kafka: Broker, events: Path, shards: int) -> Progress:
    """Let the workers of a new model learn the events of a file, by user and item, and give how well they predicted.

    The workers are ready before the first event is sent, at 5,000 events/s. What a shard has folded in of the others at
    each of its commits is what it has read by then, as in production.

    Raises:
        HeadraceError: a worker ended, or not all was learned in time.
    """
    config = _configure(kafka.bootstrap_servers)
    with demo_topics(config, shards, outlives=True), Workers(_FOLDER, WORKERS) as workers:
        workers.await_ready(shards)
        sent = load(config, [events], EventMapping(), rate=EVENTS_PER_SECOND).events
        with Follower(config.kafka, config.model.topic) as follower:  # not before: it would take its share of the cores
            deadline = time.monotonic() + _LEARNED_SECONDS
            while (progress := follower.progress()).events < sent:
                workers.require_running()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{progress.events:,} of {sent:,} events were learned: see {_FOLDER}")
                time.sleep(0.2)
        workers.stop()
    return progress


def _configure(bootstrap_servers: str) -> Config:
    """Write the configuration as a user would, and read it back."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    run, path = f"bench-merge-{uuid.uuid4().hex[:8]}", _FOLDER / "headrace.toml"
    path.write_text(
        f'kafka = {{ bootstrap_servers = "{bootstrap_servers}", group = "{run}" }}\n'
        f'events = {{ topic = "{run}" }}\n'
        f'model = {{ topic = "{run}.model", merge = true }}\n'
        f'dead_letter = {{ topic = "{run}.rejected" }}\n'
        f"commit = {{ interval_seconds = {COMMIT_SECONDS} }}\n"
        "metrics = { port = 0 }\n"
        "features = { user = {}, item = {} }\n"
    )
    return read_configuration(path, {})
