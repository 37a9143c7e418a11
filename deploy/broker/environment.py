"""A broker that somebody else runs."""

from deploy.broker import ready
from deploy.broker.handle import Broker


class EnvironmentBroker(Broker):
    """The cluster that `KAFKA_BOOTSTRAP_SERVERS` names: used as it is, never stopped."""

    def __init__(self, bootstrap_servers: str) -> None:
        addresses = ready.reachable_nodes(bootstrap_servers)
        count = len(addresses)
        super().__init__(
            kind="environment",
            description=f"Kafka from KAFKA_BOOTSTRAP_SERVERS, {count} node{'s' if count > 1 else ''}",
            addresses=addresses,
        )
        self._bootstrap_servers = bootstrap_servers

    @property
    def bootstrap_servers(self) -> str:
        """Give what the variable says: the addresses in the metadata may be meant for others."""
        return self._bootstrap_servers

    def _stop(self, node: int, *, kill: bool) -> None:
        del node, kill
        raise RuntimeError("the broker of KAFKA_BOOTSTRAP_SERVERS belongs to somebody else: ask for broker(own=True)")

    def _start(self, node: int) -> None:
        self._stop(node, kill=False)

    def _ended(self) -> set[int]:
        return set()

    def _log_tail(self) -> str:
        return "(not ours to read)"
