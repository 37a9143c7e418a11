"""A topic that may be seen and not read: whoever reads it says so, instead of waiting for records that never come."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from deploy.broker import Broker, broker
from tests.support.patience import SECONDS
from tests.support.recorded import config, make, produce, record
from tests.support.recordings import START, files
from worker.errors import ConfigurationError
from worker.stream.client import reader_settings
from worker.stream.span import Span
from worker.stream.tail import Tail
from worker.stream.topic_range import TopicRange

AUTHORIZING = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",  # of everything but the topics that a test denies
}
REFUSED = "Kafka refuses access to topic {}: .*authorization failed; `headrace doctor` lists what is needed"


@pytest.fixture(scope="module")
def authorizing() -> Iterator[Broker]:
    with broker(properties=AUTHORIZING) as kafka:
        yield kafka


@pytest.fixture
def denied(authorizing: Broker, unique: str) -> str:
    """Give a topic with ten records that anybody may describe, and nobody may read."""
    admin = make(authorizing, unique, 1, **{"retention.ms": "-1"})
    produce(authorizing, unique, ({"value": b"%d" % n, "timestamp": START + n} for n in range(10)))
    rule(admin, unique, AclOperation.DESCRIBE, AclPermissionType.ALLOW)
    rule(admin, unique, AclOperation.READ, AclPermissionType.DENY)
    return unique


def rule(admin: AdminClient, topic: str, operation: AclOperation, permission: AclPermissionType) -> None:
    binding = AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", operation, permission)
    for made in admin.create_acls([binding], request_timeout=SECONDS).values():
        made.result()


def test_a_replay_from_a_topic_that_may_not_be_read_says_so(authorizing: Broker, denied: str) -> None:
    source = TopicRange(config(authorizing, denied), denied)
    assert source.ranges == {0: (0, 10)}
    with pytest.raises(ConfigurationError, match=REFUSED.format(denied)):
        list(source.partition(0))


def test_a_recording_of_it_says_so_and_writes_no_file(authorizing: Broker, denied: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=REFUSED.format(denied)):
        record(authorizing, denied, tmp_path)
    assert [Path(name).name for name in files(tmp_path)] == ["_recording.json"]


def test_a_model_topic_and_times_that_may_not_be_read_say_so(authorizing: Broker, denied: str) -> None:
    settings = config(authorizing, denied)
    refused = pytest.raises(ConfigurationError, match=REFUSED.format(denied))
    with Tail(reader_settings(settings.kafka), denied, 0) as tail, refused:
        list(tail.messages(0))
    with Span(settings, denied) as span, refused:
        span.times({0: (0, 10)})
