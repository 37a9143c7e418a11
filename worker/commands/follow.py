"""`headrace follow` and `headrace score`: the readers of the model topic."""

import os
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import click

from worker.commands.options import config_option, json_option

if TYPE_CHECKING:
    from worker.follow import Follower, Served

FOLLOW_EXAMPLES = """\b
Examples:
  headrace follow
  headrace follow --once --json
  HEADRACE_METRICS__PORT=9465 headrace follow    (metrics on a port of its own)
"""

SCORE_EXAMPLES = """\b
Examples:
  echo '{"user": "u1", "item": "i7"}' | headrace score
  headrace score candidates.jsonl > scores.jsonl
  headrace score candidates.jsonl --explore thompson --seed 7
"""


@click.command(epilog=FOLLOW_EXAMPLES, short_help="Hold a live copy of the model; tell what is served.")
@config_option
@json_option
@click.option("--once", is_flag=True, help="Tell what is published now, and end.")
@click.option(
    "--every", default=5.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds between tellings."
)
def follow(config_path: Path | None, *, as_json: bool, once: bool, every: float) -> None:
    """Hold a live copy of the model, and tell which versions are served and how old they are."""
    import threading
    import time

    from worker.follow import Follower
    from worker.observe import log
    from worker.observe.health import Health
    from worker.observe.history import History
    from worker.observe.metrics import FollowerMetrics, new_registry
    from worker.observe.server import Server
    from worker.observe.status import About, Status
    from worker.settings import load
    from worker.stopping import stop_on_signals

    config = load(config_path, os.environ)
    log.setup(config.log.level, config.log.format)
    registry = new_registry()
    follower = Follower(config.kafka, config.model.topic, metrics=FollowerMetrics(registry))
    if once:
        with follower:
            _tell(follower.served(), as_json=as_json)
        return
    health = Health(max(60.0, 3 * every), time.monotonic)
    history = History(time.time)
    about = About(kind="follower", model=config.model.name, topics={"model": config.model.topic})
    status = Status(about, health, history)
    stopped = threading.Event()
    with (
        stop_on_signals(stopped, config.run.shutdown_seconds),
        Server(config.metrics.host, config.metrics.port, registry, health, status) as server,
        follower,
    ):
        click.echo(f"metrics: http://{config.metrics.host}:{server.port}/metrics", err=True)
        while True:
            follower.require_following()
            health.beat()
            health.set_ready(ready=True)
            served = follower.served()
            for shard in served:
                unservable = "; ".join(shard.reasons) or None
                history.served(shard.shard, shard.version, shard.age_seconds, shard.damage, unservable)
            _tell(served, as_json=as_json)
            if stopped.wait(every):
                return


@click.command(epilog=SCORE_EXAMPLES, short_help="Score events with the published model.")
@config_option
@click.argument("events", type=click.File("rb"), default="-")
@click.option("--batch", default=1_000, show_default=True, type=click.IntRange(min=1), help="Events scored at a time.")
@click.option(
    "--explore",
    type=click.Choice(["thompson"]),
    help="Draw each score with its mean and variance; events that share a row share its draw.",
)
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**63 - 1), help="Of that draw.  [default: another one each time]"
)
def score(
    config_path: Path | None, events: IO[bytes], batch: int, explore: Literal["thompson"] | None, seed: int | None
) -> None:
    """Score events, JSON lines of a file or of standard input, with the model as it is published now.

    Prints a JSON line for each: probability, the variance of its logit (null where the model's kind tells none), the
    shard and its version; or the reason why the event cannot be scored. With --explore, `probability` is drawn, `mean`
    is the one without drawing, and the seed is told.
    """
    import logging
    import secrets
    from itertools import islice

    from worker.follow import Follower
    from worker.observe import log
    from worker.settings import load

    if explore is None and seed is not None:
        raise click.UsageError("--seed is of no use without --explore")
    if explore is not None and seed is None:
        seed = secrets.randbits(63)  # one for all batches
    config = load(config_path, os.environ)
    log.setup("warning", config.log.format)
    logging.getLogger("worker.stream.librdkafka").setLevel(logging.ERROR)
    lines = (line for line in events if line.strip())
    with Follower(config.kafka, config.model.topic) as follower:
        while chunk := list(islice(lines, batch)):
            _print_scores(follower, chunk, explore, seed)
            sys.stdout.flush()


def _print_scores(
    follower: "Follower", lines: list[bytes], explore: Literal["thompson"] | None, seed: int | None
) -> None:
    import orjson

    scores = follower.score(lines, explore=explore, seed=seed)
    reasons = {bad.index: bad for bad in scores.rejected}
    for number in range(len(lines)):
        told: dict[str, object]
        if number in reasons:
            told = {"rejected": str(reasons[number].reason), "detail": reasons[number].detail}
        else:
            told = {
                "probability": float(scores.probability[number]),
                "variance": float(scores.variance[number]),
                "shard": int(scores.shard[number]),
                "version": int(scores.version[number]),
            }
            if explore is not None:
                told |= {"mean": float(scores.mean[number]), "seed": scores.seed}
        click.echo(orjson.dumps(told))


def _tell(served: list["Served"], *, as_json: bool) -> None:
    from dataclasses import asdict

    import orjson

    if as_json:
        click.echo(orjson.dumps([asdict(shard) for shard in served]))
        return
    for shard in served:
        state = f"version {shard.version}, {shard.age_seconds:.1f} s old" if shard.version else "nothing published yet"
        if shard.held_back:
            state += f"; {shard.held_back} newer ones are not servable: {'; '.join(shard.reasons)}"
        click.echo(f"shard {shard.shard}: {state}" + (f"; newer ones refused: {shard.damage}" if shard.damage else ""))
