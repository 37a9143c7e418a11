"""Whether a shard goes wrong: detectors of drift, values of the last window, slices; all from what was predicted.

It decides nothing of what is learned. So it has a record of its own in every version, and is not in the digest of the
shard: who changes how a model is watched goes on with the same model. Its bits depend on the events alone, as the
model's do, and are restored with it: a restart neither forgets what a detector has gathered nor alarms again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import xxhash
from numba import njit
from numpy.typing import NDArray

from worker.model.batch import Batch
from worker.quality import layout
from worker.quality.drift import ETAS, WARM, test
from worker.quality.odds import Odds
from worker.quality.progress import Judged
from worker.quality.slices import Slices
from worker.quality.windows import STABILITY, close, gather

_SEQUENTIAL: Final = (layout.RESIDUAL, layout.CALIBRATION, layout.BASELINE)
_ETAS = np.array(ETAS)


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How a shard is watched."""

    logistic: bool
    window_events: int
    false_alarm_every_events: int  # in the mean, by all detectors together; 0 where nothing is tested
    kept: float = 1.0  # the share of events whose label is 0 that is learned
    slices: Slices = field(default_factory=Slices)
    settings: str = ""  # what it was made of: what was watched by other settings is not gone on with

    @property
    def detectors(self) -> tuple[int, ...]:
        """Give the numbers of the detectors that are at work."""
        if not self.false_alarm_every_events:
            return ()
        both = (layout.SCORES, layout.LABELS)
        return (*_SEQUENTIAL, *both) if self.logistic else (layout.BASELINE, *both)

    def threshold(self, detector: int) -> float:
        """Give the statistic at which a detector alarms, on the scale of `Watch.statistic`.

        The false alarms that are allowed are shared out evenly among the sequential tests; those of the other
        detectors are negligible beside them.
        """
        return float(np.log1p(self.limit)) if detector in _SEQUENTIAL else STABILITY

    @property
    def limit(self) -> float:
        """Give A, the same of each sequential test; infinite where nothing is tested."""
        tests = sum(detector in _SEQUENTIAL for detector in self.detectors)
        return float(tests * self.false_alarm_every_events) if tests else float("inf")


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """The last alarm of a detector."""

    detector: str
    alarms: int  # so far
    event: int  # the number of the event, from 1, among those of the shard whose weight is not 0
    time: int  # its event time, milliseconds since 1970
    statistic: float  # on the scale of `Watch.statistic`


@dataclass(kw_only=True)
class Watch:
    """What is known of how a shard does: `words` [layout.SIZE], and sums of slices [slices, 4]."""

    watching: Watching
    words: NDArray[np.float64]
    slices: NDArray[np.float64]

    @classmethod
    def fresh(cls, watching: Watching) -> Self:
        """Begin."""
        words = np.zeros(layout.SIZE)
        words[layout.CURVATURE] = words[layout.SPREAD] = 0.15  # about right, until the events tell
        words[layout.PER_CURVATURE] = words[layout.PER_SPREAD] = 1.0 / 0.15
        words[layout.RATE], words[layout.ODDS], words[layout.FACTOR] = 0.5, 1.0, 1.0
        words[layout.LAST :] = np.nan
        for detector in _SEQUENTIAL:
            words[layout.DETECTORS + detector * layout.EACH + layout.FROM_EVENT] = WARM * watching.window_events
        return cls(watching=watching, words=words, slices=np.zeros((len(watching.slices), 4)))

    def observe(
        self,
        batch: Batch,
        observed: NDArray[np.float32],
        variances: NDArray[np.float32],
        weights: NDArray[np.float32],
        judged: Judged,
    ) -> None:
        """Take in n events of a shard, in their order.

        Args:
            batch: the events.
            observed: [n] predictions of the labels that are observed.
            variances: [n] of their logits, NaN where they are not known.
            weights: [n] of the events in sums; an event of weight 0 is passed over.
            judged: how they fared.
        """
        watching = self.watching
        _observe(
            judged.logits, judged.losses, observed, variances, batch.labels, weights, batch.times, watching.logistic,
            bool(watching.detectors), float(-np.log(watching.kept)) if watching.kept < 1.0 else 0.0, watching.limit,
            watching.window_events, Odds.empty(), _ETAS, self.words,
        )  # fmt: skip
        if len(watching.slices):
            watching.slices.add(batch.entries, observed, batch.labels, weights, judged.losses, self.slices)

    def statistic(self, detector: int) -> float:
        """Give the highest value of a detector in this window and the one before, so that nobody misses an alarm.

        That of a sequential test as ln(1 + R); of `scores` and `labels` the last window's PSI.
        """
        at = layout.DETECTORS + detector * layout.EACH
        return _scaled(detector, max(self.words[at + layout.PEAK], self.words[at + layout.LAST_PEAK]))

    def alarm(self, detector: int) -> Alarm:
        """Tell of a detector's last alarm."""
        at = layout.DETECTORS + detector * layout.EACH
        return Alarm(
            detector=layout.NAMES[detector],
            alarms=int(self.words[at + layout.ALARMS]),
            event=int(self.words[at + layout.AT_EVENT]),
            time=int(self.words[at + layout.AT_TIME]),
            statistic=_scaled(detector, self.words[at + layout.AT_STATISTIC]),
        )

    def last_window(self) -> Mapping[str, float]:
        """Give the values of the last window that is complete, by name; NaN where there are none."""
        names = ("loss", "baseline_loss", "normalized_entropy", "calibration", "calibration_error", "auc", "auc_error")
        return dict(zip(names, self.words[layout.LAST : layout.SIZE].tolist(), strict=True))

    def copy(self) -> "Watch":
        """Copy it as it is now."""
        return Watch(watching=self.watching, words=self.words.copy(), slices=self.slices.copy())

    def digest(self) -> str:
        """Digest all of it: 16 hexadecimal digits, equal exactly when the bits are."""
        return xxhash.xxh3_64_hexdigest(self.words.tobytes() + self.slices.tobytes())


def _scaled(detector: int, value: float) -> float:
    return float(np.log1p(value) if detector in _SEQUENTIAL else value)


@njit(cache=True, nogil=True, error_model="numpy")
def _observe(
    logits, losses, observed, variances, labels, weights, times, logistic, detect, offset, threshold, window, odds,
    etas, words,
):  # fmt: skip
    """Take in events, window by window."""
    ratios = words[layout.ODDS_RATIOS : layout.ODDS_RATIOS + layout.TILTS + layout.SHIFTS].copy()
    bets = words[layout.BET : layout.BET + layout.BETS].copy()
    start = 0
    while start < len(logits):
        stop, room = start, window - words[layout.IN_WINDOW]
        while stop < len(logits) and room > 0.0:
            if weights[stop] != np.float32(0):
                room -= 1.0
            stop += 1
        some = slice(start, stop)
        if detect:
            test(
                logits[some], losses[some], variances[some], labels[some], weights[some], times[some], logistic,
                offset, threshold, window, odds, ratios, bets, etas, words,
            )  # fmt: skip
        gather(
            logits[some],
            losses[some],
            observed[some],
            labels[some],
            weights[some],
            logistic,
            float(WARM * window),
            words,
        )
        if room <= 0.0:
            close(times[stop - 1], logistic, detect, words)
        start = stop
    words[layout.ODDS_RATIOS : layout.ODDS_RATIOS + layout.TILTS + layout.SHIFTS] = ratios
    words[layout.BET : layout.BET + layout.BETS] = bets
