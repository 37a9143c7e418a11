"""What a run measures while it learns: added up event by event, asked at the end.

It looks at what was predicted before it was learned, as `worker.quality` does, with the same definitions, and changes
nothing. Sums of several shards, each measured by itself, add up (`merge`), in the order of their numbers to the same
bits every time.
"""

from collections.abc import Callable
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from worker.evaluation import measures
from worker.evaluation.measures import Bin, Mark, Measures, Slice, Window
from worker.evaluation.pace import Pace, Throughput
from worker.evaluation.spans import WIDEST_MS
from worker.evaluation.windows import Windows
from worker.learning import Learning
from worker.model.batch import Batch, Entries
from worker.quality import layout
from worker.quality.progress import EVENTS, Judged, Progress
from worker.quality.slices import Slices
from worker.quality.watch import Watch
from worker.snapshot.kinds import watching_of
from worker.snapshot.state import ShardState

MOST_MARKS: Final = 1_000
# A window of fewer events tells more of chance than of the model: the loss of 50 deviates by a tenth of itself or so.
LEAST_EVENTS: Final = 50
_LARGEST = 1e300  # of a statistic: JSON has no infinity
_ALARMS = [layout.DETECTORS + number * layout.EACH + layout.ALARMS for number in range(len(layout.NAMES))]


