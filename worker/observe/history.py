"""What happened to the shards of this process since it started: for its status page, in memory, and bounded.

A restart forgets it, and so does giving up a shard: what has to last belongs into metrics.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isnan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.observe.curve import BASELINE, LABEL, LOSS, SCORE, WEIGHT, Curve, Sums

WINDOW_SECONDS: Final = 300.0  # what "now" means for loss and calibration: the five minutes of the README's query
MARKS: Final = 64  # alarms kept
_REASONS: Final = 64  # to reject, kept: there are fewer (worker.events.rejects), all of them from a closed list
_COMMITS: Final = 16  # that a rate is taken over
_SILENT_SECONDS, _SILENT_COMMITS = 15.0, 3.0  # without a commit for so long, or so many usual gaps, the rate is 0


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A version that was committed. Sizes are None where they are not known."""

    shard: int
    version: int
    created: float  # seconds since 1970
    events: int  # that the shard has learned in all its life
    more: Sums  # since the version before
    baseline: float  # the loss that the shard's is held against; NaN where there is none
    rows: int | None = None
    bytes: int | None = None
    offset_lag: int | None = None  # records not yet learned
    event_time_lag: float | None = None  # seconds; None where nothing was learned
    unservable: str | None = None  # why followers are not to serve it


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard as it is now. What is not known is None, or NaN."""

    shard: int
    version: int
    created: float | None = None  # of that version, seconds since 1970
    events: int | None = None
    events_per_second: float = 0.0
    rows: int | None = None
    bytes: int | None = None
    offset_lag: int | None = None
    event_time_lag: float | None = None
    loss: float = float("nan")  # over the last `WINDOW_SECONDS` in which there was any
    baseline: float = float("nan")
    calibration: float = float("nan")  # sum of the scores over sum of the labels, over the same time
    alarms: int = 0
    damage: str | None = None  # of a follower: why newer versions are refused
    unservable: str | None = None  # why followers keep an older version
    refused: str | None = None  # why what comes is not learned


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An alarm of a drift detector."""

    time: float  # seconds since 1970
    shard: int
    detector: str


@dataclass(frozen=True, kw_only=True)
class Rejections:
    """Records rejected for one reason, and where the last one stands in the event topic: nothing of what it holds."""

    reason: str
    count: int  # since the process started
    shard: int
    offset: int | None
    time: float | None  # the record's timestamp, seconds since 1970; None where it has none


@dataclass(kw_only=True)
class _Told:
    shard: Shard
    curve: Curve = field(default_factory=Curve)
    commits: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_COMMITS))  # when, events by then

    def rate(self, now: float) -> float:
        """Give events per second over the last commits; 0 once they have stopped coming."""
        if len(self.commits) < 2:
            return 0.0
        (first, before), (last, after) = self.commits[0], self.commits[-1]
        usual = (last - first) / (len(self.commits) - 1)
        if last <= first or now - last > max(_SILENT_SECONDS, _SILENT_COMMITS * usual):
            return 0.0
        return (after - before) / (last - first)


