"""The demo's topics: made before, gone after."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.config import Config
from worker.stream import client, provision


@contextmanager
def demo_topics(config: Config, partitions: int, *, outlives: bool) -> Iterator[None]:
    """Make the three topics; a cluster that outlives the demo gets rid of them afterwards."""
    admin = client.administer(config)
    provision.create(admin, config, partitions=partitions)
    try:
        yield
    finally:
        if outlives:
            _remove(admin, config)


def _remove(admin: AdminClient, config: Config) -> None:
    topics = [config.events.topic, config.model.topic, config.dead_letter.topic]
    for future in [
        *admin.delete_topics(topics).values(),
        *admin.delete_consumer_groups([config.kafka.group]).values(),
    ]:
        try:
            future.result(10)
        except KafkaException as error:
            print(f"demo: could not clean up: {error.args[0].str()}")