class Evaluation:
    """Sums over the events that it is shown, by windows of event time and by slices. One thread at a time.

    Args:
        logistic: whether predictions are probabilities.
        slices: values of fields that are told apart; of `add` they need the entries of events.
        clock: seconds, rising, for the throughput; None measures none.
    """

    def __init__(
        self, *, logistic: bool, slices: Slices | None = None, clock: Callable[[], float] | None = None
    ) -> None:
        self.logistic = logistic
        self.sums = Windows(logistic=logistic)
        self.slicing = Slices() if slices is None else slices
        self.slice_sums = np.zeros((len(self.slicing), 4))
        self.least_width = 0  # of windows that are told, milliseconds
        self.alarms = 0  # of all detectors, those too of which no mark is kept
        self.noted: list[Mark] = []
        self.wall = None if clock is None else Throughput(clock)
        self._alarms: dict[int, NDArray[np.int64]] = {}  # by shard: of each detector, as of its last batch

    @classmethod
    def of(cls, learning: Learning, clock: Callable[[], float] | None = None) -> Self:
        """Make the one for what is learned by these settings."""
        watching = watching_of(learning)
        return cls(logistic=watching.logistic, slices=watching.slices, clock=clock)

    def observe(
        self,
        state: ShardState,
        batch: Batch,
        observed: NDArray[np.float32],
        variances: NDArray[np.float32],  # noqa: ARG002 - an observer of `Pipeline` is told
        weights: NDArray[np.float32],
        judged: Judged,
    ) -> None:
        """Take in a batch that a shard has learned, and alarms of drift: an observer of `worker.pipeline.Pipeline`."""
        self.add(batch.times, observed, batch.labels, weights, judged, batch.entries)
        self.note_alarms(state.shard, state.watch, int(np.count_nonzero(weights)))

    def add(
        self,
        times: NDArray[np.int64],
        observed: NDArray[np.float32],
        labels: NDArray[np.float32],
        weights: NDArray[np.float32] | None = None,
        judged: Judged | None = None,
        entries: Entries | None = None,
    ) -> None:
        """Take in n events.

        Args:
            times: [n] event times, milliseconds since 1970, in any order.
            observed: [n] predictions of the labels, made before learning.
            labels: [n].
            weights: [n]; None counts each once.
            judged: how the predictions fared, where it is known already.
            entries: the events, where there are slices.
        """
        if weights is None:
            weights = np.ones(len(labels), np.float32)
        if judged is None:
            judged = Progress(logistic=self.logistic).add(observed, labels, weights)
        self.sums.add(times, observed, labels, weights, judged)
        if len(self.slicing) and entries is not None:
            self.slicing.add(entries, observed, labels, weights, judged.losses, self.slice_sums)
        if self.wall is not None and len(times):
            self.wall.add(len(times))

    def add_sums(self, time: int, more: Progress, slice_sums: NDArray[np.float64] | None = None) -> None:
        """Take in events of which only the sums are known, as those of a version.

        Where in its bin a score lies is not known: it counts as in the middle, which moves the calibration error by
        less than a hundredth of itself.

        Args:
            time: event time that stands for all of them, milliseconds since 1970.
            more: their sums.
            slice_sums: [slices, 4] their sums by slice.
        """
        self.sums.add_sums(time, more)
        if slice_sums is not None:
            self.slice_sums = self.slice_sums + slice_sums
        if self.wall is not None and more.events:
            self.wall.add(more.events)

    def merge(self, other: "Evaluation") -> None:
        """Add what another one measured of other events, under the same settings.

        Raises:
            ValueError: it tells other slices apart, or measures another loss.
        """
        if (self.logistic, self.slicing.names) != (other.logistic, other.slicing.names):
            raise ValueError("evaluations of different losses or slices do not add up")
        self.sums.merge(other.sums)
        self.slice_sums = self.slice_sums + other.slice_sums
        self.noted = sorted([*self.noted, *other.noted], key=_when)[:MOST_MARKS]
        self.alarms += other.alarms
        if self.wall is not None and other.wall is not None:
            self.wall.merge(other.wall)

    @property
    def events(self) -> int:
        """Count the events."""
        return int(self.sums.total[EVENTS])

    @property
    def progress(self) -> Progress:
        """Give the sums over all events."""
        histogram = self.sums.histogram.sum(axis=0)
        return Progress(logistic=self.logistic, sums=self.sums.total.copy(), histogram=histogram)

    @property
    def totals(self) -> Measures:
        """Tell of all events."""
        return measures.measures(self.progress, self.sums.scores.sum(axis=0))

    def windows(self, least_events: int = LEAST_EVENTS) -> list[Window]:
        """Tell of windows of event time, at most `worker.evaluation.windows.MOST`.

        Neighbours are joined until there are `least_events` in the mean.
        """
        told = self.sums.copy()
        few = self.events // least_events
        while len(told) > 1 and (len(told) > few or told.width < self.least_width) and told.width < WIDEST_MS:
            told.join()
        # days that are told by dates are days
        while told.width < WIDEST_MS and (wider := told.copy()).join() == len(told) > 1:
            told = wider
        return [
            measures.window(
                int(told.begins[at]), told.width,
                Progress(logistic=self.logistic, sums=told.sums[at], histogram=told.histogram[at]), told.scores[at],
            )
            for at in range(len(told))
        ]  # fmt: skip

    @property
    def slices(self) -> list[Slice]:
        """Tell of each slice, in the order of the settings."""
        return [
            measures.slice_measures(*name, sums, logistic=self.logistic)
            for name, sums in zip(self.slicing.names, self.slice_sums, strict=True)
        ]

    @property
    def reliability(self) -> list[Bin]:
        """Tell of bins of scores; of the squared loss there are none."""
        return measures.reliability(self.progress, self.sums.scores.sum(axis=0)) if self.logistic else []

    @property
    def marks(self) -> list[Mark]:
        """Give the alarms of drift in the order of event time, the first `MOST_MARKS` of them."""
        return sorted(self.noted, key=_when)

    @property
    def throughput(self) -> list[Pace]:
        """Tell how many events were learned when; nothing without a clock."""
        return [] if self.wall is None else self.wall.paces()

    def note_alarms(self, shard: int, watch: Watch, events: int) -> None:
        """Note the alarms of a shard within its last batch, of so many events that detectors look at.

        Args:
            shard: its number.
            watch: what is known of it after the batch.
            events: of the batch, those whose weight is not 0.
        """
        counts = watch.words[_ALARMS].astype(np.int64)
        known = self._alarms.get(shard)
        self._alarms[shard] = counts
        if known is not None and (counts == known).all():
            return
        first = int(watch.words[layout.EVENTS]) - events  # what lies before was not seen: a state may be taken over
        for detector in watch.watching.detectors:
            alarm = watch.alarm(detector)
            if alarm.alarms and alarm.event > first:
                more = 1 if known is None else max(1, int(counts[detector] - known[detector]))
                self.alarms += more
                self.noted.append(
                    Mark(
                        time=alarm.time, shard=shard, signal=alarm.detector, event=alarm.event, alarms=more,
                        size=min(alarm.statistic, _LARGEST), threshold=watch.watching.threshold(detector),
                    )
                )  # fmt: skip
        del self.noted[MOST_MARKS:]


def _when(mark: Mark) -> tuple[int, int, str, int]:
    return mark.order
