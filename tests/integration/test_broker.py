"""The launcher, with the brokers that it launches."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.broker import Broker, broker, jars, ready
from deploy.broker.jars import Distribution, NoJvmBrokerError
from deploy.broker.ports import free_ports
from deploy.fetching import CHECKOUT
from tests.support.topics import create_topic
from worker.errors import BrokerUnreachableError

SECONDS = 30


@pytest.fixture
def jvm(monkeypatch: pytest.MonkeyPatch) -> Distribution:
    """What the local JVM broker is started from; nothing else is to be found."""
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    try:
        return jars.obtain()
    except NoJvmBrokerError as error:
        pytest.skip(f"the JVM broker cannot be used here, so another is: {error}")


def make(kafka: Broker, name: str, *, replicas: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    create_topic(admin, NewTopic(name, num_partitions=1, replication_factor=replicas))


def send(producer: Producer, topic: str, *values: bytes) -> None:
    refused: list[object] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: refused.append(error) if error else None)
    assert producer.flush(SECONDS) == 0
    assert refused == []


def read_committed(kafka: Broker, topic: str) -> list[bytes]:
    """Everything that a read_committed reader sees of partition 0, from beginning to end."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": f"{topic}-reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    try:
        while (message := consumer.poll(SECONDS)) and not message.error():
            values.append(message.value())
    finally:
        consumer.close()
    assert message is not None, "the end of the partition was not reached"
    return values


def leader_of(kafka: Broker, topic: str) -> int:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    return admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions[0].leader


def in_sync(kafka: Broker, topic: str) -> set[int]:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    return set(admin.list_topics(topic, timeout=SECONDS).topics[topic].partitions[0].isrs)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds


def test_one_node_takes_records_and_transactions(kafka: Broker, unique: str) -> None:
    make(kafka, unique)

    send(Producer({"bootstrap.servers": kafka.bootstrap_servers}), unique, b"plain")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": unique})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    send(producer, unique, b"aborted")
    producer.abort_transaction(SECONDS)
    producer.begin_transaction()
    send(producer, unique, b"committed")
    producer.commit_transaction(SECONDS)

    assert read_committed(kafka, unique) == [b"plain", b"committed"]


def test_topics_are_not_made_by_accident(kafka: Broker, unique: str) -> None:
    if kafka.kind == "environment":
        pytest.skip("how the environment's broker is set up is not ours to say")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "topic.metadata.propagation.max.ms": 0})
    errors: list[str] = []

    producer.produce(unique, b"lost", on_delivery=lambda error, _: errors.append(error.name()))
    producer.flush(SECONDS)

    assert errors == ["UNKNOWN_TOPIC_OR_PART"]


def test_two_of_three_nodes_still_take_records_from_all_in_sync_replicas(unique: str) -> None:
    with broker(nodes=3) as kafka:
        # Given a partition with a replica on each of three nodes
        assert kafka.nodes == (1, 2, 3)
        make(kafka, unique, replicas=3)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
        send(producer, unique, b"before")
        lost = leader_of(kafka, unique)

        # When the node that leads it is killed
        kafka.stop_node(lost, kill=True)

        # Then another leads, and nothing is missing
        send(producer, unique, b"while")
        assert leader_of(kafka, unique) != lost
        # And the node catches up when it is back
        kafka.start_node(lost)
        assert eventually(lambda: in_sync(kafka, unique) == {1, 2, 3})
        assert read_committed(kafka, unique) == [b"before", b"while"]


def processes_that_mention(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended in between
    return found


@contextmanager
def foreground_broker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m deploy.broker` with its temporary files in `folder`; gives it when it answers."""
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.broker"], cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("127.0.0.1:")
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_the_parent_ends(jvm: Distribution, tmp_path: Path, number: signal.Signals) -> None:
    del jvm
    with foreground_broker(tmp_path) as parent:
        # Given a broker with a process and a folder
        assert processes_that_mention(str(tmp_path))
        assert len(list(tmp_path.iterdir())) == 1

        # When its parent is killed, or gets Ctrl-C
        parent.send_signal(number)
        code = parent.wait(SECONDS)

        # Then both are gone
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        assert eventually(lambda: not processes_that_mention(str(tmp_path)))
        assert eventually(lambda: not list(tmp_path.iterdir()))


def test_the_second_start_needs_no_maven(jvm: Distribution, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(Path(jvm.java).resolve().parents[1]))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert jars.obtain().classpath == jvm.classpath

    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    with pytest.raises(NoJvmBrokerError, match="Maven"):
        jars.obtain()


def test_who_comes_second_waits_for_the_first_to_fill_the_cache(
    jvm: Distribution, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched: list[Path] = []

    def fetch(folder: Path, _cache: Path) -> None:  # the same jars, but not over the network
        fetched.append(folder)
        shutil.copytree(Path(jvm.classpath).parent, folder)

    monkeypatch.setattr(jars, "_fetch", fetch)
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    obtained: list[Distribution] = []
    threads = [threading.Thread(target=lambda: obtained.append(jars.obtain())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert len(fetched) == 1
    assert len(obtained) == 3
    assert all(each.bootstrap.read_bytes() and Path(each.classpath).parent.is_dir() for each in obtained)


def test_without_java_it_says_what_to_install(jvm: Distribution, monkeypatch: pytest.MonkeyPatch) -> None:
    del jvm
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(BrokerUnreachableError, match="Install Java 17 or newer and Maven, or start Docker"), broker():
        pass


def test_the_brokers_of_the_environment_are_used_and_not_stopped(
    kafka: Broker, unique: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)

    with broker() as found:
        assert (found.kind, found.bootstrap_servers) == ("environment", kafka.bootstrap_servers)
        with pytest.raises(RuntimeError, match="belongs to somebody else"):
            found.stop_node(found.nodes[0])

    assert "KAFKA_BOOTSTRAP_SERVERS" in capfd.readouterr().err
    make(kafka, unique)  # it still answers


def test_an_environment_without_a_broker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", address)
    monkeypatch.setattr(ready, "ENVIRONMENT_SECONDS", 1.0)

    with pytest.raises(BrokerUnreachableError, match=f"KAFKA_BOOTSTRAP_SERVERS is {address}"), broker():
        pass


def test_a_node_that_cannot_start_shows_its_log(jvm: Distribution) -> None:
    del jvm
    with pytest.raises(BrokerUnreachableError, match=r"(?s)ended while it started.*num.io.threads"):  # noqa: SIM117
        with broker(properties={"num.io.threads": "none"}):
            pass
