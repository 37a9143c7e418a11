"""What a started broker offers, wherever it runs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from deploy.broker import ready

Kind = Literal["environment", "docker", "jvm"]


class Broker(ABC):
    """A Kafka cluster that answers.

    Attributes:
        kind: where it was found.
        description: one line for a person, such as "Kafka 4.3.1, local JVM, 1 node".
        addresses: node id to "host:port"; the ids are those that metadata gives for a partition's leader.
    """

    def __init__(self, *, kind: Kind, description: str, addresses: Mapping[int, str]) -> None:
        self.kind: Kind = kind
        self.description = description
        self.addresses = dict(addresses)
        self._stopped: set[int] = set()

    @property
    def bootstrap_servers(self) -> str:
        """Give the addresses of all nodes, the stopped ones included."""
        return ",".join(self.addresses.values())

    @property
    def nodes(self) -> tuple[int, ...]:
        """Give the node ids, rising, the stopped ones included."""
        return tuple(sorted(self.addresses))

    def stop_node(self, node: int, *, kill: bool = False) -> None:
        """End a node's process and return once it has ended; `kill` gives it no chance to hand over first."""
        self._require(node)
        self._stop(node, kill=kill)
        self._stopped.add(node)

    def start_node(self, node: int) -> None:
        """Start a stopped node on the same address with the same data, and return once it is back in the cluster.

        Raises:
            BrokerUnreachableError: it did not come back in time.
        """
        self._require(node)
        self._start(node)
        self._stopped.discard(node)
        self.await_ready()

    def await_ready(self) -> None:
        """Return once every node that was not stopped has joined and topics can be created.

        Raises:
            BrokerUnreachableError: a node ended, or the deadline passed; the message holds the tail of the logs.
        """
        running = set(self.nodes) - self._stopped
        ready.await_cluster(
            ",".join(self.addresses[node] for node in sorted(running)),
            running,
            ended=self._ended,
            logs=self._log_tail,
        )

    def _require(self, node: int) -> None:
        if node not in self.addresses:
            raise ValueError(f"no node {node}: there are {', '.join(map(str, self.nodes))}")

    @abstractmethod
    def _stop(self, node: int, *, kill: bool) -> None: ...

    @abstractmethod
    def _start(self, node: int) -> None: ...

    @abstractmethod
    def _ended(self) -> set[int]:
        """Give the nodes whose process has ended."""

    @abstractmethod
    def _log_tail(self) -> str: ...
