"""Events a second from a real Kafka topic: a consumer that only counts, and workers that learn and commit.

JSON events of about 180 bytes with 5 fields, K = 16, exactly-once commits every second, 4 partitions, the broker on the
same machine. A worker's rate is taken between commits, by its counters, while every worker has its shards and every
shard has events: neither its start nor its end counts. The rounds of all candidates alternate; medians are given.
"""

from statistics import median
from typing import Any

from deploy.broker import Broker
from tests.bench import profile, rig, tables, wide
from tests.bench.size import Size, medians, ratio, rounds
from worker.config import Config
from worker.simulate import Planted, simulate

EVENTS = 6_000_000  # twenty commits of a worker, so that its start and its end do not count
_JSON = "JSON of 180 bytes, 5 fields, K = 16, merging, a commit every second; "
INCLUDES = {
    "consume_only_eps": "a bare `consume()` loop with a worker's settings, on the same topic",
    "headrace_1_worker_eps": _JSON + "poll to commit, one process",
    "headrace_2_workers_eps": _JSON + "two processes; broker and workers share the cores",
    "*_per_core_eps": "events per second of the workers' processor time, from when they were ready",
    "*_to_consume_only": "median of the rounds' ratios",
    "headrace_2_to_1_workers": "the same",
    "arrow.*": "the same events in packed messages (`events.format`), one worker",
    "fields_39.*": wide.INCLUDES,
    "rows.*": tables.INCLUDES,
    "profile.*": profile.INCLUDES,
}


def measure(size: Size) -> dict[str, Any]:
    """Give events a second: medians over the rounds, and the ratio to the consumer of the same round."""
    events = size.of(size.fewer(EVENTS, 4_000_000), 20_000)
    with rig.kafka() as kafka:
        told = _json_and_packed(kafka, events, size)
        told["fields_39"] = wide.measure(kafka, size)
    told["rows"] = tables.measure(size)
    told["profile"] = profile.measure(size)
    return told | {"events": events, "rounds": size.rounds, "event_bytes": 180, "broker": kafka.description}


def _json_and_packed(kafka: Broker, events: int, size: Size) -> dict[str, Any]:
    config = _sent(kafka, events)
    cores: dict[str, list[float]] = {}

    def learn(name: str, workers: int, config: Config) -> float:
        model = rig.configure(kafka, config.events.topic, "learned", of_events=_format(config))
        learned = rig.learn(model, workers, events)
        cores.setdefault(name, []).append(learned.events_per_core_second)
        return learned.events_per_second

    candidates = {
        "consume_only": lambda: rig.consume(config, events),
        "headrace_1_worker": lambda: learn("headrace_1_worker", 1, config),
        "headrace_2_workers": lambda: learn("headrace_2_workers", 2, config),
    }
    packed = _sent(kafka, events, "arrow")
    candidates["arrow"] = lambda: learn("arrow", 1, packed)
    found = rounds(candidates, size.rounds)
    for sent in (config, packed):
        rig.drop(sent, events=True)
    arrow = {"to_json": ratio(found, "arrow", "headrace_1_worker")}
    arrow |= medians({"headrace_1_worker": found.pop("arrow")})
    told = medians(found) | {"arrow": arrow}
    for name in ("headrace_1_worker", "headrace_2_workers"):
        told[f"{name}_to_consume_only"] = ratio(found, name, "consume_only")
        told[f"{name}_per_core_eps"] = median(cores[name])
    return told | {"headrace_2_to_1_workers": ratio(found, "headrace_2_workers", "headrace_1_worker")}


def _format(config: Config) -> str:
    return "" if config.events.format == "json" else f', format = "{config.events.format}"'


def _sent(kafka: Broker, events: int, wire: str = "json") -> Config:
    config = rig.configure(kafka, rig.fresh_topic(), "sent", of_events=f', format = "{wire}"')
    rig.create(config)
    simulate(config, Planted(events=events))
    return config
