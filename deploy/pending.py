"""Metrics that dashboards and rules are made for before the worker has them.

An entry goes when its metric comes: the tests fail while a metric is in both places, and when one that is listed here
is used by no dashboard. A panel of a metric that is pending shows no data.
"""

from collections.abc import Mapping
from typing import Final

# Name as it is scraped -> its labels.
PENDING: Final[Mapping[str, tuple[str, ...]]] = {
    # progressive evaluation
    "headrace_progressive_squared_error_sum_total": ("shard",),
    "headrace_window_loss": ("shard",),
    "headrace_window_baseline_loss": ("shard",),
    "headrace_window_normalized_entropy": ("shard",),
    "headrace_window_calibration": ("shard",),
    "headrace_window_calibration_error": ("shard",),
    "headrace_window_auc": ("shard",),
    "headrace_slice_loss_sum_total": ("shard", "field", "value"),
    "headrace_slice_weight_sum_total": ("shard", "field", "value"),
    "headrace_slice_label_sum_total": ("shard", "field", "value"),
    "headrace_slice_score_sum_total": ("shard", "field", "value"),
    # drift
    "headrace_drift_alarms_total": ("shard", "detector"),
    "headrace_drift_statistic": ("shard", "detector"),
    "headrace_drift_threshold": ("detector",),
    # response and publish gate
    "headrace_servable": ("shard",),
    "headrace_frozen": ("shard", "reason"),
    "headrace_loosened": ("shard",),
}