class History:
    """Is told by the loop's thread, and asked by any.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.started = clock()
        self._lock = threading.Lock()
        self._shards: dict[int, _Told] = {}
        self._whole = Curve()
        self._marks: deque[Mark] = deque(maxlen=MARKS)
        self._rejected: dict[str, Rejections] = {}
        self._aborted: float | None = None

    def began(self, shard: int, version: int, events: int) -> None:
        """Note where a shard stands that is learned from now on, or once more."""
        with self._lock:
            told = self._shards.setdefault(shard, _Told(shard=Shard(shard=shard, version=version)))
            told.shard = replace(told.shard, version=version, events=events, refused=None)
            told.commits.clear()  # what was taken back must not count as a negative rate
            told.commits.append((self.clock(), events))

    def committed(self, commit: Commit) -> None:
        """Note a version, and what its events add to the loss curves."""
        with self._lock:
            now = self.clock()
            told = self._shards.setdefault(commit.shard, _Told(shard=Shard(shard=commit.shard, version=0)))
            told.commits.append((now, commit.events))
            if commit.more.events:
                told.curve.add(now, commit.more, commit.baseline)
                self._whole.add(now, commit.more, commit.baseline)
            before = told.shard.event_time_lag
            told.shard = replace(
                told.shard,
                version=commit.version,
                created=commit.created,
                events=commit.events,
                rows=commit.rows,
                bytes=commit.bytes,
                offset_lag=commit.offset_lag,
                event_time_lag=before if commit.event_time_lag is None else commit.event_time_lag,
                unservable=commit.unservable,
            )
            self._aborted = None

    def judged(self, shard: int, refused: str | None) -> None:
        """Note why what comes to a shard is not learned; None where it is."""
        with self._lock:
            if shard in self._shards:
                told = self._shards[shard]
                told.shard = replace(told.shard, refused=refused)

    def served(
        self, shard: int, version: int, age_seconds: float, damage: str | None, unservable: str | None = None
    ) -> None:
        """Note what a follower serves of a shard: version 0, whose age is NaN, stands for none yet."""
        with self._lock:
            created = None if isnan(age_seconds) else self.clock() - age_seconds
            told = self._shards.setdefault(shard, _Told(shard=Shard(shard=shard, version=version)))
            told.shard = replace(told.shard, version=version, created=created, damage=damage, unservable=unservable)

    def rejected(self, shard: int, reason: str, count: int, offset: int | None, seconds: float | None) -> None:
        """Note records that were rejected for a reason, and offset and timestamp (since 1970) of the last one."""
        with self._lock:
            if reason not in self._rejected and len(self._rejected) == _REASONS:
                return
            before = self._rejected.pop(reason, None)  # the reason that was met last stands last
            self._rejected[reason] = Rejections(
                reason=reason, count=count + (before.count if before else 0), shard=shard, offset=offset, time=seconds
            )

    def alarmed(self, shard: int, detector: str) -> None:
        """Note that a drift detector has raised an alarm: a mark on the loss curve."""
        with self._lock:
            self._marks.append(Mark(time=self.clock(), shard=shard, detector=detector))
            if shard in self._shards:
                told = self._shards[shard]
                told.shard = replace(told.shard, alarms=told.shard.alarms + 1)

    def aborted(self) -> None:
        """Note that the last transaction was aborted, until one goes through."""
        with self._lock:
            self._aborted = self.clock()

    def forget(self, shard: int) -> None:
        """Forget a shard that another worker takes over."""
        with self._lock:
            self._shards.pop(shard, None)

    def shards(self) -> list[Shard]:
        """Give the shards as they are now, by number."""
        with self._lock:
            return [_now(told, self.clock()) for _, told in sorted(self._shards.items())]

    def whole(self) -> Shard:
        """Give loss, baseline and calibration of all shards together; `shard` is -1."""
        with self._lock:
            return _evaluated(Shard(shard=-1, version=0, alarms=len(self._marks)), self._whole)

    def curve(self, shard: int | None = None) -> NDArray[np.float64]:
        """Copy the points [n, 7] of a shard's curve (`worker.observe.curve`), or of all shards together."""
        with self._lock:
            if shard is None:
                return self._whole.points()
            return self._shards[shard].curve.points() if shard in self._shards else Curve().points()

    def marks(self) -> list[Mark]:
        """Give the last alarms, oldest first."""
        with self._lock:
            return list(self._marks)

    def rejections(self) -> list[Rejections]:
        """Give the reasons for which records were rejected, the one that was met last first."""
        with self._lock:
            return list(reversed(self._rejected.values()))

    def last_abort(self) -> float | None:
        """Tell when a transaction was aborted, if none has gone through since."""
        with self._lock:
            return self._aborted


def _now(told: _Told, now: float) -> Shard:
    return _evaluated(replace(told.shard, events_per_second=told.rate(now)), told.curve)


def _evaluated(shard: Shard, curve: Curve) -> Shard:
    sums = curve.last(WINDOW_SECONDS)
    return replace(
        shard,
        loss=_quotient(sums[LOSS], sums[WEIGHT]),
        baseline=_quotient(sums[BASELINE], sums[WEIGHT]),
        calibration=_quotient(sums[SCORE], sums[LABEL]),
    )


def _quotient(over: float, under: float) -> float:
    return float(over / under) if under > 0 else float("nan")
