"""What a process says of itself at one moment, for people: the status page shows it, `/status.json` is it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from worker.observe.build import versions
from worker.observe.curve import BASELINE, EVENTS, LOSS, TIME, WEIGHT
from worker.observe.health import Health
from worker.observe.history import WINDOW_SECONDS, History, Shard

FORMAT: Final = 1  # of the JSON object; it rises when a field changes its meaning or goes
_SHARD_POINTS: Final = 60  # of the small curve of a shard: with hundreds of shards the answer stays below a megabyte
_DIGITS: Final = 5  # of losses in curves: a screen has no more
_SEVERITIES: Final = ("error", "waiting", "warning")  # the worst first
_ALARM_SECONDS: Final = 3_600.0  # for how long an alarm counts as something that is wrong now


@dataclass(frozen=True, kw_only=True)
class About:
    """What does not change in the life of the process."""

    kind: Literal["worker", "follower"]
    model: str
    topics: Mapping[str, str]  # by what they are for
    group: str | None = None
    loss: str = "logistic"
    baseline: str = "slow average"  # the name of the loss that losses are held against


class Status:
    """Answers from any thread.

    Args:
        about: whose status it is.
        health: whether the process is alive and ready.
        history: what happened so far.
    """

    def __init__(self, about: About, health: Health, history: History) -> None:
        self.about, self._health, self._history = about, health, history

    def look(self) -> dict[str, Any]:
        """Give the status as JSON values; NaN where a number is not known, which `orjson` writes as null.

        Times are seconds since 1970, durations seconds, losses nats an event (logistic) or halves of squared errors.
        """
        history, now = self._history, self._history.clock()
        shards, whole = history.shards(), history.whole()
        alive, ready = self._health.why_not_alive(), self._health.why_not_ready()
        return {
            "format": FORMAT,
            "now": now,
            "started": history.started,
            "window_seconds": WINDOW_SECONDS,
            "about": asdict(self.about),
            "build": versions(),
            "state": "stalled" if alive else "not_ready" if ready else "ready",
            "problems": self._problems(alive, ready, shards, now),
            "total": {
                "events_per_second": sum(shard.events_per_second for shard in shards),
                "offset_lag": _known(sum, [shard.offset_lag for shard in shards]),
                "event_time_lag": _known(max, [shard.event_time_lag for shard in shards]),
                "oldest_version_seconds": _known(max, [_age(shard, now) for shard in shards]),
                **_evaluation(whole),
                "curve": _columns(history.curve()),
            },
            "shards": [
                {
                    "shard": shard.shard,
                    "version": shard.version,
                    "age_seconds": _age(shard, now),
                    "offset_lag": shard.offset_lag,
                    "event_time_lag": shard.event_time_lag,
                    "events": shard.events,
                    "events_per_second": shard.events_per_second,
                    "rows": shard.rows,
                    "bytes": shard.bytes,
                    **_evaluation(shard),
                    "curve": _columns(_thinned(history.curve(shard.shard))),
                }
                for shard in shards
            ],
            "marks": [asdict(mark) for mark in history.marks()],
            "rejected": [asdict(rejections) for rejections in history.rejections()],
        }

    def _problems(self, alive: str | None, ready: str | None, shards: list[Shard], now: float) -> list[dict[str, str]]:
        """Say in words what is wrong now, the worst first."""
        found = [("error", alive)] if alive else [("waiting", ready)] if ready else []
        for shard in shards:
            if shard.damage:
                text = f"Shard {shard.shard} serves version {shard.version} and refuses newer ones: {shard.damage}"
                found.append(("error", text))
            if shard.refused:
                found.append(("error", f"Shard {shard.shard} does not learn what comes: {shard.refused}"))
            if shard.unservable:
                found.append(
                    ("warning", f"Followers serve an older version of shard {shard.shard}: {shard.unservable}")
                )
        if self._history.last_abort() is not None:
            found.append(("warning", "The last transaction was aborted; what it held is learned or sent once more"))
        recent = [mark for mark in self._history.marks() if now - mark.time < _ALARM_SECONDS]
        for detector in sorted({mark.detector for mark in recent}):
            where = sorted({mark.shard for mark in recent if mark.detector == detector})
            which = f"shard{'s' if len(where) > 1 else ''} {', '.join(map(str, where))}"
            found.append(("warning", f"Drift: {detector} raised an alarm within the last hour, in {which}"))
        found.sort(key=lambda problem: _SEVERITIES.index(problem[0]))
        return [{"severity": severity, "text": text} for severity, text in found]


def _evaluation(shard: Shard) -> dict[str, float | int]:
    return {
        "loss": shard.loss,
        "baseline": shard.baseline,
        "calibration": shard.calibration,
        "alarms": shard.alarms,
    }


def _age(shard: Shard, now: float) -> float | None:
    return None if shard.created is None else max(0.0, now - shard.created)


def _known(fold: Callable[[list[float]], float], values: Iterable[float | None]) -> float | None:
    """Fold what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return fold(known) if known else None


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up neighbours until there are few enough."""
    each = -(-len(points) // _SHARD_POINTS)
    if each <= 1:
        return points
    firsts = np.arange(0, len(points), each)
    thinned: NDArray[np.float64] = np.add.reduceat(points, firsts)
    thinned[:, TIME] = points[firsts, TIME]
    return thinned


def _columns(points: NDArray[np.float64]) -> dict[str, list[float]]:
    """Give a curve by columns, which take half of what objects would."""
    with np.errstate(invalid="ignore", divide="ignore"):  # events without weight have no loss: null
        loss, baseline = (points[:, sums] / points[:, WEIGHT] for sums in (LOSS, BASELINE))
    return {
        "time": points[:, TIME].tolist(),
        "events": points[:, EVENTS].tolist(),
        "loss": loss.round(_DIGITS).tolist(),
        "baseline": baseline.round(_DIGITS).tolist(),
    }
