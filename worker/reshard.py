"""The job that carries a trained model to another number of partitions."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker import warm
from worker.config import Config
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.snapshot.manifest import Manifest
from worker.snapshot.resharding import reshard
from worker.snapshot.sealing import Writing
from worker.snapshot.state import ShardState
from worker.stream import client, doctor, provision, topics
from worker.stream.client import reader_settings
from worker.stream.handover import publish
from worker.stream.restore import fresh, restore
from worker.stream.tail import Tail


@dataclass(frozen=True, kw_only=True)
class Resharded:
    """What was carried where."""

    model_topic: str
    events_topic: str
    shards_before: int
    shards: int
    rows: int
    bytes: int
    seconds: float


def carry(
    config: Config, model_topic: str, events_topic: str | None, progress: Callable[[int], None] = lambda _: None
) -> Resharded:
    """Carry the last committed versions of all shards to a new model topic, as many as the events have partitions.

    Args:
        config: of the model as it is.
        model_topic: where it goes; made where it does not exist.
        events_topic: where its events come from now; the same topic, which has grown, unless given.
        progress: called with the number of rows that were read or written since the last call.

    Raises:
        ConfigurationError: there is nothing to carry, or workers are still at it.
        IncompatibleDataError: there is a model at the target, or the old one does not fit the configuration.
        CorruptSnapshotError: a record of the old model is not what its writer sent.
        BrokerUnreachableError: no answer in time.
    """
    began = time.monotonic()
    if config.model.kind != "gaussian":
        raise ConfigurationError(
            f'a model of kind = "{config.model.kind}" cannot be carried to other shards: what two shards have learned '
            "of a row does not add up. Learn it anew: a `model.topic` and a `kafka.group` of its own, and "
            '`events.start = "earliest"`'
        )
    target = config.model_copy(
        update={
            "events": config.events.model_copy(update={"topic": events_topic or config.events.topic}),
            "model": config.model.model_copy(update={"topic": model_topic}),
        }
    )
    if model_topic == config.model.topic:
        raise ConfigurationError(f"the model is in {model_topic} already: name another topic for it")
    admin = client.administer(config)
    before = topics.look(admin, config).model.partitions
    if not before:
        raise ConfigurationError(f"the model topic {config.model.topic} does not exist: is this the old one?")
    doctor.require_no_members(admin, config)
    provision.create(admin, target)
    required = topics.require(admin, target)
    _require_empty(target, required.partitions)
    warm.compile_all()

    old = [_read(config, shard, before, progress) for shard in range(before)]
    moved = reshard(old, required.partitions, target.learning)
    for it in moved:
        shard = it.state.shard
        goes_on = target.events.topic == config.events.topic and shard < before
        it.state.next_offset = old[shard].next_offset if goes_on else fresh(target, shard).next_offset
    writing = Writing.of(target, required.model_record_limit_bytes)
    doctor.require_no_members(admin, config)
    rows = sum(len(it.state.model.table) for it in moved)
    written = publish(target, moved, writing, progress)
    return Resharded(
        model_topic=model_topic,
        events_topic=target.events.topic,
        shards_before=before,
        shards=len(moved),
        rows=rows,
        bytes=written,
        seconds=time.monotonic() - began,
    )


def _read(config: Config, shard: int, shards: int, progress: Callable[[int], None]) -> ShardState:
    state = restore(config, shard, shards, threading.Event()).state
    progress(len(state.model.table))
    return state


def _require_empty(config: Config, shards: int) -> None:
    for shard in range(shards):
        with Tail(reader_settings(config.kafka), config.model.topic, shard) as tail:
            found: tuple[Manifest, int] | None = tail.last_manifest(readable=True)
        if found is not None:
            raise IncompatibleDataError(
                f"{config.model.topic} holds a model already (version {found[0].version} of shard {shard}): if it was "
                "carried there before, all is done; else name another topic"
            )
