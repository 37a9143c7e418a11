"""The same job as ours, by others: decode JSON, predict, learn; in rounds that alternate with those of a worker."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.broker import broker
from tests.bench import rig
from tests.bench.ceilings import LEARNING, alone
from tests.bench.peers.installed import Environment
from tests.bench.peers.known import PEERS, Peer
from tests.bench.size import Size, medians, ratio, rounds
from worker.simulate import Planted, simulate
from worker.simulate.encoding import encode

INCLUDES = {f"{name}.*": peer.includes for name, peer in PEERS.items()} | {
    "headrace.eps": "ours, from Kafka: one worker, 5 fields, K = 16, merging, a commit every second",
    "headrace_from_memory.eps": "ours, from memory: decode, features, predict, learn in one thread",
    "*.headrace_times": "the worker's rate over the peer's: median of the rounds' ratios",
}
FIELDS = ["user", "item", "hour", "device", "slot"]
_EVENTS = 5_000_000  # in the topic: some commits of a worker; a peer reads fewer
_PATH = Path("build/bench/planted.jsonl")
_BATCH = 10_000


def measure(size: Size) -> dict[str, Any]:
    """Measure our rate, and that of all peers that can be had."""
    environment, events = Environment(), size.of(size.fewer(_EVENTS, 3_000_000), 100_000)
    rig.FOLDER.mkdir(parents=True, exist_ok=True)
    with _PATH.open("wb") as file:
        batches = [
            encode(batch) for batch in Planted(events=max(peer.events for peer in PEERS.values())).batches(_BATCH)
        ]
        file.writelines(line + b"\n" for batch in batches for line in batch)
    told: dict[str, Any] = {}
    more: dict[str, dict[str, Any]] = {}
    with broker() as kafka:
        sent = rig.configure(kafka, rig.fresh_topic(), "sent")
        rig.create(sent)
        simulate(sent, Planted(events=events))

        def ours() -> float:
            return rig.learn(rig.configure(kafka, sent.events.topic, "ours"), 1, events).events_per_second

        def theirs(name: str, peer: Peer) -> Callable[[], float]:
            def run() -> float:
                more[name] = peer.run(
                    environment.python, path=str(_PATH), limit=size.of(peer.events), fields=FIELDS,
                    bootstrap_servers=kafka.bootstrap_servers, topic=sent.events.topic,
                )  # fmt: skip
                return float(more[name]["eps"])

            return run

        candidates = {"headrace": ours, "headrace_from_memory": alone(batches, LEARNING)["pipeline"]}
        for name, peer in PEERS.items():
            reason = missing(peer, environment, size) or _failure(theirs(name, peer))
            if reason is None:
                candidates[name] = theirs(name, peer)
            else:
                told[name] = {"missing": reason}
        if shutil.which("vw") is None:
            told["vowpal_wabbit_command"] = {
                "missing": "no `vw` on the PATH; `vowpal_wabbit_driver` is the same loop, in the library of the wheel"
            }
        found = rounds(candidates, size.rounds)
        rig.drop(sent, events=True)
    for name, rate in medians(found, "").items():
        told[name] = {"eps": rate}
        if name in PEERS:
            told[name]["headrace_times"] = ratio(found, "headrace", name)
            told[name] |= {key: more[name][key] for key in ("text_given_eps", "driver") if key in more[name]}
    return told | {"rounds": size.rounds}


def _failure(run: Callable[[], float]) -> str | None:
    try:
        run()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None


def missing(peer: Peer, environment: Environment, size: Size) -> str | None:
    """Give the reason why a peer cannot be measured; None where it can."""
    wanted = not peer.optional or peer.optional in size.peers
    return environment.missing(peer.packages, wanted=wanted)
