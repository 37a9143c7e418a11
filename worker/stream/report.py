"""What a commit tells the metrics: only what is committed counts, so that a sum over workers counts an event once."""

import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition
from numpy.typing import NDArray

from worker.observe.metrics import WorkerMetrics
from worker.quality.progress import EVENTS, LABEL, LOSS, PREDICTION, SQUARED_ERROR, WEIGHT
from worker.quality.watch import Watch
from worker.snapshot.manifest import Counts, Manifest
from worker.snapshot.records import Kind
from worker.snapshot.sealing import Folded
from worker.snapshot.state import ShardState
from worker.stream import quality_report as tell
from worker.stream.held import Behind
from worker.stream.owned import Outgoing

_LOG = logging.getLogger(__name__)


class Report:
    """Turns commits into metrics and log lines."""

    def __init__(self, metrics: WorkerMetrics, consumer: Consumer, topic: str) -> None:
        self.metrics = metrics
        self._topic = topic
        self._consumer = consumer
        self._told: dict[int, tuple[NDArray[np.float64], Counts]] = {}  # by shard: progressive sums, and the rest
        self._watched: dict[int, Watch] = {}  # by shard, as it was told
        self._peers: set[int] = set()  # of whom it is told how far one is behind them

    def began(self, state: ShardState, seconds: float) -> None:
        """Note where a shard stands that another worker, or an earlier life, has brought so far."""
        self.metrics.restore_seconds.observe(seconds)
        self._told[state.shard] = state.progress.sums.copy(), state.counts()
        self._watched[state.shard] = state.watch.copy()
        tell.began(self.metrics, state.shard, state.watch)
        self._gauges(state)

    def stood_still(self, seconds: float) -> None:
        """Note for how long learning stood still while versions were sealed."""
        self.metrics.commit_stopped_seconds.observe(seconds)

    def committed(self, versions: list[Outgoing], manifests: list[Manifest], seconds: float) -> None:
        """Note that a transaction with these versions went through."""
        self.metrics.commits.labels("committed").inc()
        self.metrics.commit_seconds.observe(seconds)
        for version, manifest in zip(versions, manifests, strict=True):
            sealed, state, shard = version.sealed, version.owned.state, str(manifest.shard)
            sums, before = self._told[manifest.shard]
            self._told[manifest.shard] = sealed.progress.sums, manifest.state
            more, now = sealed.progress.sums - sums, manifest.state
            self.metrics.events.labels(shard).inc(more[EVENTS])
            self.metrics.progressive_loss_count.labels(shard).inc(more[EVENTS])
            self.metrics.weight_sum.labels(shard).inc(more[WEIGHT])
            self.metrics.progressive_loss_sum.labels(shard).inc(max(0.0, more[LOSS]))
            self.metrics.label_sum.labels(shard).inc(max(0.0, more[LABEL]))
            self.metrics.score_sum.labels(shard).inc(max(0.0, more[PREDICTION]))
            self.metrics.squared_error_sum.labels(shard).inc(max(0.0, more[SQUARED_ERROR]))
            tell.committed(self.metrics, manifest, self._watched[manifest.shard], sealed.watch, before.loosened)
            self._watched[manifest.shard] = sealed.watch
            self.metrics.unstable.labels(shard).inc(now.unstable - before.unstable)
            self.metrics.evicted_rows.labels(shard).inc(now.evicted - before.evicted)
            self.metrics.admitted_rows.labels(shard).inc(now.admitted - before.admitted)
            self.metrics.held_back.labels(shard).inc(now.held_back - before.held_back)
            for reason, count in (Counter(now.rejected) - Counter(before.rejected)).items():
                self.metrics.rejected.labels(shard, reason).inc(count)
            for reason, count in (Counter(now.skipped) - Counter(before.skipped)).items():
                self.metrics.skipped.labels(shard, reason).inc(count)
            for part in manifest.records:
                self.metrics.snapshot_bytes.labels(shard, part.kind).inc(part.bytes)
                self.metrics.snapshot_rows.labels(shard, part.kind).inc(part.rows)
            if version.owned.given_up:
                continue  # another worker tells of it now
            self.metrics.snapshot_version.labels(shard).set(manifest.version)
            self.metrics.snapshot_timestamp.labels(shard).set(manifest.created / 1_000)
            if manifest.watermark is not None and more[EVENTS]:  # a version may hold no event of its own
                self.metrics.event_time_lag.labels(shard).set((manifest.created - manifest.watermark) / 1_000)
            tell.gauges(self.metrics, manifest.shard, sealed.watch)
            if state.model.shared is not None:
                self._exchanged(sealed.folded, manifest)
            self._gauges(state)
        _LOG.debug(
            "committed %s in %.3f s", {manifest.shard: manifest.version for manifest in manifests}, seconds,
            extra={"action": "commit"},
        )  # fmt: skip

    def behind(self, peers: Mapping[int, Behind]) -> None:
        """Note how far the shards of this worker are behind the others."""
        for peer, behind in peers.items():
            self.metrics.peer_events_behind.labels(str(peer)).set(behind.events)
            self.metrics.peer_seconds_behind.labels(str(peer)).set(behind.seconds)
        for peer in self._peers - peers.keys():
            self.metrics.forget_peer(peer)
        self._peers = set(peers)

    def aborted(self) -> None:
        """Note that a transaction was aborted."""
        self.metrics.commits.labels("aborted").inc()
        self.metrics.transactions_aborted.inc()

    def fenced(self) -> None:
        """Note that this worker may not commit any more."""
        self.metrics.commits.labels("fenced").inc()

    def _exchanged(self, folded: Folded, manifest: Manifest) -> None:
        rows, size, shard = self.metrics.exchanged_rows, self.metrics.exchanged_bytes, str(manifest.shard)
        published = [part for part in manifest.records if part.kind is Kind.CONTRIBUTION]
        rows.labels(shard, "published").inc(sum(part.rows for part in published))
        size.labels(shard, "published").inc(sum(part.bytes for part in published))
        rows.labels(shard, "folded").inc(folded.rows)
        size.labels(shard, "folded").inc(folded.bytes)
        if folded.distance is not None:
            self.metrics.merge_distance.labels(shard).set(folded.distance)

    def _gauges(self, state: ShardState) -> None:
        shard = str(state.shard)
        self.metrics.table_rows.labels(shard).set(len(state.model.table))
        self.metrics.table_bytes.labels(shard).set(state.model.nbytes)
        try:
            # what the client learned with its last fetch: no request
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, state.shard), timeout=1, cached=True
            )
        except KafkaException:
            return
        if end >= 0:
            self.metrics.offset_lag.labels(shard).set(max(0, end - state.next_offset))
