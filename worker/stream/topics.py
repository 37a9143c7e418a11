"""What the three topics must look like, whether they do, and how they come to.

`check` looks and tells, `require` refuses to start, `create` makes and mends. What is right is decided by `judge`
alone, from what `look` saw.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, ResourceType

from worker.config import Config
from worker.errors import BrokerUnreachableError, ConfigurationError, HeadraceError, IncompatibleDataError

TIMEOUT_SECONDS: Final = 15.0  # for one administrative request: an answer takes milliseconds, an election seconds
SETTLE_SECONDS: Final = 5.0  # in which brokers tell what the controller has done; it takes them some milliseconds
_AGAIN_SECONDS = 0.05

# The worker itself trims what no kept snapshot needs: a quiet shard must not lose its model to time or compaction.
MODEL_SETTINGS: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
DEAD_LETTER_SETTINGS: Final = {"cleanup.policy": "delete"}  # compaction would drop bad records, and refuse keyless ones
DEAD_LETTER_OVERHEAD_BYTES: Final = 65_536  # the headers that tell where a bad record came from, and why it was bad

CREATE: Final = "headrace topics create"
MEND: Final = "headrace topics create --mend"


@dataclass(frozen=True, kw_only=True)
class Topics:
    """What the worker must know of its topics. The limits are those of whole batches, framing and headers included."""

    partitions: int
    model_record_limit_bytes: int
    dead_letter_limit_bytes: int


Kind = Literal["absent", "forbidden", "incompatible", "unreachable", "other"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: what it is, what was found, and of what kind a failure is."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    message: str
    action: str = ""  # what to do, where something is to be done
    kind: Kind = "other"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A topic as the broker describes it to us."""

    name: str
    partitions: int = 0  # 0: it does not exist, or may not be described
    forbidden: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)  # none: they may not be read
    operations: frozenset[AclOperation] | None = None  # what we may do; None where the broker does not say

    def limit_bytes(self) -> int:
        """Give the largest batch that the topic takes."""
        return int(self.settings["max.message.bytes"])


@dataclass(frozen=True, kw_only=True)
class View:
    """The three topics as they are."""

    events: Seen
    model: Seen
    dead_letter: Seen


def check(admin: AdminClient, config: Config) -> list[Finding]:
    """Look at the topics and tell what is right and what is not, each with what to do.

    Raises:
        BrokerUnreachableError: where no broker answers.
    """
    return judge(look(admin, config))


def require(admin: AdminClient, config: Config) -> Topics:
    """Make sure that the topics are as a worker needs them.

    Raises:
        IncompatibleDataError: where what is there does not fit; nothing was changed.
        ConfigurationError: where something is missing or not permitted.
        BrokerUnreachableError: where no broker answers.
    """
    view = look(admin, config)
    failed = [finding for finding in judge(view) if finding.level == "fail"]
    if failed:
        lines = [f"{finding.subject}: {finding.message}; {finding.action}" for finding in failed]
        kind = (
            IncompatibleDataError if any(finding.kind == "incompatible" for finding in failed) else ConfigurationError
        )
        raise kind("\n".join(lines))
    return Topics(
        partitions=view.events.partitions,
        model_record_limit_bytes=view.model.limit_bytes(),
        dead_letter_limit_bytes=view.dead_letter.limit_bytes(),
    )


def look(admin: AdminClient, config: Config) -> View:
    """Ask the broker about the three topics, which creates none of them."""
    seen = describe(admin, [config.events.topic, config.model.topic, config.dead_letter.topic])
    return View(
        events=seen[config.events.topic], model=seen[config.model.topic], dead_letter=seen[config.dead_letter.topic]
    )


def judge(view: View) -> list[Finding]:
    """Hold what was seen against what a worker needs."""
    return [*_judge_events(view.events), *_judge_model(view), *_judge_dead_letter(view)]


def _judge_events(events: Seen) -> list[Finding]:
    found = _reach(events, "event", f"`{CREATE} --partitions N` makes it") + _permitted(events, AclOperation.READ)
    if "compact" in events.settings.get("cleanup.policy", ""):
        found.append(
            Finding(
                level="warn",
                subject=events.name,
                message="is compacted: of the events with one key all but the last vanish",
                action="set cleanup.policy=delete on it, unless that is meant",
            )
        )
    return found or [_fine(events)]


def _judge_model(view: View) -> list[Finding]:
    model, wanted = view.model, view.events.partitions
    found = _reach(model, "model", f"`{CREATE}` makes it")
    if wanted and model.partitions and model.partitions != wanted:
        action = (
            f"`{MEND}` adds the missing ones; keys that moved with the new partitions are learned anew there"
            if model.partitions < wanted
            else f"name another model.topic, and `{CREATE}` makes it: its shards are learned anew from the events"
        )
        message = f"has {model.partitions} partitions, the event topic {wanted}: a shard writes to its own number"
        found.append(Finding(level="fail", subject=model.name, message=message, action=action, kind="incompatible"))
    found += _settled(model, MODEL_SETTINGS, "a model would be lost in time")
    found += _permitted(model, AclOperation.READ, AclOperation.WRITE)
    if not found and model.operations is not None and not _may(model, AclOperation.DELETE):
        message = "old snapshots cannot be trimmed, so it grows without end"
        action = f"grant Delete on topic {model.name}"
        found.append(Finding(level="warn", subject=model.name, message=message, action=action))
    return found or [_fine(model)]


