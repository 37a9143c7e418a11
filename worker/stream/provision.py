"""Make the topics that are missing, and mend those that are not as a worker needs them."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from worker.config import Config
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.stream.topics import (
    CREATE,
    DEAD_LETTER_SETTINGS,
    MODEL_SETTINGS,
    SETTLE_SECONDS,
    TIMEOUT_SECONDS,
    Seen,
    View,
    check,
    dead_letter_limit_bytes,
    look,
    refused,
)

_BROKER_DEFAULT: Final = -1


def create(
    admin: AdminClient,
    config: Config,
    *,
    partitions: int | None = None,
    replication: int | None = None,
    mend: bool = False,
) -> list[str]:
    """Make what is missing, and with `mend` change what is there but does not fit; no record is touched.

    Args:
        admin: a client of the cluster.
        config: names the topics.
        partitions: of the event topic, where it has to be made. The others get as many as it has.
        replication: how many brokers hold each partition; the cluster's default unless given.
        mend: also set what deviates, and add partitions that the model topic lacks.

    Returns:
        What was done, a line each; none where all was well.

    Raises:
        ConfigurationError: where the number of partitions is not known, or the cluster refuses.
        BrokerUnreachableError: where no broker answers.
    """
    events = look(admin, config).events
    count, done = events.partitions, []
    if not events.partitions and not events.forbidden:
        if partitions is None:
            raise ConfigurationError(
                f"the event topic {events.name} does not exist; `{CREATE} --partitions N` makes it with N partitions, "
                "which is the most workers that can share the work"
            )
        done += _make(admin, events.name, partitions, replication, {})
        count = partitions
        _wait(lambda: look(admin, config).events.partitions > 0)
    elif partitions not in (None, events.partitions):
        raise ConfigurationError(
            f"the event topic {events.name} has {events.partitions} partitions already, not {partitions}; "
            "leave --partitions out: to change it would move users to shards that never saw them"
        )

    view = look(admin, config)
    for topic, settings in ((view.model, MODEL_SETTINGS), (view.dead_letter, _dead_letter_settings(view))):
        if not topic.partitions and not topic.forbidden:
            done += _make(admin, topic.name, count, replication, settings)
        elif mend:
            done += _mend(admin, topic, settings)
    if mend and 0 < view.model.partitions < count:
        done += _extend(admin, view.model, count)
    if done:
        _wait(
            lambda: (
                not any(found.level == "fail" and (mend or found.kind == "absent") for found in check(admin, config))
            )
        )
    return done


def create_model(admin: AdminClient, config: Config, partitions: int) -> int:
    """Make the model topic alone, where it is missing; gives the most bytes of a record there.

    Args:
        admin: a client of the cluster.
        config: names the topic.
        partitions: as many as the model has shards.

    Raises:
        ConfigurationError: the cluster refuses.
        IncompatibleDataError: it is there with another number of partitions.
        BrokerUnreachableError: no broker answers.
    """
    model = look(admin, config).model
    if not model.partitions:
        _make(admin, model.name, partitions, None, MODEL_SETTINGS)
        _wait(lambda: look(admin, config).model.partitions > 0)
        model = look(admin, config).model
    if model.partitions != partitions:
        raise IncompatibleDataError(
            f"the model topic {model.name} has {model.partitions} partitions, and the model {partitions} shards: name "
            "another topic for it"
        )
    return model.limit_bytes()


def _dead_letter_settings(view: View) -> dict[str, str]:
    settings = dict(DEAD_LETTER_SETTINGS)
    if view.events.settings:
        limit = dead_letter_limit_bytes(view.events)
        if not view.dead_letter.settings or view.dead_letter.limit_bytes() < limit:
            settings["max.message.bytes"] = str(limit)
    return settings


def _wait(settled: Callable[[], bool]) -> None:
    """Wait until the brokers tell what the controller has done, which takes them some milliseconds.

    Where they do not in time, or more is wrong than was mended, the next look tells.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while not settled() and time.monotonic() < deadline:
        time.sleep(0.05)


def _make(
    admin: AdminClient, name: str, partitions: int, replication: int | None, settings: Mapping[str, str]
) -> list[str]:
    settings = dict(settings)
    if replication is not None and replication > 2:
        settings["min.insync.replicas"] = "2"  # an acknowledged model outlives the loss of a broker
    topic = NewTopic(
        name,
        num_partitions=partitions,
        replication_factor=_BROKER_DEFAULT if replication is None else replication,
        config=settings,
    )
    futures = admin.create_topics([topic], request_timeout=TIMEOUT_SECONDS)
    if not _done(futures.values(), f"topic {name} cannot be made", unless="TOPIC_ALREADY_EXISTS"):
        return []  # another process was faster
    told = "".join(f", {key}={value}" for key, value in settings.items())
    return [f"{name}: made, {partitions} partitions{told}"]


def _mend(admin: AdminClient, topic: Seen, settings: Mapping[str, str]) -> list[str]:
    changes = {name: value for name, value in settings.items() if topic.settings.get(name, value) != value}
    if not changes:
        return []
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in changes.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
    futures = admin.incremental_alter_configs([resource], request_timeout=TIMEOUT_SECONDS)
    _done(futures.values(), f"topic {topic.name} cannot be mended")
    return [f"{topic.name}: {name} set to {value} (was {topic.settings[name]})" for name, value in changes.items()]


def _extend(admin: AdminClient, topic: Seen, partitions: int) -> list[str]:
    futures = admin.create_partitions([NewPartitions(topic.name, partitions)], request_timeout=TIMEOUT_SECONDS)
    _done(futures.values(), f"topic {topic.name} cannot be given more partitions")
    return [f"{topic.name}: {partitions} partitions (was {topic.partitions})"]


def _done(futures: Iterable["Future[Any]"], what: str, unless: str = "") -> bool:
    """Wait for answers; False where one was the refusal that is expected."""
    for future in futures:
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].name() == unless:
                return False
            raise refused(error, what) from error
    return True
