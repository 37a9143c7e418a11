"""The settings of a broker: those that every node gets, wherever it runs."""

from collections.abc import Mapping


def common(nodes: int, overrides: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the settings shared by all nodes of a cluster of `nodes`, overrides last.

    They make a small broker that reacts quickly: nothing waits for a second member, dead members and transactions are
    noticed soon, internal topics are few. What decides correctness is left as Kafka has it.
    """
    replicas = min(nodes, 3)
    in_sync = max(1, replicas - 1)
    settings = {
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        # Topics are made on purpose, with the settings that they need.
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync),
        # Groups, classic and KIP-848: quick to begin, quick to miss a member.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "group.consumer.session.timeout.ms": "6000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.heartbeat.interval.ms": "500",
        "group.consumer.min.heartbeat.interval.ms": "100",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        # Transactions: those of a dead producer are aborted soon after their own timeout.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync),
        # A node that starts is let in with a heartbeat: not only every 2 s.
        "broker.heartbeat.interval.ms": "250",
        # Small: a few clients, a few partitions, a machine that has other work to do.
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "1",
        "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),
    }
    if nodes > 1:
        # A killed node is fenced, and its partitions led by others, after this instead of 9 s.
        settings["broker.session.timeout.ms"] = "4000"
    return settings | dict(overrides or {})


def voters(controllers: Mapping[int, str]) -> str:
    """Write the static quorum: node id to "host:port" of its controller listener."""
    return ",".join(f"{node}@{address}" for node, address in sorted(controllers.items()))


def render(settings: Mapping[str, str]) -> str:
    """Write settings as the text of a server.properties file."""
    return "".join(f"{name}={value}\n" for name, value in sorted(settings.items()))


def as_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Write settings as the variables that the apache/kafka image reads: KAFKA_, dots as `_`."""
    return {"KAFKA_" + name.replace("_", "__").replace(".", "_").upper(): value for name, value in settings.items()}
