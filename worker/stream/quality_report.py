"""What a commit tells of how well a shard predicts: metrics, and a line of the log for each alarm of drift."""

import logging
import math
from datetime import UTC, datetime

from worker.observe.metrics import WorkerMetrics
from worker.quality import slices
from worker.quality.layout import NAMES
from worker.quality.watch import Watch
from worker.snapshot.manifest import Manifest

_LOG = logging.getLogger(__name__)


def began(metrics: WorkerMetrics, shard: int, watch: Watch) -> None:
    """Make the series of a shard: rate() does not see one appear with its first count."""
    for detector in watch.watching.detectors:
        metrics.drift_alarms.labels(str(shard), NAMES[detector])
        metrics.drift_threshold.labels(NAMES[detector]).set(watch.watching.threshold(detector))
    for of_slice in watch.watching.slices.names:
        for counter in (
            metrics.slice_loss_sum, metrics.slice_weight_sum, metrics.slice_label_sum, metrics.slice_score_sum,
        ):  # fmt: skip
            counter.labels(str(shard), *of_slice)
    metrics.loosened.labels(str(shard))
    gauges(metrics, shard, watch)


def committed(metrics: WorkerMetrics, manifest: Manifest, before: Watch, now: Watch, answered: int) -> None:
    """Count what a version adds to the one before, and warn of each detector that has alarmed since.

    Args:
        metrics: where it is counted.
        manifest: of the version.
        before: as of the version before.
        now: as of the version.
        answered: how many alarms had been answered by the version before.
    """
    shard = str(manifest.shard)
    for detector in now.watching.detectors:
        alarm = now.alarm(detector)
        more = alarm.alarms - before.alarm(detector).alarms
        if more > 0:
            metrics.drift_alarms.labels(shard, alarm.detector).inc(more)
            when = datetime.fromtimestamp(alarm.time / 1_000, UTC).isoformat(timespec="milliseconds")
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
    loosened = manifest.state.loosened - answered
    if loosened > 0:
        metrics.loosened.labels(shard).inc(loosened)
        _LOG.warning(
            "shard %d: loosened after event %d, before offset %d: what it has learned is less sure from there on",
            manifest.shard, manifest.state.loosened_at, manifest.input.next_offset,
            extra={
                "action": "loosen", "shard": manifest.shard, "event": manifest.state.loosened_at,
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


def gauges(metrics: WorkerMetrics, shard: int, watch: Watch) -> None:
    """Tell of the last window, as far as there is something to tell, and how near each detector is to an alarm."""
    for detector in watch.watching.detectors:
        metrics.drift_statistic.labels(str(shard), NAMES[detector]).set(watch.statistic(detector))
    for name, value in watch.last_window().items():
        if not math.isnan(value):
            metrics.windows[name].labels(str(shard)).set(value)
