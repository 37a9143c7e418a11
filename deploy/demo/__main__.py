"""`make demo`: a broker, topics, two workers, real events, a follower; then what was measured. It ends by itself."""

import logging
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from deploy.broker import broker
from deploy.demo.freshness import Freshness
from deploy.demo.progress import learning_bar
from deploy.demo.result import Result, write
from deploy.demo.stream import Stream, movielens_or_planted
from deploy.demo.table import print_scores, print_table
from deploy.demo.topics import demo_topics
from deploy.demo.workers import Workers
from worker.config import Config
from worker.errors import HeadraceError
from worker.follow import Follower
from worker.load import EventMapping, load
from worker.measured import measured
from worker.report.page import write_report
from worker.settings import load as read_configuration

BUILD = Path("build")
FOLDER = BUILD / "demo"
SHARDS, WORKERS = 4, 2
EVENTS_PER_SECOND = 10_000.0  # so that a person sees it learn, and freshness is that of a stream, not of a backlog
CATCH_UP_SECONDS = 120.0


def main() -> int:
    """Run the demo; gives the exit code."""
    logging.basicConfig(level=logging.CRITICAL)  # the tables speak; the workers' logs are in build/demo
    FOLDER.mkdir(parents=True, exist_ok=True)
    stream = movielens_or_planted(FOLDER)
    print(f"events: {stream.description}", file=sys.stderr)
    try:
        with ExitStack() as stack:
            kafka = stack.enter_context(broker())
            config = _configure(kafka.bootstrap_servers, stream)
            stack.enter_context(demo_topics(config, SHARDS, outlives=kafka.kind == "environment"))
            workers = stack.enter_context(Workers(FOLDER, WORKERS))
            for url in workers.await_ready(SHARDS):
                print(f"metrics: {url}", file=sys.stderr)
            return _learn_and_score(config, stream, kafka.description, workers)
    except HeadraceError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code


def _learn_and_score(config: Config, stream: Stream, broker_description: str, workers: Workers) -> int:
    freshness = Freshness()
    follower = Follower(config.kafka, config.model.topic, on_version=freshness.note)
    load(config, [stream.opening], EventMapping())  # what a follower needs to begin with: a first version
    with follower, ThreadPoolExecutor(1) as sending:
        following, began, before = time.time(), time.monotonic(), freshness.events
        sent = sending.submit(load, config, [stream.rest], EventMapping(), rate=EVENTS_PER_SECOND)
        with learning_bar(stream.events) as show:
            deadline = None
            while freshness.events + freshness.rejected < stream.events:
                if sent.done() and deadline is None:
                    sent.result()
                    deadline = time.monotonic() + CATCH_UP_SECONDS
                if deadline is not None and time.monotonic() > deadline:
                    raise HeadraceError(f"not all events were learned in time: see the logs in {FOLDER}")
                workers.require_running()
                show(freshness.events, follower.progress())
                freshness.wait(0.2)
            seconds = time.monotonic() - began
            result = Result.of(
                freshness=freshness,
                progress=follower.progress(),
                shards=SHARDS,
                workers=WORKERS,
                events_per_second=(freshness.events - before) / seconds,
                paced_events_per_second=EVENTS_PER_SECOND,
                freshness_seconds=freshness.seconds(config, following),
                broker=broker_description,
                stream=stream.description,
            )
            scored = stream.sample(5)
            scores = follower.score([{name: event[name] for name in event if name != "label"} for event in scored])
    workers.stop()
    write(result, BUILD / "demo.json")
    run = measured(config, "demo").model_copy(update={"source": stream.description})
    run.write(FOLDER / "run.json")
    write_report(BUILD / "demo.html", [run])
    print_table(result)
    print_scores(scored, scores)
    print(f"written to {BUILD / 'demo.json'}; the workers' logs and their configuration are in {FOLDER}")
    print(f"a report of how well it predicted, over time: {BUILD / 'demo.html'}")
    return 0


def _configure(bootstrap_servers: str, stream: Stream) -> Config:
    """Write the configuration as a user would, and read it back."""
    run = f"headrace-demo-{uuid.uuid4().hex[:8]}"  # a cluster that is not ours may hold other demos
    path = FOLDER / "headrace.toml"
    path.write_text(
        f"""[kafka]
bootstrap_servers = "{bootstrap_servers}"
group = "{run}"

[events]
topic = "{run}"

[model]
topic = "{run}.model"

[dead_letter]
topic = "{run}.rejected"

[metrics]
port = 0

{stream.features}"""
    )
    return read_configuration(path, {})


if __name__ == "__main__":
    sys.exit(main())
