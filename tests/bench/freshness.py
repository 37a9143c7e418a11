"""How old the model is that is served: from an event's production to a follower that serves a version with it.

One worker, commits every second, at half of the rate at which it learns a backlog. The sender is a process of its own;
this one follows, and notes when each version is served. Afterwards each event's production time is held against that.
"""

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np

from deploy.broker import broker
from deploy.demo.freshness import Freshness
from deploy.demo.workers import Workers
from tests.bench import rig
from tests.bench.size import Size, tell
from worker.follow import Follower
from worker.simulate import Planted, simulate
from worker.stream import client, provision

INCLUDES = {
    "p50_seconds": "production to a follower that serves a version with the event; one worker, commits every second, "
    "sender, follower and broker on the same cores; every event of one run but those of the first seconds",
    "p99_seconds": "the same",
    "events_per_second": "sent: half of `maximal_eps`, what the same worker learns of a backlog beforehand",
    "lag_events": "sent and not yet served at its end: some seconds' worth means that the worker fell behind",
}
_EVENTS = 4_000_000
_SECONDS = 25.0
_OPENING_SECONDS = 5.0
_OPENING_EVENTS = 10_000
_CATCH_UP_SECONDS = 60.0


def measure(size: Size) -> dict[str, Any]:
    """Measure at half load."""
    events = size.of(_EVENTS, 20_000)
    with broker() as kafka:
        backlog = rig.configure(kafka, rig.fresh_topic(), "backlog")
        rig.create(backlog)
        simulate(backlog, Planted(events=events))
        most = rig.learn(backlog, 1, events).events_per_second
        tell(f"learns {most:,.0f} events a second of a backlog")
        config = rig.configure(kafka, rig.fresh_topic(), "fresh")
        provision.create(client.administer(config), config, partitions=rig.PARTITIONS)
        rate, freshness = most / 2, Freshness()
        sent = int(rate * max(_SECONDS * size.share, 2 * _OPENING_SECONDS))
        with Workers(rig.FOLDER, 1) as running:
            running.await_ready(rig.PARTITIONS)
            simulate(config, Planted(events=_OPENING_EVENTS))  # what a follower needs to begin with: a first version
            with Follower(config.kafka, config.model.topic, on_version=freshness.note):
                began = time.time() + _OPENING_SECONDS
                lag = _follow(freshness, running, rate, sent)
            running.stop()
        seconds = freshness.seconds(config, began)
        rig.drop(config, events=True)
        rig.drop(backlog, events=True)
    p50, p99 = np.percentile(seconds, [50, 99])
    return {
        "p50_seconds": float(p50), "p99_seconds": float(p99), "worst_seconds": float(seconds.max()),
        "events": len(seconds), "events_per_second": rate, "maximal_eps": most, "lag_events": lag,
        "runs": 1,
    }  # fmt: skip


def _follow(freshness: Freshness, running: Workers, rate: float, sent: int) -> int:
    """Send, and wait until all of it is served; gives how many events were not served yet when the last was sent."""
    command = [sys.executable, "-m", "worker", "simulate", "--config", str(rig.FOLDER / "headrace.toml")]
    command += ["--events", str(sent), "--rate", f"{rate:.0f}", "--seed", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    sender = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    whole, lag, deadline = sent + _OPENING_EVENTS, None, None
    try:
        while freshness.events < whole:
            running.require_running()
            if lag is None and sender.poll() is not None:
                lag, deadline = whole - freshness.events, time.monotonic() + _CATCH_UP_SECONDS
                if sender.returncode != 0:
                    raise RuntimeError(f"`headrace simulate` ended with {sender.returncode}")
            if deadline is not None and time.monotonic() > deadline:
                raise RuntimeError(f"{freshness.events:,} of {whole:,} events are served: see {rig.FOLDER}")
            freshness.wait(0.2)
    finally:
        sender.kill()
        sender.wait()
    return lag or 0
