"""The live job: a worker from its start to its end."""

import gc
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from confluent_kafka import Consumer, KafkaException, Producer

from worker import warm
from worker.config import Config
from worker.errors import BrokerUnreachableError, StalledError
from worker.observe.health import Health, Watchdog
from worker.observe.history import History
from worker.observe.metrics import WorkerMetrics, new_registry
from worker.observe.server import Server
from worker.observe.status import About, Status
from worker.snapshot.sealing import Writing
from worker.stopping import stop_on_signals
from worker.stream import client, topics
from worker.stream.loop import Loop
from worker.stream.peers import Peers
from worker.stream.report import Report
from worker.stream.transaction import Transactions
from worker.stream.trim import Trimmer

_LOG = logging.getLogger(__name__)
_OBJECTS_PER_COLLECTION = 200_000  # more than there are messages on their way
_CLOSE_SECONDS = 5.0  # an abort takes milliseconds; one that is not sent is made by the broker, when its time is up


def run(config: Config) -> None:
    """Learn from the event topic until SIGTERM or SIGINT.

    Raises:
        HeadraceError: where going on is not possible; its `exit_code` says which kind.
    """
    client.check(config)
    client.reach(config)
    admin = client.administer(config)
    required = topics.require(admin, config)
    warm.compile_all()  # numba loads or compiles its kernels here, never inside a poll deadline
    _spare_collector()

    metrics = WorkerMetrics(registry := new_registry())
    health = Health(config.run.stall_seconds, time.monotonic)
    history = History(time.time)
    status = Status(_about(config), health, history)
    with ExitStack() as stack:
        server = stack.enter_context(Server(config.metrics.host, config.metrics.port, registry, health, status))
        url = f"http://{config.metrics.host}:{server.port}/metrics"
        _LOG.info("metrics; the status page and health beside them", extra={"action": "serve", "url": url})
        watchdog = Watchdog(health, _end_stalled)
        watchdog.start()
        stack.callback(watchdog.stop)
        stopped = threading.Event()
        stack.enter_context(stop_on_signals(stopped, config.run.shutdown_seconds))

        statistics = {"stats_cb": metrics.observe_client_statistics}
        producer = _producer(
            config, min(required.model_record_limit_bytes, required.dead_letter_limit_bytes), statistics
        )
        stack.callback(_close, producer)
        consumer = Consumer(client.consumer_settings(config) | statistics)
        writing = Writing.of(config, required.model_record_limit_bytes)
        held = stack.enter_context(Peers(config, required.partitions)).held if config.model.merge else None
        loop = Loop(
            config=config,
            consumer=consumer,
            transactions=Transactions(config, producer, wall=_wall, clock=time.monotonic),
            writing=writing,
            partitions=required.partitions,
            held=held,
            trimmer=Trimmer(admin, config.model.topic),
            report=Report(metrics, consumer, config.events.topic, history),
            health=health,
        )
        stack.callback(loop.close)
        loop.run(stopped.is_set)


def _about(config: Config) -> About:
    return About(
        kind="worker",
        model=config.model.name,
        topics={"events": config.events.topic, "model": config.model.topic, "rejected": config.dead_letter.topic},
        group=config.kafka.group,
        loss=config.model.loss,
    )


def _spare_collector() -> None:
    """Have Python look for unreachable cycles of objects more rarely.

    By default it looks after every 700 objects more than before, and a poll makes ten thousand messages, none of them
    part of a cycle: that shows in the time of reading them. What is there by now stays, and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_PER_COLLECTION)


def _producer(config: Config, limit_bytes: int, statistics: Mapping[str, object]) -> Producer:
    # A static member takes its own transactional id up again, which ends the open transaction of its former life at
    # once. Any other member gets a fresh one: the group's generation fences its former life (KIP-447).
    member = config.kafka.instance_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    transactional_id = client.transactional_id_of(config, member)
    producer = Producer(
        client.producer_settings(config, transactional_id, batch_limit_bytes=limit_bytes) | {**statistics}
    )
    try:
        producer.init_transactions(30)
    except KafkaException as error:
        raise BrokerUnreachableError(
            f"transactions could not be initialised: {error.args[0].str()}; `headrace doctor` tells more"
        ) from error
    return producer


def _close(producer: Producer) -> None:
    """Close the producer, which aborts a transaction that is still open; without a broker that never returns."""

    def close() -> None:
        with suppress(KafkaException):  # one that may not write any more has nothing to abort
            producer.close()

    closing = threading.Thread(target=close, name="close", daemon=True)
    closing.start()
    closing.join(_CLOSE_SECONDS)


def _end_stalled(reason: str) -> None:
    _LOG.error(reason, extra={"action": "stall"})
    os._exit(StalledError.exit_code)


def _wall() -> int:
    return time.time_ns() // 1_000_000
