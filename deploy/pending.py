"""Metrics that dashboards and rules are made for before the worker has them.

An entry goes when its metric comes: the tests fail while a metric is in both places, and when one that is listed here
is used by no dashboard. A panel of a metric that is pending shows no data.
"""

from collections.abc import Mapping
from typing import Final

# Name as it is scraped -> its labels.
PENDING: Final[Mapping[str, tuple[str, ...]]] = {
    # response and publish gate
    "headrace_servable": ("shard",),
    "headrace_frozen": ("shard", "reason"),
    "headrace_loosened": ("shard",),
}