def _judge_dead_letter(view: View) -> list[Finding]:
    topic, events = view.dead_letter, view.events
    found = _reach(topic, "dead-letter", f"`{CREATE}` makes it")
    found += _settled(topic, DEAD_LETTER_SETTINGS, "bad records would be lost")
    if topic.settings and events.settings and topic.limit_bytes() < dead_letter_limit_bytes(events):
        found.append(
            Finding(
                level="fail",
                subject=topic.name,
                message=f"max.message.bytes is {topic.limit_bytes()} and must be {dead_letter_limit_bytes(events)} at "
                "least: the event topic's, and 64 KiB for the reason",
                action=f"`{MEND}` sets it",
                kind="incompatible",
            )
        )
    found += _permitted(topic, AclOperation.WRITE)
    return found or [_fine(topic)]


def dead_letter_limit_bytes(events: Seen) -> int:
    """Give the least that the dead-letter topic must take, so that every event fits with the reason it was bad."""
    return events.limit_bytes() + DEAD_LETTER_OVERHEAD_BYTES


def _reach(topic: Seen, role: str, how: str) -> list[Finding]:
    """Tell whether a topic and its settings can be seen at all."""
    kind: Kind = "forbidden"
    if topic.forbidden:
        message, action = f"the {role} topic may not be described", f"grant Describe on topic {topic.name}"
    elif not topic.partitions:
        kind, message, action = "absent", f"the {role} topic does not exist", how
    elif not topic.settings:
        message, action = "its settings may not be read", f"grant DescribeConfigs on topic {topic.name}"
    else:
        return []
    return [Finding(level="fail", kind=kind, subject=topic.name, message=message, action=action)]


def _settled(topic: Seen, wanted: Mapping[str, str], otherwise: str) -> list[Finding]:
    return [
        Finding(
            level="fail",
            subject=topic.name,
            message=f"{name} is {topic.settings[name]!r} and must be {value!r}: {otherwise}",
            action=f"`{MEND}` sets it",
            kind="incompatible",
        )
        for name, value in _deviating(topic, wanted).items()
    ]


def _deviating(topic: Seen, wanted: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in wanted.items() if topic.settings.get(name, value) != value}


def _permitted(topic: Seen, *needed: AclOperation) -> list[Finding]:
    return [
        Finding(
            level="fail",
            kind="forbidden",
            subject=topic.name,
            message=f"{operation.name.title()} is not permitted",
            action=f"grant {operation.name.title()} on topic {topic.name}",
        )
        for operation in needed
        if topic.operations is not None and not _may(topic, operation)
    ]


def _may(topic: Seen, operation: AclOperation) -> bool:
    return topic.operations is None or operation in topic.operations or AclOperation.ALL in topic.operations


def _fine(topic: Seen) -> Finding:
    count = f"{topic.partitions} partition{'s' if topic.partitions > 1 else ''}"
    message = f"{count}, records up to {topic.limit_bytes()} bytes"
    return Finding(level="ok", subject=topic.name, message=message)


def describe(admin: AdminClient, names: list[str]) -> dict[str, Seen]:
    """Ask the broker about topics by their names, which creates none of them."""
    described = admin.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=TIMEOUT_SECONDS
    )
    seen: dict[str, Seen] = {}
    for name in names:
        try:
            topic = described[name].result()
        except KafkaException as error:
            code = error.args[0].name()
            if code not in ("UNKNOWN_TOPIC_OR_PART", "TOPIC_AUTHORIZATION_FAILED"):
                raise refused(error, f"topic {name} cannot be described") from error
            seen[name] = Seen(name=name, forbidden=code == "TOPIC_AUTHORIZATION_FAILED")
        else:
            operations = topic.authorized_operations
            seen[name] = Seen(
                name=name,
                partitions=len(topic.partitions),
                settings=_settings(admin, name),
                operations=None if operations is None else frozenset(operations),
            )
    return seen


def _settings(admin: AdminClient, name: str) -> dict[str, str]:
    resource, deadline = ConfigResource(ResourceType.TOPIC, name), time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            entries = admin.describe_configs([resource], request_timeout=TIMEOUT_SECONDS)[resource].result()
            break
        except KafkaException as error:
            reason = error.args[0].name()
            if reason == "TOPIC_AUTHORIZATION_FAILED":
                return {}
            # Another broker may answer than the one that told of the topic, and hear of it a bit later.
            if reason != "UNKNOWN_TOPIC_OR_PART" or time.monotonic() > deadline:
                raise refused(error, f"the settings of topic {name} cannot be read") from error
            time.sleep(_AGAIN_SECONDS)
    return {entry.name: entry.value for entry in entries.values() if entry.value is not None}


def refused(error: KafkaException, what: str) -> HeadraceError:
    """Put a broker's refusal into our words: what was tried, why it failed, and what to do."""
    reason = error.args[0]
    told = f"{what}: {reason.str()}"
    if reason.name().endswith("_AUTHORIZATION_FAILED"):
        return ConfigurationError(f"{told}; ask whoever runs the cluster for the permission, see `headrace doctor`")
    if reason.retriable() or reason.name() in ("_TIMED_OUT", "_TRANSPORT", "REQUEST_TIMED_OUT"):
        return BrokerUnreachableError(f"{told}; try again, see `headrace doctor`")
    return ConfigurationError(told)
