"""The settings of every Kafka client, and the first contact with a broker.

The order in which they add up: what we found to work well, then what the user hands through, then what a guarantee
hangs on, which nothing overrides (`worker.passthrough.GUARDED` refuses it with a reason before it comes to that).
"""

import difflib
import logging
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ClusterMetadata
from pydantic import SecretStr

from worker.config import Config, Kafka
from worker.errors import BrokerUnreachableError, ConfigurationError
from worker.observe.log import Sparing
from worker.passthrough import NAMES, mask

Settings = dict[str, Any]

_LOG = logging.LoggerAdapter(logging.getLogger("worker.stream.librdkafka"), {"action": "librdkafka"})
# The client's first word names the facility: "FAIL", "ERROR", "GETPID".
_LOG.logger.addFilter(Sparing(lambda record: (record.levelno, record.getMessage().partition(" ")[0])))

# Names that the Python client takes for itself, and that a configuration file cannot give a value for.
_NOT_LIBRDKAFKA: Final = frozenset({"logger", "default.topic.config", "on_delivery", "on_commit", "oauth_cb"})

_COMMON: Final = {
    "client.id": "headrace",
    "socket.keepalive.enable": True,  # a connection that a firewall forgot is found out
    "reconnect.backoff.max.ms": 1_000,  # 10 s by default: too long for a broker that is back after a restart
    "statistics.interval.ms": 5_000,  # 0, never, by default; a scrape every 15 s sees fresh numbers
}
_CONSUMER: Final = {
    # Once the local queue is full librdkafka waits 1 s by default before it fetches again: that halves the throughput.
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 200_000,  # 100 thousand small events are a tenth of a second of learning
    "queued.max.messages.kbytes": 131_072,  # what those may take: 128 MiB, whatever the number of partitions
}
_PRODUCER: Final = {
    "compression.type": "lz4",  # the cheapest for the processor; factors compress little, keys and headers well
    "linger.ms": 5,  # a commit flushes, which does not wait for this; it lets dead letters travel together
    "queue.buffering.max.messages": 0,  # no limit by count: a commit may hold a million dead letters,
    "queue.buffering.max.kbytes": 1_048_576,  # ... and is bounded by its bytes, 1 GiB
}
_LARGEST_MESSAGE_BYTES: Final = 1_000_000_000  # librdkafka's own maximum: the topic's limit shall rule
_BATCH_BYTES: Final = 1_000_000  # librdkafka's default


