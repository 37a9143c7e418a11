"""Which series there are: what a worker and a follower serve, and what Prometheus adds."""

from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from worker.observe.metrics import FollowerMetrics, WorkerMetrics, new_registry

TARGET: Final = frozenset({"job", "instance"})  # labels that a scrape adds


def registries() -> list[CollectorRegistry]:
    """Make the registries of a worker and of a follower, each with a value in every metric."""
    made = []
    for kind in (WorkerMetrics, FollowerMetrics):
        registry = new_registry()
        kind(registry)
        for metric in list(registry._collector_to_names):
            if isinstance(metric, MetricWrapperBase):
                _move(metric)
        made.append(registry)
    return made


def _move(metric: MetricWrapperBase) -> None:
    child: Any = metric.labels(*("1" for _ in metric._labelnames)) if metric._labelnames else metric
    if metric._type == "histogram":
        child.observe(1)
    elif metric._type != "info":
        child.inc()


def served() -> dict[str, frozenset[str]]:
    """Give the labels of every series that a worker or a follower serves, by name."""
    found: dict[str, set[str]] = {}
    for registry in registries():
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return {name: frozenset(labels) for name, labels in found.items()}


def scraped() -> dict[str, frozenset[str]]:
    """Give the labels of every series that Prometheus has of headrace, without recorded ones."""
    return {name: labels | TARGET for name, labels in {**served(), "up": frozenset()}.items()}
