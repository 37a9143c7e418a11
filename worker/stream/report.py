"""What a commit tells the metrics: only what is committed counts, so that a sum over workers counts an event once."""

import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, TopicPartition
from numpy.typing import NDArray

from worker.observe.curve import Sums
from worker.observe.history import Commit, History
from worker.observe.metrics import WorkerMetrics
from worker.quality.progress import EVENTS, LABEL, LOSS, PREDICTION, SQUARED_ERROR, WEIGHT
from worker.quality.watch import Watch
from worker.snapshot.manifest import Counts, Manifest
from worker.snapshot.records import Kind
from worker.snapshot.sealing import Folded
from worker.snapshot.state import ShardState
from worker.stream import quality_report as tell
from worker.stream.block import Refused
from worker.stream.held import Behind
from worker.stream.owned import Outgoing

_LOG = logging.getLogger(__name__)


class Report:
    """Turns commits into metrics, log lines, and what the status page shows.

    Args:
        metrics: those of this worker.
        consumer: tells where partitions end.
        topic: the event topic.
        history: what the status page shows of the past.
    """

    def __init__(self, metrics: WorkerMetrics, consumer: Consumer, topic: str, history: History | None = None) -> None:
        self.metrics = metrics
        self.history = history or History()
        self._topic = topic
        self._consumer = consumer
        self._told: dict[int, tuple[NDArray[np.float64], Counts]] = {}  # by shard: progressive sums, and the rest
        self._watched: dict[int, Watch] = {}  # by shard, as it was told
        self._servable: dict[int, bool] = {}  # by shard, whether the last version may be served
        self._refused: dict[int, bool] = {}  # by shard, whether its last block of events was refused
        self._peers: set[int] = set()  # of whom it is told how far one is behind them

    def began(self, state: ShardState, seconds: float) -> None:
        """Note where a shard stands that another worker, or an earlier life, has brought so far."""
        self.metrics.restore_seconds.observe(seconds)
        self._told[state.shard] = state.progress.sums.copy(), state.counts()
        self.history.began(state.shard, state.version, state.progress.events)
        self._watched[state.shard] = state.watch.copy()
        self._refused[state.shard] = False
        self._servable[state.shard] = state.last_servable == state.version
        tell.began(self.metrics, state.shard, state.watch, servable=self._servable[state.shard])
        self._gauges(state)

    def gave_up(self, shard: int) -> None:
        """Note that another worker tells of a shard from now on."""
        self.metrics.forget_shard(shard)
        self.history.forget(shard)

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
            tell.committed(self.metrics, self.history, manifest, self._watched[manifest.shard], sealed.watch)
            tell.answered(self.metrics, manifest, before.loosened)
            self._watched[manifest.shard] = sealed.watch
            self.metrics.unstable.labels(shard).inc(now.unstable - before.unstable)
            self.metrics.evicted_rows.labels(shard).inc(now.evicted - before.evicted)
            self.metrics.admitted_rows.labels(shard).inc(now.admitted - before.admitted)
            self.metrics.held_back.labels(shard).inc(now.held_back - before.held_back)
            rejected = Counter(now.rejected) - Counter(before.rejected)
            for reason, count in rejected.items():
                self.metrics.rejected.labels(shard, reason).inc(count)
            self._rejections(version, rejected)
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
            tell.gated(self.metrics, manifest, before=self._servable[manifest.shard])
            self._servable[manifest.shard] = manifest.servable
            if state.model.shared is not None:
                self._exchanged(sealed.folded, manifest)
            lag = self._gauges(state)
            self.history.committed(_commit(version, manifest, more, lag))
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

    def judged(self, shard: int, refused: Refused | None, *, frozen: bool) -> None:
        """Note that a block of events was refused, or that none is any more."""
        tell.judged(self.metrics, shard, refused, frozen=frozen, before=self._refused.get(shard, False))
        self.history.judged(shard, "; ".join(fault.text for fault in refused.faults) if refused is not None else None)
        self._refused[shard] = refused is not None

    def aborted(self) -> None:
        """Note that a transaction was aborted."""
        self.metrics.commits.labels("aborted").inc()
        self.metrics.transactions_aborted.inc()
        self.history.aborted()

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

    def _rejections(self, version: Outgoing, counts: Counter[str]) -> None:
        """Note where the last record of each reason stands, and nothing of what it holds."""
        places: dict[str, tuple[int | None, float | None]] = {}
        for message, bad in reversed(version.dead_letters):
            if len(places) == len(counts):
                break
            kind, milliseconds = message.timestamp()
            at = None if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds / 1_000
            places.setdefault(bad.reason, (message.offset(), at))
        for reason, count in counts.items():
            self.history.rejected(version.owned.state.shard, reason, count, *places.get(reason, (None, None)))

    def _gauges(self, state: ShardState) -> int | None:
        """Set what a shard is like now; gives how many records of it are not yet learned, where that is known."""
        shard = str(state.shard)
        self.metrics.table_rows.labels(shard).set(len(state.model.table))
        self.metrics.table_bytes.labels(shard).set(state.model.nbytes)
        try:
            # what the client learned with its last fetch: no request
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, state.shard), timeout=1, cached=True
            )
        except KafkaException:
            return None
        if end < 0:
            return None
        lag = max(0, int(end) - state.next_offset)
        self.metrics.offset_lag.labels(shard).set(lag)
        return lag


def _commit(version: Outgoing, manifest: Manifest, more: NDArray[np.float64], lag: int | None) -> Commit:
    state = version.owned.state
    dated = manifest.watermark is not None and more[EVENTS] > 0
    baseline = version.sealed.watch.last_window()["baseline_loss"]  # NaN before the first window is full
    return Commit(
        shard=manifest.shard,
        version=manifest.version,
        created=manifest.created / 1_000,
        events=manifest.state.events,
        more=Sums(
            events=float(more[EVENTS]),
            weight=float(more[WEIGHT]),
            loss=float(more[LOSS]),
            label=float(more[LABEL]),
            score=float(more[PREDICTION]),
        ),
        baseline=baseline if baseline > 0 else version.sealed.progress.loss,
        unservable=None if manifest.servable else "; ".join(manifest.reasons),
        rows=len(state.model.table),
        bytes=state.model.nbytes,
        offset_lag=lag,
        event_time_lag=(manifest.created - (manifest.watermark or 0)) / 1_000 if dated else None,
    )
