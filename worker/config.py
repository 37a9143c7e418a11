"""The configuration: what is learned (`learning`), and how a worker does it.

Every setting has its type, its default and its unit.
"""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from worker.learning import Learning
from worker.section import Name, Section

Handed = dict[str, str | int | float | bool | SecretStr]  # to librdkafka


class Kafka(Section):
    """How to reach Kafka. The three tables are handed to librdkafka, less what a guarantee hangs on."""

    bootstrap_servers: str = Field("localhost:9092", description="host:port of some brokers, separated by commas")
    group: Name = Field("headrace", description="the consumer group; it owns the model")
    group_protocol: Literal["classic", "consumer"] = Field("classic", description="consumer is the one of KIP-848")
    assignor: Literal["range", "cooperative-sticky"] = Field(
        "cooperative-sticky", description="by the protocol of KIP-848 this one is called uniform"
    )
    instance_id: str | None = Field(None, min_length=1, description="static membership: a stable name for this replica")
    session_timeout_seconds: float = Field(
        20, gt=0, description="how long a silent worker keeps its shards; classic protocol only"
    )
    transaction_timeout_seconds: float = Field(10, gt=0, description="bounds how long a takeover waits")
    client: Handed = Field({}, description="settings of librdkafka for every client, by their own names")
    consumer: Handed = Field({}, description="those of consumers")
    producer: Handed = Field({}, description="those of producers")


class Commit(Section):
    """When a commit is due: whichever comes first."""

    interval_seconds: float = Field(1.0, gt=0, description="from one to the next")
    max_events: int = Field(1_000_000, gt=0, description="read since the last one")


class Snapshots(Section):
    """How much of the model topic is kept."""

    keep_bases: int = Field(
        2,
        ge=1,
        description="complete bases kept; what lies before the oldest is trimmed. With one only, a restart may not "
        "find what a shard knew of the others, and goes on with what they have added by now",
    )
    base_part_bytes: int = Field(33_554_432, ge=65_536, description="the most of a base that one commit carries")
    base_after_bytes: int = Field(
        33_554_432,
        ge=0,
        description="so much is published of a shard, and twice as much as a base takes, before another base begins: "
        "what a restore reads beside a base, a fraction of a second",
    )


class DeadLetter(Section):
    """Where bad records go, with their original bytes."""

    topic: Name = Field("interactions.rejected", description="the dead-letter topic")


class Run(Section):
    """The life of a worker process."""

    poll_events: int = Field(10_000, ge=1, le=1_000_000, description="the most of one poll; it changes no bit")
    shutdown_seconds: float = Field(20, gt=0, description="from SIGTERM to the end, the last commit included")
    stall_seconds: float = Field(120, gt=0, description="without a turn of the loop: stacks are dumped, exit 6")


class Metrics(Section):
    """The port of the status page, /metrics, /healthz and /readyz; 0 picks a free one."""

    host: str = Field("127.0.0.1", description="0.0.0.0 lets other machines in")
    port: int = Field(
        9464, ge=0, le=65_535, description="of the status page (/), /metrics, /healthz and /readyz; 0 picks a free one"
    )


class Log(Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")
    format: Literal["text", "json"] = Field("text", description="json is one object a line")


class Config(Learning):
    """The whole configuration of a worker."""

    kafka: Kafka = Kafka()
    commit: Commit = Commit()
    snapshots: Snapshots = Snapshots()
    dead_letter: DeadLetter = DeadLetter()
    run: Run = Run()
    metrics: Metrics = Metrics()
    log: Log = Log()

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        if len({self.events.topic, self.model.topic, self.dead_letter.topic}) < 3:
            raise ValueError("events.topic, model.topic and dead_letter.topic must be three different topics")
        return self

    @property
    def learning(self) -> Learning:
        """Give the part that decides the bits."""
        return Learning(events=self.events, features=self.features, model=self.model, quality=self.quality)
