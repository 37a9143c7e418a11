"""Kafka in KRaft mode in Docker: the image of Apache Kafka, started through testcontainers."""

import gc
import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from deploy.broker import jars, properties
from deploy.broker.handle import Broker
from deploy.broker.ports import LOOPBACK, free_ports
from worker.errors import BrokerUnreachableError

PING_SECONDS = 5
PULL_SECONDS = 300  # some 200 MB over a slow line
STOP_SECONDS = 20
LOG_TAIL_LINES = 25
CLIENT_PORT, INTERNAL_PORT, CONTROLLER_PORT = 19092, 9092, 9093  # inside a container


class NoDockerBrokerError(Exception):
    """A broker cannot be run in Docker; the message says why.

    Attributes:
        worth_telling: an engine is there, so that a person would expect it to be used.
    """

    def __init__(self, message: str, *, worth_telling: bool) -> None:
        super().__init__(message)
        self.worth_telling = worth_telling


class DockerBroker(Broker):
    """A cluster of containers on a network of its own."""

    def __init__(self, containers: Mapping[int, Any], addresses: Mapping[int, str]) -> None:
        count = len(addresses)
        super().__init__(
            kind="docker",
            description=f"Kafka {jars.kafka_version()}, Docker, {count} node{'s' if count > 1 else ''}",
            addresses=addresses,
        )
        self._containers = {node: container.get_wrapped_container() for node, container in containers.items()}

    def _start(self, node: int) -> None:
        self._containers[node].start()

    def _stop(self, node: int, *, kill: bool) -> None:
        container = self._containers[node]
        if kill:
            container.kill()
        else:
            container.stop(timeout=STOP_SECONDS)
        container.wait()

    def _ended(self) -> set[int]:
        for container in self._containers.values():
            container.reload()
        return {node for node, container in self._containers.items() if container.status in ("exited", "dead")}

    def _log_tail(self) -> str:
        return "\n".join(
            f"--- node {node}\n{container.logs(tail=LOG_TAIL_LINES).decode(errors='replace')}"
            for node, container in self._containers.items()
        )


@contextmanager
def docker_broker(nodes: int, overrides: Mapping[str, str]) -> Iterator[DockerBroker]:
    """Run a cluster of `nodes` containers; testcontainers' reaper removes them if this process dies.

    Raises:
        NoDockerBrokerError: no engine answers, the image cannot be pulled, or the cluster does not start.
    """
    _require_engine()
    with ExitStack() as stack:
        try:
            kafka = _start(stack, nodes, overrides)
        except Exception as error:
            # Whatever goes wrong between a registry, an engine and a container: a JVM may still do.
            raise NoDockerBrokerError(f"{type(error).__name__}: {error}", worth_telling=True) from error
        yield kafka


def _require_engine() -> None:
    """Ask the engine for a sign of life. Imported here and not above: who has no Docker needs neither module."""
    try:
        docker = importlib.import_module("docker")
        importlib.import_module("testcontainers.core.container")  # missing: known now, before anything is started
    except ImportError as error:
        raise NoDockerBrokerError(f"{error.name} is not installed", worth_telling=False) from error
    try:
        with closing(docker.from_env(timeout=PING_SECONDS)) as client:
            client.ping()
    except Exception as error:  # noqa: BLE001  the engine's, the transport's, or the proxy's in between
        reason = f"no engine answers ({error})"
    else:
        return
    with warnings.catch_warnings():
        # The client that found no engine forgets to close its socket: collect it here, where nobody is told.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    raise NoDockerBrokerError(reason, worth_telling=False)


def _start(stack: ExitStack, nodes: int, overrides: Mapping[str, str]) -> DockerBroker:
    container_class = importlib.import_module("testcontainers.core.container").DockerContainer
    network_class = importlib.import_module("testcontainers.core.network").Network
    image = f"apache/kafka:{jars.kafka_version()}"
    print(f"broker: starting {image} in Docker (the image is pulled if it is not there) ...", file=sys.stderr)
    patient = {"timeout": PULL_SECONDS}
    network = stack.enter_context(network_class(docker_client_kw=patient))
    ids = range(1, nodes + 1)
    ports = dict(zip(ids, free_ports(nodes), strict=True))
    containers: dict[int, Any] = {}
    addresses = {}
    for node in ids:
        container = container_class(
            image,
            docker_client_kw=patient,
            network=network,
            network_aliases=[_alias(node)],
        )
        host = container.get_docker_client().host()
        if host == "localhost":
            # Its numbers, so that no client tries IPv6 first; and open to this machine only.
            host = LOOPBACK
            container.ports[str(CLIENT_PORT)] = (host, ports[node])
        else:
            container.with_bind_ports(CLIENT_PORT, ports[node])
        addresses[node] = f"{host}:{ports[node]}"
        settings = properties.common(nodes, overrides) | {
            "node.id": str(node),
            "controller.quorum.voters": properties.voters({each: f"{_alias(each)}:{CONTROLLER_PORT}" for each in ids}),
            "listeners": f"CLIENTS://:{CLIENT_PORT},INTERNAL://:{INTERNAL_PORT},CONTROLLER://:{CONTROLLER_PORT}",
            "advertised.listeners": f"CLIENTS://{addresses[node]},INTERNAL://{_alias(node)}:{INTERNAL_PORT}",
            "inter.broker.listener.name": "INTERNAL",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }
        container.with_envs(
            CLUSTER_ID=jars.CLUSTER_ID,
            KAFKA_HEAP_OPTS="-Xmx1g" if nodes == 1 else "-Xmx512m",
            **properties.as_environment(settings),
        )
        containers[node] = stack.enter_context(container)
    kafka = DockerBroker(containers, addresses)
    try:
        kafka.await_ready()
    except BrokerUnreachableError as error:
        raise RuntimeError(f"the containers did not become a cluster: {error}") from error
    return kafka


def _alias(node: int) -> str:
    return f"kafka{node}"
