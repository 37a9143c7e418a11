"""Every metric, by name: the only place where one is made.

Base units, as Prometheus asks. Labels have few values: `shard`, and words from a closed list. A shard that this worker
gives up takes its gauges with it; its counters stay, because a sum over workers must not fall.
"""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.metrics import disable_created_metrics

from worker.observe.build import versions
from worker.observe.client_statistics import ClientStatistics, parse

OUTCOMES: Final = ("committed", "aborted", "fenced")  # of a commit
REBALANCES: Final = ("assigned", "revoked", "lost")

# Every label but the `le` of histograms and the versions of `headrace_build_info`, with the values that it may have: a
# bounded number, and never an id out of an event.
LABELS: Final[Mapping[str, str]] = {
    "shard": "number of a shard, which is that of its partition",
    "peer": "number of another shard",
    "outcome": "`committed`, `aborted` or `fenced`",
    "reason": (
        "of rejected records one of [these](#rejected-records); of skipped events `duplicate`, `negative` or `poison`; "
        "of shards that are frozen `base_rate`, `rejected` or `unknown`"
    ),
    "kind": (
        "of rebalances `assigned`, `revoked` or `lost`; of snapshots a kind of record "
        "([schemas/README.md](schemas/README.md)); of clients `consumer` or `producer`"
    ),
    "direction": "`published` or `folded`",
    "detector": "`residual`, `calibration`, `baseline`, `scores` or `labels`",
    "field": "one of the fields that `quality.slices` names",
    "value": "one of the values that `quality.slices` names for that field, or `other`",
}

# From a commit on an idle loopback broker (milliseconds) to the default transaction timeout and beyond.
COMMIT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# From a few rows to a million that moved.
COMMIT_STOPPED_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# From an empty shard to gigabytes of rows.
RESTORE_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


WINDOW_VALUES: Final = {  # by the names that `worker.quality.watch.Watch.last_window` gives them
    "loss": "mean loss",
    "baseline_loss": "slow mean of the loss by its end",
    "normalized_entropy": "log loss over the entropy of its base rate",
    "calibration": "sum of scores over sum of labels",
    "calibration_error": "expected calibration error, 32 bins of the score",
    "auc": "area under the ROC curve",
    "auc_error": "bound on the error of that",
}


