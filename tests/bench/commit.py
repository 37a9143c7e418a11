"""What commits cost: of the throughput, of the time of learning, and of bytes where little of a model has moved.

- `overhead`: one worker that commits every second, against one that never does until it is stopped, on the same topic
  in alternating rounds. Both rates are taken from the worker's own log of what it has learned (`log.level = "debug"`),
  from its first batch to its last: the one commit of the worker that never commits lies after that.
- `detection_overhead`: what the detectors of drift cost of it: against a worker that commits too and detects nothing.
- `learning_stopped`: the share of that time in which a commit kept the worker from learning.
- `delta_to_full`: bytes of the version after one second of traffic on a shard of a million rows, over those of a
  full copy; 100,000 events drawn by Zipf's law (users with exponent 0.8, items with 1.0): a quarter of a busy worker's.
"""

import json
import time
from datetime import datetime
from statistics import median
from typing import Any

import numpy as np

from deploy.broker import broker
from deploy.demo.workers import Workers
from tests.bench import rig
from tests.bench.ceilings import LEARNING, NOW
from tests.bench.size import Size, medians, ratio, rounds
from tests.support.lineage import Writer
from worker.config import Config
from worker.simulate import Planted, simulate
from worker.simulate.encoding import encode
from worker.stream import client, provision

INCLUDES = {
    "overhead": "1 - rate with exactly-once commits every second / rate without any: median of the rounds' ratios",
    "detection_overhead": "1 - rate with detectors of drift, as they are unless set otherwise / without; as above",
    "learning_stopped": "share of the time of learning in which a commit kept the worker from it; see `stopped_by`",
    "delta_to_full": "bytes of the version after one second (100,000 events, Zipf) on a shard of a million rows / of a "
    "full copy, before compression",
    "delta_to_full_at.*": "the same after so many events",
    "*_eps": "one worker, by its own log, from its first batch to its last",
}
_EVENTS = 3_000_000
_ROWS = 1_000_000
_SECONDS_OF_TRAFFIC = (10_000, 100_000, 400_000)  # events
_NEVER = "commit = { interval_seconds = 86400, max_events = 1000000000 }"
_EVERY_SECOND = "commit = { interval_seconds = 1, max_events = 1000000000 }"
_UNWATCHED = "quality = { false_alarm_every = 0 }"
_STOPPED = ("headrace_commit_stopped_seconds", "headrace_commit_seconds")  # the first one that there is
_CHUNK = 10_000
_PATIENCE_SECONDS = 300.0


def measure(size: Size) -> dict[str, Any]:
    """Measure what commits cost."""
    events = size.of(_EVENTS, 20_000)
    stopped: list[float] = []
    by: set[str] = set()
    with broker() as kafka:
        sent = rig.configure(kafka, rig.fresh_topic(), "sent")
        rig.create(sent)
        simulate(sent, Planted(events=events))

        def learn(commits: str, more: str = "") -> float:
            logs = 'log = { level = "debug", format = "json" }'
            config = rig.configure(kafka, sent.events.topic, "learned", more=f"{logs}\n{commits}\n{more}")
            rate, seconds, metrics = _learn(config, events)
            if commits == _EVERY_SECOND and not more:
                name = next(name for name in _STOPPED if f"{name}_sum" in metrics)
                by.add(name)
                stopped.append(metrics[f"{name}_sum"] / seconds)
            return rate

        candidates = {
            "every_second": lambda: learn(_EVERY_SECOND),
            "never": lambda: learn(_NEVER),
            "undetected": lambda: learn(_EVERY_SECOND, _UNWATCHED),
        }
        found = rounds(candidates, size.rounds)
        rig.drop(sent, events=True)
    sizes = _sizes(size)
    return medians(found) | {
        "overhead": 1 - ratio(found, "every_second", "never"),
        "detection_overhead": 1 - ratio(found, "every_second", "undetected"),
        "learning_stopped": median(stopped),
        "stopped_by": " ".join(sorted(by)),
        "delta_to_full": sizes["100000"],
        "delta_to_full_at": sizes,
        "rounds": size.rounds,
    }


def _learn(config: Config, events: int) -> tuple[float, float, dict[str, float]]:
    """Give events a second and seconds, from the first batch to the last, and the metrics then."""
    provision.create(client.administer(config), config)
    batches: list[tuple[float, int]] = []
    with Workers(rig.FOLDER, 1) as running, (rig.FOLDER / "worker-1.log").open() as log:
        deadline, learned, url, rest = time.monotonic() + _PATIENCE_SECONDS, 0, "", ""
        while learned < events:
            running.require_running()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{learned:,} of {events:,} events were learned: see {rig.FOLDER}")
            *lines, rest = (rest + log.read()).split("\n")
            for told in map(json.loads, filter(lambda line: line.startswith("{"), lines)):
                if told["action"] == "serve":
                    url = told["url"]
                elif told["action"] == "learn":
                    count = int(told["message"].split()[2])
                    batches.append((datetime.fromisoformat(told["time"]).timestamp(), count))
                    learned += count
            time.sleep(0.2)
        metrics = rig.scrape(url)
        running.stop()
    rig.drop(config)
    seconds = batches[-1][0] - batches[0][0]
    return sum(count for _, count in batches[1:]) / seconds, seconds, metrics


def _sizes(size: Size) -> dict[str, float]:
    rows = size.of(_ROWS, 10_000)
    users, items = rows * 9 // 10, rows // 10
    writer = Writer(learning=LEARNING, now=NOW)
    first = _whole(writer, users, items)
    found: dict[str, float] = {}
    stream = Planted(events=sum(_SECONDS_OF_TRAFFIC), users=users, items=items, dimensions=0, drift_at=None)
    lines = [line for batch in stream.batches() for line in encode(batch)]
    for events in _SECONDS_OF_TRAFFIC:
        some, lines = lines[: size.of(events, 100)], lines[size.of(events, 100) :]
        writer.learn(some)
        writer.log.clear()
        found[str(events)] = writer.commit().delta_bytes / first
    return found


def _whole(writer: Writer, users: int, items: int) -> int:
    """Have every user and every item seen once; gives the bytes of the first version, which is a full copy."""
    event = b'{"user":"u%d","item":"i%d","hour":"h%d","device":"d%d","slot":"s%d","label":%d,"time":1735689600000}'
    rng = np.random.default_rng(1)
    for start in range(0, users, _CHUNK):
        user = np.arange(start, min(start + _CHUNK, users))
        columns = (user, user % items, user % 24, user % 6, user % 60, rng.integers(2, size=len(user)))
        writer.learn([event % each for each in zip(*(column.tolist() for column in columns), strict=True)])
    return writer.commit().delta_bytes
