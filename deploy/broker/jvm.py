"""Kafka in KRaft mode on a local JVM: every node a broker and a controller, on loopback ports."""

import json
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from deploy.broker import jars, properties, supervise
from deploy.broker.handle import Broker
from deploy.broker.ports import LOOPBACK, free_ports
from worker.errors import BrokerUnreachableError

PORT_ATTEMPTS = 3
STOP_SECONDS = 20  # a node that hands over its partitions ends in one second; one without a quorum waits for long
END_SECONDS = 30  # the supervisor kills and removes: a full disk cache may delay the removal
LOG_TAIL_LINES = 25
LOG4J = Path(__file__).with_name("log4j2.xml")


class LocalBroker(Broker):
    """A cluster of JVM processes under one supervisor."""

    def __init__(
        self, supervisor: "Supervisor", commands: Mapping[int, list[str]], addresses: Mapping[int, str]
    ) -> None:
        count = len(addresses)
        super().__init__(
            kind="jvm",
            description=f"Kafka {jars.kafka_version()}, local JVM, {count} node{'s' if count > 1 else ''}",
            addresses=addresses,
        )
        self._supervisor = supervisor
        self._commands = commands

    def start(self) -> None:
        """Start all nodes at once, and return when they are a cluster."""
        for node in self.nodes:
            self._start(node)
        self.await_ready()

    def _start(self, node: int) -> None:
        output = self._supervisor.folder / f"{node}.out"
        self._supervisor.ask("start", node=node, command=self._commands[node], output=str(output))

    def _stop(self, node: int, *, kill: bool) -> None:
        number = signal.SIGKILL if kill else signal.SIGTERM
        self._supervisor.ask("stop", node=node, signal=int(number), seconds=STOP_SECONDS)

    def _ended(self) -> set[int]:
        return set(self._supervisor.ask("ended")["nodes"])

    def _log_tail(self) -> str:
        texts = []
        for file in sorted([*self._supervisor.folder.glob("*.out"), *self._supervisor.folder.glob("*.log")]):
            lines = file.read_text(errors="replace").splitlines()
            if lines:
                texts.append("\n".join([f"--- {file.name}", *lines[-LOG_TAIL_LINES:]]))
        return "\n".join(texts) or "(it is empty)"


class Supervisor:
    """The process that holds the nodes and their folder; see `supervise`."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers
        self._lock = threading.Lock()
        self.folder = Path(self._read()["folder"])

    def ask(self, do: str, **request: object) -> dict[str, Any]:
        """Send one request and give its answer.

        Raises:
            BrokerUnreachableError: the supervisor is gone, or it could not do it.
        """
        with self._lock:
            try:
                self._requests.write(json.dumps({"do": do} | request) + "\n")
                self._requests.flush()
            except OSError as error:
                raise BrokerUnreachableError(f"the supervisor of the local broker is gone ({error})") from error
            return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the supervisor of the local broker is gone"}
        if "error" in answer:
            raise BrokerUnreachableError(f"local broker: {answer['error']}")
        return answer


@contextmanager
def local_broker(nodes: int, overrides: Mapping[str, str], *, brief: bool = False) -> Iterator[LocalBroker]:
    """Run a cluster of `nodes` nodes; afterwards its processes and its folder are gone.

    Raises:
        NoJvmBrokerError: Java, Maven or the jars cannot be had.
        BrokerUnreachableError: the nodes did not start; the message holds the tail of their logs.
    """
    distribution = jars.obtain()
    for attempt in range(1, PORT_ATTEMPTS + 1):
        with _supervisor() as supervisor:
            kafka = _prepare(distribution, supervisor, nodes, overrides, brief=brief)
            try:
                kafka.start()
            except BrokerUnreachableError as error:
                if "Address already in use" in str(error) and attempt < PORT_ATTEMPTS:
                    continue  # another process was quicker: ask for other ports
                raise
            yield kafka
            return


@contextmanager
def _supervisor() -> Iterator[Supervisor]:
    command = [sys.executable, "-I", "-S", supervise.__file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        requests = cast(IO[str], process.stdin)
        try:
            yield Supervisor(requests, cast(IO[str], process.stdout))
        finally:
            requests.close()
            process.wait(END_SECONDS)


def _prepare(
    distribution: jars.Distribution, supervisor: Supervisor, nodes: int, overrides: Mapping[str, str], *, brief: bool
) -> LocalBroker:
    """Choose ports, write every node's settings, and format its storage."""
    ids = range(1, nodes + 1)
    ports = iter(free_ports(2 * nodes))
    addresses = {node: f"{LOOPBACK}:{next(ports)}" for node in ids}
    controllers = {node: f"{LOOPBACK}:{next(ports)}" for node in ids}
    commands = {}
    for node in ids:
        settings = properties.common(nodes, overrides) | {
            "node.id": str(node),
            "controller.quorum.voters": properties.voters(controllers),
            "listeners": f"PLAINTEXT://{addresses[node]},CONTROLLER://{controllers[node]}",
            "advertised.listeners": f"PLAINTEXT://{addresses[node]}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(supervisor.folder / f"{node}.data"),
        }
        config = supervisor.folder / f"{node}.properties"
        config.write_text(properties.render(settings))
        _format(distribution, supervisor.folder / f"{node}.data", node)
        commands[node] = [
            distribution.java,
            # One broker may be measured; of three, each gets a third of a small machine. Whoever lives for minutes
            # spends more than half of its time on compiling well what it then hardly runs.
            "-Xmx1g" if nodes == 1 else "-Xmx512m",
            *(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if brief or nodes > 1 else []),
            "-Xshare:auto",
            f"-Dlog4j2.configurationFile={LOG4J}",
            f"-Dbroker.log={supervisor.folder / f'{node}.log'}",
            "-cp",
            distribution.classpath,
            "kafka.Kafka",
            str(config),
        ]
    return LocalBroker(supervisor, commands, addresses)


def _format(distribution: jars.Distribution, data: Path, node: int) -> None:
    """Do what `kafka-storage format` does, without its JVM: an identity and the feature levels."""
    data.mkdir()
    identity = {
        "version": "1",
        "cluster.id": jars.CLUSTER_ID,
        "node.id": str(node),
        "directory.id": "h" + secrets.token_urlsafe(16)[1:],  # 16 bytes in base64; Kafka refuses a leading "-"
    }
    (data / "meta.properties").write_text(properties.render(identity))
    (data / jars.BOOTSTRAP).write_bytes(distribution.bootstrap.read_bytes())
