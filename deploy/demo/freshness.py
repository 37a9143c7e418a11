"""How long an event takes from its production to a version that is served and has learned it."""

import threading
import time
from collections import defaultdict

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition
from numpy.typing import NDArray

from worker.config import Config
from worker.snapshot.manifest import Manifest
from worker.stream.client import reader_settings


class Freshness:
    """Notes when each version was served; afterwards each event's production time is held against it."""

    def __init__(self) -> None:
        self.versions = 0
        self.delta_bytes = 0
        self._served: dict[int, list[tuple[int, float]]] = defaultdict(list)  # shard -> (next offset, when)
        self._latest: dict[int, Manifest] = {}
        self._changed = threading.Condition()

    @property
    def events(self) -> int:
        """Events learned by the versions that are served."""
        return sum(manifest.state.events for manifest in list(self._latest.values()))

    @property
    def rejected(self) -> int:
        """Records that those versions rejected."""
        return sum(sum(manifest.state.rejected.values()) for manifest in list(self._latest.values()))

    def note(self, manifest: Manifest) -> None:
        """Note that a version is served from now on."""
        with self._changed:
            self.versions += 1
            self.delta_bytes += manifest.delta_bytes
            self._served[manifest.shard].append((manifest.input.next_offset, time.time() * 1_000))
            self._latest[manifest.shard] = manifest
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for the next version, no longer than that."""
        with self._changed:
            self._changed.wait(seconds)

    def seconds(self, config: Config, since: float) -> NDArray[np.float64]:
        """Read the event topic once more, and give for each event how long it took to be served.

        Only events produced `since` count (seconds since 1970): before the follower was up nothing could be served.
        """
        waits: list[NDArray[np.float64]] = []
        for shard, served in self._served.items():
            offsets, produced = _timestamps(config, shard)
            ends, moments = (np.array(column) for column in zip(*served, strict=True))
            first = np.searchsorted(ends, offsets, side="right")  # the first version whose next offset is past it
            known = (first < len(ends)) & (produced >= since * 1_000)
            waits.append((moments[first[known]] - produced[known]) / 1_000)
        return np.concatenate(waits)


def _timestamps(config: Config, shard: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    consumer = Consumer(reader_settings(config.kafka))
    offsets, times = [], []
    try:
        consumer.assign([TopicPartition(config.events.topic, shard, 0)])
        while True:
            for message in consumer.consume(10_000, 1.0):
                error = message.error()
                if error is None:
                    offsets.append(message.offset())
                    times.append(message.timestamp()[1])
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public constant
                    return np.array(offsets), np.array(times)
    finally:
        consumer.close()