def new_registry() -> CollectorRegistry:
    """Make the registry of a process: with its memory and processor time, and without a second series per counter."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


class WorkerMetrics:
    """What a worker tells of itself.

    Args:
        registry: where the metrics are made; one per process, a fresh one per test.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"headrace_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"headrace_{name}", text, labels, registry=registry)

        # What was read and learned.
        self.events = counter("events", "Valid events learned from", "shard")
        self.rejected = counter("rejected", "Bad records sent to the dead-letter topic", "shard", "reason")
        self.skipped = counter(
            "skipped",
            "Valid events not learned: duplicates, negatives that events.keep_negatives leaves out, or poison",
            "shard",
            "reason",
        )
        self.evicted_rows = counter(
            "evicted_rows",
            "Rows that had to go: the model reached model.max_rows or max_bytes",
            "shard",
        )
        self.admitted_rows = counter(
            "admitted_rows", "Rows of values that were held back until they were seen often enough", "shard"
        )
        self.held_back = counter("held_back", "Times that a value counted as rare: it had no row yet", "shard")
        self.unstable = counter("unstable", "Events scored and not learned: a step would have overflowed", "shard")
        # Progressive validation: each event is predicted before it is learned. Sums, so that any window can be had.
        self.progressive_loss_sum = counter("progressive_loss_sum", "Weighted sum of the losses", "shard")
        self.progressive_loss_count = counter("progressive_loss_count", "Events in the sum of losses", "shard")
        self.weight_sum = counter("progressive_weight_sum", "Sum of the weights of those events", "shard")
        # Calibration: the quotient of these two is 1 for a calibrated model.
        self.label_sum = counter("progressive_label_sum", "Weighted sum of the labels", "shard")
        self.score_sum = counter("progressive_score_sum", "Weighted sum of the scores predicted for them", "shard")
        self._make_quality(counter, gauge)

        # What was published.
        self.commits = counter("commits", "Transactions of model records and offsets, by their outcome", "outcome")
        self.transactions_aborted = counter("transactions_aborted", "Transactions aborted and learned again")
        self.commit_seconds = Histogram(
            "headrace_commit_seconds",
            "From the begin of a commit to its acknowledgement",
            buckets=COMMIT_SECONDS,
            registry=registry,
        )
        self.commit_stopped_seconds = Histogram(
            "headrace_commit_stopped_seconds",
            "For how long learning stood still while versions were copied out",
            buckets=COMMIT_STOPPED_SECONDS,
            registry=registry,
        )
        self.snapshot_bytes = counter("snapshot_bytes", "Bytes published to the model topic", "shard", "kind")
        self.snapshot_rows = counter("snapshot_rows", "Rows published to the model topic", "shard", "kind")
        self.snapshot_version = gauge("snapshot_version", "Version last committed", "shard")
        self.snapshot_timestamp = gauge(
            "snapshot_timestamp_seconds", "When that was, in seconds since 1970: its age is time() less this", "shard"
        )

        # How far behind.
        self.offset_lag = gauge("offset_lag", "Records of the event topic not yet learned", "shard")
        self.event_time_lag = gauge(
            "event_time_lag_seconds", "Age of the newest event learned when it was learned", "shard"
        )

        # What it costs that there are several shards, where they are merged.
        self.peer_events_behind = gauge(
            "peer_events_behind", "Events of another shard that the least informed shard here has not folded in", "peer"
        )
        self.peer_seconds_behind = gauge(
            "peer_seconds_behind", "Time from the last version that it has folded in to the newest read", "peer"
        )
        self.merge_distance = gauge(
            "merge_distance",
            "How far the last folding moved shared weights: root mean square, in standard deviations",
            "shard",
        )
        self.exchanged_rows = counter(
            "exchanged_rows", "Shared rows published to the other shards, or folded in of them", "shard", "direction"
        )
        self.exchanged_bytes = counter("exchanged_bytes", "Their size", "shard", "direction")

        # Membership.
        self.rebalances = counter("rebalances", "Calls of the group's protocol, by kind", "kind")
        self.restore_seconds = Histogram(
            "headrace_restore_seconds",
            "From the assignment of a shard to its first event",
            buckets=RESTORE_SECONDS,
            registry=registry,
        )

        # Size.
        self.table_rows = gauge("table_rows", "Rows in a shard's table", "shard")
        self.table_bytes = gauge("table_bytes", "Memory of a shard's table, and of its ledgers", "shard")

        # The Kafka client, from librdkafka's statistics; kind is consumer or producer.
        self.broker_round_trip_seconds = gauge(
            "client_round_trip_seconds", "99th percentile of request latency, of the slowest broker", "kind"
        )
        self.fetch_queue_messages = gauge("client_fetch_queue_messages", "Records fetched and not yet polled", "kind")
        self.fetch_queue_bytes = gauge("client_fetch_queue_bytes", "Their size", "kind")
        self.transmit_retries = counter("client_transmit_retries", "Requests sent again", "kind")
        self.connects = counter("client_connects", "Connections tried", "kind")
        self.disconnects = counter("client_disconnects", "Connections lost or closed", "kind")

        Info("headrace_build", "Versions of what runs", registry=registry).info(versions())

        self._clients: dict[str, ClientStatistics] = {}  # a client's totals when it last told them
        # Series that rules watch exist from the start: rate() does not see a series appear with its first count.
        for outcome in OUTCOMES:
            self.commits.labels(outcome)
        for kind in REBALANCES:
            self.rebalances.labels(kind)

    def _make_quality(self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]) -> None:
        self.squared_error_sum = counter(
            "progressive_squared_error_sum", "Weighted sum of the squares of label less score", "shard"
        )
        of_slice = ("shard", "field", "value")
        self.slice_loss_sum = counter("slice_loss_sum", "Weighted sum of the losses, by quality.slices", *of_slice)
        self.slice_weight_sum = counter("slice_weight_sum", "Sum of the weights of those events", *of_slice)
        self.slice_label_sum = counter("slice_label_sum", "Weighted sum of their labels", *of_slice)
        self.slice_score_sum = counter("slice_score_sum", "Weighted sum of their scores", *of_slice)

        self.servable = gauge(
            "servable", "1 where the last version may be served, 0 where it is held back by quality.gate_*", "shard"
        )

        self.frozen = gauge(
            "frozen",
            "1 where the last block of events was refused for this reason, by quality.freeze_*",
            "shard",
            "reason",
        )

        # Drift, and the last window of quality.window events.
        self.drift_alarms = counter("drift_alarms", "Alarms of drift", "shard", "detector")
        self.drift_statistic = gauge(
            "drift_statistic",
            "Highest value of a detector in this window and the last; natural logarithm, of scores and labels PSI",
            "shard",
            "detector",
        )
        self.drift_threshold = gauge("drift_threshold", "From which value on it alarms", "detector")
        self.loosened = counter(
            "loosened", "Alarms that were answered by making what was learned less sure (quality.response)", "shard"
        )
        self.windows = {
            name: gauge(f"window_{name}", f"Of the last window of quality.window events: {text}", "shard")
            for name, text in WINDOW_VALUES.items()
        }

    def observe_client_statistics(self, json_text: str) -> None:
        """Take over what librdkafka's `stats_cb` was given. One client's calls come one after the other."""
        now = parse(json_text)
        before = self._clients.get(now.client)
        self._clients[now.client] = now
        self.broker_round_trip_seconds.labels(now.kind).set(now.round_trip_seconds)
        self.fetch_queue_messages.labels(now.kind).set(now.fetch_queue_messages)
        self.fetch_queue_bytes.labels(now.kind).set(now.fetch_queue_bytes)
        # Totals of one client's life become increments, which go on rising when a client is made anew.
        retries, connects, disconnects = (0, 0, 0) if before is None else before.totals
        self.transmit_retries.labels(now.kind).inc(max(0, now.transmit_retries - retries))
        self.connects.labels(now.kind).inc(max(0, now.connects - connects))
        self.disconnects.labels(now.kind).inc(max(0, now.disconnects - disconnects))

    def forget_shard(self, shard: int) -> None:
        """Remove a shard's gauges when another worker takes it over, lest two workers show it at once."""
        for gauge in (
            self.snapshot_version,
            self.snapshot_timestamp,
            self.offset_lag,
            self.event_time_lag,
            self.table_rows,
            self.table_bytes,
            self.merge_distance,
        ):
            gauge.remove_by_labels({"shard": str(shard)})
        for gauge in (self.servable, self.frozen, self.drift_statistic, *self.windows.values()):
            gauge.remove_by_labels({"shard": str(shard)})

    def forget_peer(self, peer: int) -> None:
        """Remove the gauges of a shard that no shard of this worker can be behind any more."""
        for gauge in (self.peer_events_behind, self.peer_seconds_behind):
            gauge.remove_by_labels({"peer": str(peer)})


class FollowerMetrics:
    """What a follower tells of the model that it serves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"headrace_follower_{name}", text, labels, registry=registry)

        self.version = Gauge("headrace_follower_version", "Version that is served", ("shard",), registry=registry)
        self.version_age_seconds = Gauge(
            "headrace_follower_version_age_seconds",
            "Time since that version was committed",
            ("shard",),
            registry=registry,
        )
        self.held_back = Gauge(
            "headrace_follower_held_back",
            "Versions newer than the one served that are not servable",
            ("shard",),
            registry=registry,
        )
        self.scored = counter("scored", "Events scored")
        # What went wrong with the stream of versions, and was healed from a base.
        self.gaps = counter("gaps", "Versions whose parent was not the one served", "shard")
        self.corruptions = counter("corruptions", "Versions whose checksums or digest did not hold", "shard")
        self.resyncs = counter("resyncs", "Times that a shard was read anew from a base", "shard")
        Info("headrace_build", "Versions of what runs", registry=registry).info(versions())
