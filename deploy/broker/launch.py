"""Finding a broker: the environment's, else Docker, else a local JVM."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from deploy.broker.container import NoDockerBrokerError, docker_broker
from deploy.broker.environment import EnvironmentBroker
from deploy.broker.handle import Broker
from deploy.broker.jars import NoJvmBrokerError
from deploy.broker.jvm import local_broker
from worker.errors import BrokerUnreachableError

VARIABLE = "KAFKA_BOOTSTRAP_SERVERS"


@contextmanager
def broker(
    nodes: int = 1, *, properties: Mapping[str, str] | None = None, own: bool = False, brief: bool = False
) -> Iterator[Broker]:
    """Give a Kafka that answers, and leave nothing of it behind.

    It is looked for in this order, and one line to standard error says what was taken:
    `KAFKA_BOOTSTRAP_SERVERS` if set, and then it is only used, never stopped; else containers if a Docker engine
    answers and has or gets the image; else processes on a local JVM.

    Args:
        nodes: how many; more than one is always a cluster of its own.
        properties: broker settings that this caller needs; implies `own`.
        own: the caller stops nodes, so the environment's broker will not do.
        brief: it lives for minutes and is not measured. On a local JVM it then starts sooner and takes half the
            processor time; at its best it is slower.

    Raises:
        BrokerUnreachableError: none can be had (the message says what to install), or it did not start.
    """
    if nodes < 1:
        raise ValueError(f"nodes is {nodes}; at least 1 is needed")
    with ExitStack() as stack:
        kafka = _find(stack, nodes, properties or {}, own=own or nodes > 1 or bool(properties), brief=brief)
        _say(f"{kafka.description}, at {kafka.bootstrap_servers}")
        yield kafka


def _find(stack: ExitStack, nodes: int, properties: Mapping[str, str], *, own: bool, brief: bool) -> Broker:
    servers = os.environ.get(VARIABLE)
    if servers and not own:
        return EnvironmentBroker(servers)
    if servers:
        _say(f"{VARIABLE} is set, but a cluster whose nodes can be stopped is needed: starting one")
    try:
        return stack.enter_context(docker_broker(nodes, properties))
    except NoDockerBrokerError as error:
        docker_reason = str(error)
        if error.worth_telling:
            _say(f"Docker will not do ({error}): trying a local JVM")
    try:
        return stack.enter_context(local_broker(nodes, properties, brief=brief))
    except NoJvmBrokerError as error:
        raise BrokerUnreachableError(
            "No Kafka broker can be had. Install Java 17 or newer and Maven, or start Docker, or set "
            f"{VARIABLE} to a running one.\n  Docker: {docker_reason}\n  JVM: {error}"
        ) from error


def _say(line: str) -> None:
    print(f"broker: {line}", file=sys.stderr, flush=True)
