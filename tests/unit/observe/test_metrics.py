import json
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from worker import __version__
from worker.observe.metrics import FollowerMetrics, WorkerMetrics, new_registry


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return WorkerMetrics(registry)


def statistics(name="headrace#consumer-1", kind="consumer", retries=1, connects=2, disconnects=0):
    brokers = {
        "b1": {"rtt": {"p99": 2_500}, "txretries": retries, "connects": connects, "disconnects": disconnects},
        "b2": {"rtt": {"p99": 1_000}, "txretries": 0, "connects": 0, "disconnects": 0},
    }
    partitions = {
        "0": {"fetchq_cnt": 5, "fetchq_size": 500},
        "1": {"fetchq_cnt": 1, "fetchq_size": 100},
        "-1": {"fetchq_cnt": 9, "fetchq_size": 9},
    }
    return json.dumps({"name": name, "type": kind, "brokers": brokers, "topics": {"t": {"partitions": partitions}}})


@pytest.mark.usefixtures("metrics")
def test_names_are_prefixed_and_carry_base_units(registry):
    for family in registry.collect():
        assert family.name.startswith("headrace_")
        assert not re.search(r"_(ms|millis|kb|mb|minutes|percent)(_|$)", family.name)
        assert family.documentation


def test_labels_come_from_a_closed_list(registry, metrics):
    metrics.rejected.labels("0", "not_json").inc()
    for family in registry.collect():
        for sample in family.samples:
            if family.name != "headrace_build":
                assert set(sample.labels) <= {
                    "shard", "peer", "reason", "stage", "outcome", "kind", "direction", "le",
                    "detector", "field", "value",
                }  # fmt: skip


@pytest.mark.usefixtures("metrics")
def test_series_that_alerts_watch_exist_from_the_start(registry):
    assert registry.get_sample_value("headrace_commits_total", {"outcome": "aborted"}) == 0
    assert registry.get_sample_value("headrace_rebalances_total", {"kind": "lost"}) == 0
    assert registry.get_sample_value("headrace_transactions_aborted_total") == 0


def test_a_shard_that_is_given_up_takes_its_gauges_but_not_its_counters(registry, metrics):
    for shard in ("0", "1"):
        metrics.events.labels(shard).inc(7)
        metrics.snapshot_version.labels(shard).set(3)
        metrics.table_bytes.labels(shard).set(3)
        metrics.merge_distance.labels(shard).set(0.5)
    metrics.forget_shard(1)
    assert registry.get_sample_value("headrace_snapshot_version", {"shard": "1"}) is None
    assert registry.get_sample_value("headrace_table_bytes", {"shard": "1"}) is None
    assert registry.get_sample_value("headrace_merge_distance", {"shard": "1"}) is None
    assert registry.get_sample_value("headrace_snapshot_version", {"shard": "0"}) == 3
    assert registry.get_sample_value("headrace_events_total", {"shard": "1"}) == 7
    metrics.forget_shard(99)  # one that was never shown is no error


def test_client_statistics_become_gauges_and_increments(registry, metrics):
    def value(name):
        return registry.get_sample_value(f"headrace_client_{name}", {"kind": "consumer"})

    metrics.observe_client_statistics(statistics())
    assert value("round_trip_seconds") == 0.0025
    assert value("fetch_queue_messages") == 6
    assert value("fetch_queue_bytes") == 600
    assert (value("transmit_retries_total"), value("connects_total")) == (1, 2)
    # Totals are not added up twice ...
    metrics.observe_client_statistics(statistics(retries=4, connects=2))
    assert (value("transmit_retries_total"), value("connects_total")) == (4, 2)
    # ... and go on rising when a client is made anew.
    metrics.observe_client_statistics(statistics(name="headrace#consumer-2", retries=1, connects=1))
    assert (value("transmit_retries_total"), value("connects_total")) == (5, 3)


def test_statistics_that_lack_fields_are_no_error(registry, metrics):
    metrics.observe_client_statistics('{"name": "n", "type": "producer", "brokers": {"b": {}}, "topics": {"t": {}}}')
    assert registry.get_sample_value("headrace_client_connects_total", {"kind": "producer"}) == 0


@pytest.mark.usefixtures("metrics")
def test_build_info_tells_versions(registry):
    info = next(family for family in registry.collect() if family.name == "headrace_build")
    assert info.samples[0].labels["version"] == __version__
    assert info.samples[0].labels["confluent_kafka"] != "unknown"


def test_a_process_shows_its_memory_and_one_series_per_counter():
    registry = new_registry()
    FollowerMetrics(registry)
    text = generate_latest(registry).decode()
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text
