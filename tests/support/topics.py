"""Topics that are there once they are made: the controller says so before every broker tells of them."""

from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.patience import SECONDS, await_


def create_topic(admin: AdminClient, topic: NewTopic) -> None:
    """Make a topic, and wait until a client that asks for all topics is told of it."""
    admin.create_topics([topic])[topic.topic].result(SECONDS)
    await_(f"topic {topic.topic} to be told of", lambda: topic.topic in admin.list_topics(timeout=SECONDS).topics)
