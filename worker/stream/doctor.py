"""Look at everything that a worker needs, and say of each thing what was found and what to do."""

import errno
import socket
from typing import Final

from confluent_kafka import KafkaException, Producer, libversion
from confluent_kafka.admin import AclOperation, AdminClient

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError
from worker.observe.build import versions
from worker.stream import client
from worker.stream.topics import TIMEOUT_SECONDS, Finding, refused
from worker.stream.topics import check as check_topics

TRANSACTION_SECONDS: Final = 30.0  # the first transaction ever makes Kafka create a topic for their state


def examine(config: Config, timeout_seconds: float = 10.0) -> list[Finding]:
    """Look at versions, settings, brokers, topics, permissions and ports; what hangs on a failure is left out.

    Nothing is written but the registration of one transactional id, `<group>.doctor`.
    """
    found = [_versions(), _settings(config), *cautions(config), _metrics_port(config)]
    if any(finding.level == "fail" for finding in found[:2]):
        return found
    found.append(_brokers(config, timeout_seconds))
    if found[-1].level == "fail":
        return found
    admin = AdminClient(client.admin_settings(config))
    try:
        found += check_topics(admin, config)
    except (BrokerUnreachableError, ConfigurationError) as error:
        found.append(Finding(level="fail", subject="topics", message=str(error), action="see the broker's log"))
    return [*found, _group(admin, config), _transactions(config)]


def cautions(config: Config) -> list[Finding]:
    """Name what the configuration may say, and seldom should."""
    if not config.model.merge or config.snapshots.keep_bases > 1:
        return []
    return [
        Finding(
            level="warn",
            subject="snapshots.keep_bases = 1",
            message="what a shard has folded in of another is trimmed as soon as that one's next base is complete: a "
            "restart may not find it any more. Nothing is lost or added twice, but the shard goes on with what is "
            "known by now in place of what it knew (`peers_trimmed`)",
            action="keep two, the default",
        )
    ]


def exit_code(findings: list[Finding]) -> int:
    """Give the exit code of the worst finding: 0 where nothing failed."""
    failed = {finding.kind for finding in findings if finding.level == "fail"}
    for kind, code in (("unreachable", 3), ("incompatible", 4)):
        if kind in failed:
            return code
    return 2 if failed else 0


def _versions() -> Finding:
    found = versions()
    told = ", ".join(f"{name} {version}" for name, version in found.items() if name != "version")
    return Finding(level="ok", subject=f"headrace {found['version']}", message=f"{told}, librdkafka {libversion()[0]}")


def _settings(config: Config) -> Finding:
    try:
        client.check(config)
    except ConfigurationError as error:
        return Finding(level="fail", subject="configuration", message=str(error), action="correct it")
    return Finding(level="ok", subject="configuration", message=f"{len(config.features)} features, all settings known")


def _metrics_port(config: Config) -> Finding:
    host, port = config.metrics.host, config.metrics.port
    subject = f"metrics port {port}"
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(address[0], socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address[4])
            listener.listen()  # binding alone succeeds beside a listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # by a worker that runs, perhaps: then all is well
            action = "fine if that is the worker itself; otherwise set metrics.port"
            return Finding(level="warn", subject=subject, message=f"taken on {host}", action=action)
        action = "set metrics.host and metrics.port to an address of this machine"
        return Finding(level="fail", subject=subject, message=f"{host}: {error.strerror or error}", action=action)
    return Finding(level="ok", subject=subject, message=f"free on {host}")


def _brokers(config: Config, timeout_seconds: float) -> Finding:
    try:
        cluster = client.reach(config, timeout_seconds)
    except BrokerUnreachableError as error:
        action = (
            "where the cluster wants encryption or a login, set security.protocol, ssl.* and sasl.* in [kafka.client]"
        )
        return Finding(level="fail", kind="unreachable", subject="broker", message=str(error), action=action)
    addresses = ", ".join(f"{broker.host}:{broker.port}" for broker in cluster.brokers.values())
    message = f"{len(cluster.brokers)} at {addresses}; cluster {cluster.cluster_id}"
    return Finding(level="ok", subject="broker", message=message)


def _group(admin: AdminClient, config: Config) -> Finding:
    group = config.kafka.group
    subject = f"group {group}"
    answer = admin.describe_consumer_groups(
        [group], include_authorized_operations=True, request_timeout=TIMEOUT_SECONDS
    )
    try:
        described = answer[group].result()
    except KafkaException as error:
        if error.args[0].name() == "GROUP_ID_NOT_FOUND":  # since Kafka 4.0, of a group that nobody has joined yet
            return Finding(level="ok", subject=subject, message="no member yet")
        reason = error.args[0]
        if reason.name() == "GROUP_AUTHORIZATION_FAILED":
            action = f"grant Read and Describe on group {group}"
            return Finding(level="fail", kind="forbidden", subject=subject, message=reason.str(), action=action)
        # A cluster that nobody has used yet first makes the topic where it keeps its groups.
        message, action = f"its coordinator does not answer yet ({reason.name()})", "try again in a few seconds"
        return Finding(level="warn", subject=subject, message=message, action=action)
    allowed = described.authorized_operations
    if allowed is not None and AclOperation.READ not in allowed and AclOperation.ALL not in allowed:
        message, action = "Read is not permitted", f"grant Read on group {group}"
        return Finding(level="fail", kind="forbidden", subject=subject, message=message, action=action)
    if not described.members:  # "dead" is Kafka's word for a group that nobody has joined yet
        return Finding(level="ok", subject=subject, message="no member yet")
    message = f"{described.state.name.lower()}, {len(described.members)} members"
    return Finding(level="ok", subject=subject, message=message)


def require_no_members(admin: AdminClient, config: Config) -> None:
    """Make sure that nobody learns.

    Raises:
        ConfigurationError: the group has members.
    """
    answer = admin.describe_consumer_groups([config.kafka.group], request_timeout=TIMEOUT_SECONDS)
    try:
        members = answer[config.kafka.group].result().members
    except KafkaException as error:
        if error.args[0].name() == "GROUP_ID_NOT_FOUND":
            return
        raise refused(error, f"whether workers of the group {config.kafka.group} are running is not told") from error
    if members:
        raise ConfigurationError(
            f"{len(members)} workers of the group {config.kafka.group} are learning: stop them first, what they learn "
            "meanwhile would be left behind"
        )


def _transactions(config: Config) -> Finding:
    """Begin to write transactions, which asks for the permission, and write none."""
    name = client.transactional_id_of(config, "doctor")
    producer = Producer(client.producer_settings(config, name))
    try:
        producer.init_transactions(TRANSACTION_SECONDS)
    except KafkaException as error:
        reason = error.args[0]
        action = (
            f"grant Write and Describe on transactional ids that begin with {config.kafka.group}."
            if reason.name().endswith("_AUTHORIZATION_FAILED")
            else "see the broker's log: it keeps transactions in the topic __transaction_state, which must be writable"
        )
        return Finding(level="fail", kind="forbidden", subject="transactions", message=reason.str(), action=action)
    return Finding(level="ok", subject="transactions", message=f"permitted to {name}")