def consumer_settings(config: Config) -> Settings:
    """Give the settings of a member of the worker's group, which reads events."""
    kafka = config.kafka
    session_ms = _ms(kafka.session_timeout_seconds)
    settings = _common(config.kafka) | _CONSUMER | _plain(kafka.client) | _plain(kafka.consumer)
    if kafka.group_protocol == "consumer":  # KIP-848: the broker holds the session's timeout, and assigns
        remote = {"range": "range", "cooperative-sticky": "uniform"}[kafka.assignor]
        settings |= {"group.protocol": "consumer", "group.remote.assignor": remote}
    else:
        settings |= {
            "group.protocol": "classic",
            "partition.assignment.strategy": kafka.assignor,
            "session.timeout.ms": session_ms,
        }
        # Three heartbeats a session at least, as Kafka advises; 3 s is the default.
        settings.setdefault("heartbeat.interval.ms", min(3_000, session_ms // 3))
    if kafka.instance_id is not None:
        settings["group.instance.id"] = kafka.instance_id
    return settings | {
        "bootstrap.servers": kafka.bootstrap_servers,
        "group.id": kafka.group,
        "enable.auto.commit": False,  # offsets go out with the model, in one transaction
        "enable.auto.offset.store": False,
        # A shard's first offset is sought by us; one that is gone later was deleted by retention, which is an error.
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.partition.eof": False,
        # The stall watchdog must speak first: it says where the loop hangs. librdkafka wants no less than the session.
        "max.poll.interval.ms": max(300_000, 2 * _ms(config.run.stall_seconds), session_ms),
        "logger": _LOG,
    }


def reader_settings(kafka: Kafka) -> Settings:
    """Give the settings of a reader that is assigned its partitions by hand: it joins no group and commits nothing.

    `group.id` is the worker's, since the client asks for one and access to that one is granted already.
    """
    settings = _common(kafka) | _CONSUMER
    settings["fetch.message.max.bytes"] = 8_388_608  # a restore reads megabytes of one partition: fewer round trips
    # How long the broker ponders before it says that there is no more: a restore of a small shard is mostly that.
    settings["fetch.wait.max.ms"] = 20
    settings |= _plain(kafka.client) | _plain(kafka.consumer)
    return settings | {
        "bootstrap.servers": kafka.bootstrap_servers,
        "group.id": kafka.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # an offset that is gone was trimmed: to jump elsewhere would be a guess
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "logger": _LOG,
    }


def producer_settings(config: Config, transactional_id: str, *, batch_limit_bytes: int = _BATCH_BYTES) -> Settings:
    """Give the settings of a transactional producer.

    Args:
        config: the configuration.
        transactional_id: see `transactional_id_of`.
        batch_limit_bytes: the smallest `max.message.bytes` of the topics it writes to. A topic limits batches, not
            records: several small records in one batch above the limit would be refused together.
    """
    kafka = config.kafka
    settings = _common(config.kafka) | _PRODUCER | _plain(kafka.client) | _plain(kafka.producer)
    settings["batch.size"] = min(int(settings.get("batch.size", _BATCH_BYTES)), batch_limit_bytes)
    return settings | {
        "bootstrap.servers": kafka.bootstrap_servers,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": _ms(kafka.transaction_timeout_seconds),
        # librdkafka wants no more than the transaction's; a record that is late for its transaction is of no use.
        "message.timeout.ms": _ms(kafka.transaction_timeout_seconds),
        "enable.idempotence": True,
        "acks": "all",
        "message.max.bytes": _LARGEST_MESSAGE_BYTES,
        "logger": _LOG,
    }


def admin_settings(config: Config) -> Settings:
    """Give the settings of an administrative client."""
    settings = _common(config.kafka) | _plain(config.kafka.client)
    settings["statistics.interval.ms"] = 0  # short-lived: nobody reads them
    return settings | {"bootstrap.servers": config.kafka.bootstrap_servers, "logger": _LOG}


def transactional_id_of(config: Config, member: str) -> str:
    """Name the transactions of one member; all begin with the group's name, so that one prefix grants access."""
    return f"{config.kafka.group}.{member}"


def check(config: Config) -> None:
    """Let librdkafka judge what is handed through to it; nothing is connected to.

    Raises:
        ConfigurationError: with every setting that it refuses, one a line.
    """
    kafka = config.kafka
    problems: list[str] = []
    for table, given in (("client", kafka.client), ("consumer", kafka.consumer), ("producer", kafka.producer)):
        problems += [
            f"kafka.{table}.{name}: no such setting of librdkafka{_nearest(name)}" for name in given if not _known(name)
        ]
    if not problems:
        for kind, settings in ((Consumer, consumer_settings(config)), (Producer, producer_settings(config, "check"))):
            problem = _refusal(kind, settings)
            if problem is not None and problem not in problems:
                problems.append(problem)
    if problems:
        secrets = [value.get_secret_value() for value in _secrets(config)]
        raise ConfigurationError("\n".join(mask(problem, *secrets) for problem in problems))


def reach(config: Config, timeout_seconds: float = 10.0) -> ClusterMetadata:
    """Ask the cluster for its brokers and topics.

    Raises:
        BrokerUnreachableError: where no broker answers in time; it says what stood in the way.
    """
    heard: list[KafkaError] = []
    try:
        admin = AdminClient(admin_settings(config) | {"error_cb": heard.append, "logger": _silent()})
    except KafkaException as error:
        raise ConfigurationError(f"[kafka.client]: {error.args[0].str()}") from error
    try:
        return admin.list_topics(timeout=timeout_seconds)
    except KafkaException as error:
        admin.poll(0)  # hands over what the client's threads met
        # "all brokers down" and the like say less than the refusal, the failed login or the certificate behind them.
        telling = [found for found in heard if found.code() != KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001
        reason = telling[-1].str() if telling else error.args[0].str()
        raise BrokerUnreachableError(
            f"no broker answered at {mask(config.kafka.bootstrap_servers)} within {timeout_seconds:g} s: {reason}. "
            "Is Kafka running, and is the address the one that it advertises? "
            "Set kafka.bootstrap_servers or HEADRACE_KAFKA__BOOTSTRAP_SERVERS"
        ) from error


def administer(config: Config, timeout_seconds: float = 10.0) -> AdminClient:
    """Give an administrative client of a cluster that answers.

    Raises:
        BrokerUnreachableError: as `reach` does.
    """
    reach(config, timeout_seconds)
    return AdminClient(admin_settings(config))


def _common(kafka: Kafka) -> Settings:
    # The instance's name tells replicas apart in the broker's log and quotas.
    name = kafka.instance_id
    return dict(_COMMON) if name is None else _COMMON | {"client.id": f"headrace.{name}"}


def _plain(table: Mapping[str, str | float | bool | SecretStr]) -> Settings:
    return {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in table.items()}


def _secrets(config: Config) -> list[SecretStr]:
    tables = (config.kafka.client, config.kafka.consumer, config.kafka.producer)
    return [value for table in tables for value in table.values() if isinstance(value, SecretStr)]


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)


def _known(name: str) -> bool:
    """Tell whether the installed librdkafka has this setting; its list may be longer than ours."""
    if name in NAMES:
        return True
    if name in _NOT_LIBRDKAFKA or name.endswith("_cb"):
        return False
    problem = _refusal(Producer, {name: ""})
    return problem is None or "No such configuration property" not in problem


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, sorted(NAMES), 1)
    return f"; did you mean {near[0]}?" if near else "; its CONFIGURATION.md lists them all"


def _refusal(kind: type[Any], settings: Settings) -> str | None:
    settings = {name: value for name, value in settings.items() if name != "bootstrap.servers"} | {"logger": _silent()}
    try:
        client = kind(settings)
    except KafkaException as error:
        return f"kafka: librdkafka refuses it: {error.args[0].str().strip()}"
    except (TypeError, AttributeError) as error:  # a value that the Python client itself reads
        return f"kafka: the client refuses it: {error}"
    if kind is Consumer:
        client.close()
    return None


def _silent() -> logging.Logger:
    """Give a logger for clients whose errors are told in our own words: no handler hears it."""
    return logging.Logger("worker.stream.silent", logging.CRITICAL + 1)  # noqa: LOG001
