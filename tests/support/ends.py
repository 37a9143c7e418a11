"""Open transactions, as a reader can tell them."""

from typing import Self

from confluent_kafka import Consumer, TopicPartition

from tests.support.stage import Stage
from worker.errors import BrokerUnreachableError
from worker.stream.client import reader_settings
from worker.stream.tail import Tail

_SETTLE_SECONDS = 0.5


class Ends:
    """Whether a transaction is open on the model topic: then its end lies past what is committed."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._places = [TopicPartition(stage.config.model.topic, shard) for shard in range(stage.partitions)]
        self._consumers = [
            Consumer(
                {
                    "bootstrap.servers": stage.config.kafka.bootstrap_servers,
                    "group.id": "ends",
                    "isolation.level": level,
                }
            )
            for level in ("read_committed", "read_uncommitted")
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for consumer in self._consumers:
            consumer.close()

    def open(self) -> set[int]:
        """Give the shards that an open transaction has written to."""
        committed, written = (
            [consumer.get_watermark_offsets(place, timeout=30)[1] for place in self._places]
            for consumer in self._consumers
        )
        return {shard for shard in range(len(self._places)) if committed[shard] != written[shard]}

    def settled(self) -> bool:
        """Tell that no transaction is open: not on the model topic, and not on the group's offsets."""
        return not self.open() and all(self._offset_is_settled(shard) for shard in range(len(self._places)))

    def _offset_is_settled(self, shard: int) -> bool:
        config = self._stage.config
        with Tail(reader_settings(config.kafka), config.model.topic, shard) as tail:
            try:
                tail.group_offset(config.events.topic, _SETTLE_SECONDS)
            except BrokerUnreachableError:
                return False
        return True
