"""What the demo measured."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from deploy.demo.freshness import Freshness
from deploy.machine import machine
from worker.quality.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Result:
    """The keys of build/demo.json; none is ever renamed."""

    stream: str
    events: int
    rejected: int
    shards: int
    workers: int
    versions: int
    log_loss: float
    constant_log_loss: float
    auc: float
    events_per_second: float
    paced_events_per_second: float
    delta_bytes: int
    freshness_p50_seconds: float
    freshness_p99_seconds: float
    broker: str
    machine: str

    @classmethod
    def of(
        cls,
        *,
        freshness: Freshness,
        progress: Progress,
        shards: int,
        workers: int,
        events_per_second: float,
        paced_events_per_second: float,
        freshness_seconds: NDArray[np.float64],
        broker: str,
        stream: str,
    ) -> Self:
        """Sum up."""
        return cls(
            stream=stream,
            events=progress.events,
            rejected=freshness.rejected,
            shards=shards,
            workers=workers,
            versions=freshness.versions,
            log_loss=progress.loss,
            constant_log_loss=progress.constant_loss,
            auc=progress.auc,
            events_per_second=events_per_second,
            paced_events_per_second=paced_events_per_second,
            delta_bytes=freshness.delta_bytes,
            freshness_p50_seconds=float(np.percentile(freshness_seconds, 50)),
            freshness_p99_seconds=float(np.percentile(freshness_seconds, 99)),
            broker=broker,
            machine=machine(),
        )


def write(result: Result, path: Path) -> None:
    """Write the result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=2) + "\n")
