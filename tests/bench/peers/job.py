"""What every peer does: decode a JSON event, predict, learn. Runs in the peers' own environment: no import of ours.

A script of a peer is called with a task as JSON, and prints what it found as JSON. The clock runs from the first event
to the last; neither the import of the library nor the reading of the file into memory counts.
"""

import json
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be done."""

    learner: str
    settings: dict[str, Any]
    fields: list[str]  # of the event that are features; a list counts as several categories
    path: str = ""  # of the events, JSON lines
    limit: int = 0  # how many of them; 0 is all
    bootstrap_servers: str = ""  # of the broker, for who reads a topic
    topic: str = ""

    def lines(self) -> list[bytes]:
        """Read the events into memory."""
        with Path(self.path).open("rb") as lines:
            return list(islice(lines, self.limit or None))


def task() -> Task:
    """Give the task that this process was started with."""
    return Task(**json.loads(sys.argv[1]))


def categories(event: dict[str, Any], fields: list[str]) -> list[str]:
    """Give the event's features as `field=value`."""
    found = []
    for field in fields:
        value = event.get(field)
        if isinstance(value, list):
            found += [f"{field}={it}" for it in value]
        elif value is not None:
            found.append(f"{field}={value}")
    return found


def report(seconds: float, labels: Any, predictions: Any, **more: Any) -> None:
    """Print the rate, and how good the predictions were that were made before learning."""
    y, p = np.asarray(labels, float), np.clip(np.asarray(predictions, float), 1e-6, 1 - 1e-6)
    loss = float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
    found = {"events": len(y), "seconds": seconds, "eps": len(y) / seconds, "log_loss": loss, "auc": _auc(y, p)}
    print(json.dumps(found | more))


def _auc(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    _, place, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]  # ties share their mean rank
    positive = y.sum()
    return float((rank[y > 0.5].sum() - positive * (positive + 1) / 2) / (positive * (len(y) - positive)))
