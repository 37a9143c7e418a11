"""What a commit tells of how well a shard predicts: metrics, and a line of the log for each alarm of drift."""

import logging
import math

import numpy as np

from worker.observe.history import History
from worker.observe.metrics import WorkerMetrics
from worker.quality import slices
from worker.quality.breaker import REASONS
from worker.quality.layout import NAMES
from worker.quality.watch import Watch
from worker.snapshot.manifest import Manifest
from worker.stream.block import Refused

_LOG = logging.getLogger(__name__)


def began(metrics: WorkerMetrics, shard: int, watch: Watch, *, servable: bool) -> None:
    """Make the series of a shard: rate() does not see one appear with its first count."""
    for detector in watch.watching.detectors:
        metrics.drift_alarms.labels(str(shard), NAMES[detector])
        metrics.drift_threshold.labels(NAMES[detector]).set(watch.watching.threshold(detector))
    for of_slice in watch.watching.slices.names:
        for counter in (
            metrics.slice_loss_sum, metrics.slice_weight_sum, metrics.slice_label_sum, metrics.slice_score_sum,
        ):  # fmt: skip
            counter.labels(str(shard), *of_slice)
    metrics.servable.labels(str(shard)).set(servable)
    metrics.loosened.labels(str(shard))
    gauges(metrics, shard, watch)


def committed(metrics: WorkerMetrics, history: History, manifest: Manifest, before: Watch, now: Watch) -> None:
    """Count what a version adds to the one before, and warn of each detector that has alarmed since."""
    shard = str(manifest.shard)
    for detector in now.watching.detectors:
        alarm = now.alarm(detector)
        more = alarm.alarms - before.alarm(detector).alarms
        if more > 0:
            metrics.drift_alarms.labels(shard, alarm.detector).inc(more)
            history.alarmed(manifest.shard, alarm.detector)
            when = f"{np.datetime64(alarm.time, 'ms')}Z"  # whatever the year: a producer's clock may be far off
            _LOG.warning(
                "shard %d: drift, %s is %.4g, its threshold %.4g, at event %d of event time %s, before offset %d",
                manifest.shard, alarm.detector, alarm.statistic, now.watching.threshold(detector), alarm.event, when,
                manifest.input.next_offset,
                extra={
                    "action": "drift", "shard": manifest.shard, "detector": alarm.detector,
                    "statistic": alarm.statistic, "event": alarm.event, "event_time": when,
                    "offset": manifest.input.next_offset,
                },
            )  # fmt: skip
    for number, of_slice in enumerate(now.watching.slices.names):
        more_of_it = now.slices[number] - before.slices[number]
        for counter, column in (
            (metrics.slice_loss_sum, slices.LOSS), (metrics.slice_weight_sum, slices.WEIGHT),
            (metrics.slice_label_sum, slices.LABEL), (metrics.slice_score_sum, slices.SCORE),
        ):  # fmt: skip
            counter.labels(shard, *of_slice).inc(max(0.0, float(more_of_it[column])))


def answered(metrics: WorkerMetrics, manifest: Manifest, before: int) -> None:
    """Count how often alarms were answered; `before` as of the version before."""
    loosened = manifest.state.loosened - before
    if loosened > 0:
        metrics.loosened.labels(str(manifest.shard)).inc(loosened)
        _LOG.warning(
            "shard %d: loosened after event %d, before offset %d: what it has learned is less sure from there on",
            manifest.shard, manifest.state.loosened_at, manifest.input.next_offset,
            extra={
                "action": "loosen", "shard": manifest.shard, "event": manifest.state.loosened_at,
                "offset": manifest.input.next_offset,
            },
        )  # fmt: skip


def gauges(metrics: WorkerMetrics, shard: int, watch: Watch) -> None:
    """Tell of the last window, as far as there is something to tell, and how near each detector is to an alarm."""
    for detector in watch.watching.detectors:
        metrics.drift_statistic.labels(str(shard), NAMES[detector]).set(watch.statistic(detector))
    for name, value in watch.last_window().items():
        if not math.isnan(value):
            metrics.windows[name].labels(str(shard)).set(value)


def gated(metrics: WorkerMetrics, manifest: Manifest, *, before: bool) -> None:
    """Tell whether a version may be served, and log where that is not as `before`."""
    if manifest.servable != before:
        _LOG.warning(
            "shard %d: version %d is %s",
            manifest.shard, manifest.version,
            "servable again" if manifest.servable else f"not servable: {'; '.join(manifest.reasons)}. Followers serve "
            f"version {manifest.last_servable} until one is, learning goes on",
            extra={"action": "gate", "shard": manifest.shard, "version": manifest.version},
        )  # fmt: skip
    metrics.servable.labels(str(manifest.shard)).set(manifest.servable)


def judged(metrics: WorkerMetrics, shard: int, refused: Refused | None, *, frozen: bool, before: bool) -> None:
    """Tell which reasons there are not to learn, and log what changed.

    Args:
        metrics: where that is told.
        shard: of which.
        refused: the last block, where it was refused.
        frozen: whether nothing more is learned until the worker is started anew.
        before: whether the block before it was refused, too.
    """
    reasons = {fault.reason for fault in refused.faults} if refused is not None else set()
    for reason in REASONS:
        metrics.frozen.labels(str(shard), reason).set(reason in reasons)
    extra = {"action": "freeze", "shard": shard}
    if refused is None:
        if before:
            _LOG.warning("shard %d: events are within bounds again, learning goes on", shard, extra=extra)
        return
    seen = f"{'; '.join(fault.text for fault in refused.faults)}, at offsets up to {refused.last_offset}"
    if frozen:
        _LOG.error(
            "shard %d is frozen at offset %d: %s. Nothing from that offset on is learned or published; what is "
            "published is served on, and other shards go on. If these events are sound, set wider bounds "
            "(quality.freeze_*); to pass over them, find where they begin and end and set events.skip = "
            '["%d:<first>-<last>"], from offset %d on; then start the worker anew',
            shard, refused.first_offset, seen, shard, refused.first_offset,
            extra=extra | {"first_offset": refused.first_offset, "last_offset": refused.last_offset},
        )  # fmt: skip
    elif not before:
        _LOG.error(
            "shard %d: events are passed over from offset %d on, until they are within bounds again: %s",
            shard, refused.first_offset, seen,
            extra=extra | {"first_offset": refused.first_offset, "last_offset": refused.last_offset},
        )  # fmt: skip
