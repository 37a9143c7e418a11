"""Trimming the model topic: what lies before the oldest kept base is deleted, by the worker and never by time."""

import logging

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

_LOG = logging.getLogger(__name__)


class Trimmer:
    """Deletes records of the model topic. It waits for nothing: a trim that fails is made up for by the next."""

    def __init__(self, admin: AdminClient, topic: str) -> None:
        self._admin, self._topic = admin, topic

    def trim(self, shard: int, before_offset: int) -> None:
        """Delete what lies before an offset of a shard's partition."""
        place = TopicPartition(self._topic, shard, before_offset)
        for future in self._admin.delete_records([place]).values():
            future.add_done_callback(lambda done: self._note(shard, before_offset, done.exception()))

    @staticmethod
    def _note(shard: int, before_offset: int, error: BaseException | None) -> None:
        if error is None:
            _LOG.debug("shard %d: trimmed before offset %d", shard, before_offset, extra={"action": "trim"})
            return
        reason = error.args[0].str() if isinstance(error, KafkaException) else error
        _LOG.warning(
            "shard %d: trimming before offset %d failed, the topic grows until the next base: %s",
            shard, before_offset, reason, extra={"action": "trim"},
        )  # fmt: skip
