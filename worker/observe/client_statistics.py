"""librdkafka's statistics, as far as they matter: one JSON text becomes one value.

Field names and units: STATISTICS.md of librdkafka (latencies are in microseconds).
"""

import json
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClientStatistics:
    """What one client told at one moment."""

    client: str  # unique in its process
    kind: str  # consumer or producer
    round_trip_seconds: float  # 99th percentile of the last interval, of the slowest broker
    fetch_queue_messages: int
    fetch_queue_bytes: int
    transmit_retries: int  # these three over the client's life
    connects: int
    disconnects: int

    @property
    def totals(self) -> tuple[int, int, int]:
        """Give the numbers that only rise: retries, connects, disconnects."""
        return self.transmit_retries, self.connects, self.disconnects


def parse(json_text: str) -> ClientStatistics:
    """Read the text that `stats_cb` is given. A field that a version of librdkafka lacks counts as zero."""
    told = json.loads(json_text)
    brokers = list(told.get("brokers", {}).values())
    partitions = [
        partition
        for topic in told.get("topics", {}).values()
        for number, partition in topic.get("partitions", {}).items()
        if number != "-1"  # librdkafka's own, for records without a partition yet
    ]
    return ClientStatistics(
        client=told.get("name", ""),
        kind=told.get("type", "unknown"),
        round_trip_seconds=max((broker.get("rtt", {}).get("p99", 0) for broker in brokers), default=0) / 1e6,
        fetch_queue_messages=sum(partition.get("fetchq_cnt", 0) for partition in partitions),
        fetch_queue_bytes=sum(partition.get("fetchq_size", 0) for partition in partitions),
        transmit_retries=sum(broker.get("txretries", 0) for broker in brokers),
        connects=sum(broker.get("connects", 0) for broker in brokers),
        disconnects=sum(broker.get("disconnects", 0) for broker in brokers),
    )
