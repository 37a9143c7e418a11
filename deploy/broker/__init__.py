"""A real Kafka broker with no effort, for tests, demo and benchmarks.

>>> from deploy.broker import broker
>>> with broker(nodes=3) as kafka:  # doctest: +SKIP
...     print(kafka.description, kafka.bootstrap_servers)
...     kafka.stop_node(2, kill=True)

The order in which one is found: `KAFKA_BOOTSTRAP_SERVERS`, Docker, a local JVM. See `launch`.
"""

from deploy.broker.handle import Broker, Kind
from deploy.broker.launch import broker

__all__ = ["Broker", "Kind", "broker"]
