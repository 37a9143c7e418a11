"""Asking a cluster whether it can be used yet."""

import time
from collections.abc import Callable, Collection

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from worker.errors import BrokerUnreachableError

START_SECONDS = 90.0  # three JVMs on two cores that are busy with something else take 30
PROBE_SECONDS = 2.0  # one question to the cluster; a node that starts leaves some unanswered
POLL_SECONDS = 0.1
ENVIRONMENT_SECONDS = 15.0  # a broker that runs already answers in milliseconds, over TLS and a slow link in seconds


def await_cluster(
    bootstrap_servers: str,
    nodes: Collection[int],
    *,
    ended: Callable[[], Collection[int]],
    logs: Callable[[], str],
) -> None:
    """Return once all nodes are in the metadata and a topic with a replica on each could be created.

    Args:
        bootstrap_servers: where to ask.
        nodes: the ids that must be there.
        ended: gives the nodes whose process has ended; one of them is a failure at once.
        logs: gives the tail of the nodes' logs, for the message.

    Raises:
        BrokerUnreachableError: a node ended or the deadline passed.
    """
    admin = quiet_admin(bootstrap_servers)
    deadline = time.monotonic() + START_SECONDS
    missing = "no answer yet"
    while time.monotonic() < deadline:
        if lost := sorted(set(ended()) & set(nodes)):
            raise BrokerUnreachableError(f"Kafka node {lost[0]} ended while it started. The end of its log:\n{logs()}")
        try:
            absent = set(nodes) - set(admin.list_topics(timeout=PROBE_SECONDS).brokers)
            if not absent:
                _validate_topic(admin, replicas=len(nodes))
                return
            missing = f"nodes missing: {sorted(absent)}"
        except KafkaException as error:
            missing = str(error)
        time.sleep(POLL_SECONDS)
    raise BrokerUnreachableError(
        f"Kafka at {bootstrap_servers} was not ready within {START_SECONDS:.0f} s ({missing}). "
        f"The end of its log:\n{logs()}"
    )


def reachable_nodes(bootstrap_servers: str) -> dict[int, str]:
    """Give node id and address of every broker of a running cluster.

    Raises:
        BrokerUnreachableError: it did not answer.
    """
    try:
        brokers = quiet_admin(bootstrap_servers).list_topics(timeout=ENVIRONMENT_SECONDS).brokers
    except KafkaException as error:
        raise BrokerUnreachableError(
            f"KAFKA_BOOTSTRAP_SERVERS is {bootstrap_servers}, but no broker answered there within "
            f"{ENVIRONMENT_SECONDS:.0f} s ({error.args[0].str()}). Start it, correct the address, or unset the "
            "variable to have a broker started for you."
        ) from error
    return {node: f"{broker.host}:{broker.port}" for node, broker in sorted(brokers.items())}


def quiet_admin(bootstrap_servers: str) -> AdminClient:
    """Make an admin client that reconnects quickly and does not log that a starting broker refuses connections."""
    return AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
            "error_cb": lambda _error: None,
        }
    )


def _validate_topic(admin: AdminClient, *, replicas: int) -> None:
    """Let the controller check a topic without making it: it refuses while too few brokers are up."""
    topic = NewTopic("headrace-probe", num_partitions=1, replication_factor=replicas)
    for answer in admin.create_topics([topic], validate_only=True, request_timeout=PROBE_SECONDS).values():
        answer.result()
