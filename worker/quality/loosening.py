"""When an alarm of drift is answered by loosening what a shard has learned.

An alarm is known when its event has been learned, and so have others of the same batch. So it is answered at the next
event whose number is a multiple of `EVERY`, and batches are cut there: how a poll cuts events changes nothing.

Only the sequential tests are answered, whose false alarms are as rare as configured; that scores or labels are
distributed otherwise is no fault of the model. One change may raise several alarms, and a model that was loosened
predicts worse for a while: so alarms of the next `REST` windows are not answered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from worker.model.batch import Batch
from worker.quality.layout import BASELINE, CALIBRATION, EVENTS, RESIDUAL
from worker.quality.watch import Watch

EVERY: Final = 4_096  # events: soon enough beside the time that an alarm takes, and few cuts
REST: Final = 5  # windows
_ANSWERED: Final = (RESIDUAL, CALIBRATION, BASELINE)


@dataclass(kw_only=True)
class Loosening:
    """How often a shard was loosened, and whether it is due."""

    limit: float | None  # how sure rows stay, see `worker.model.loosening`; None where no alarm is answered so
    times: int = 0
    event: int = 0  # after which it was the last time, counted as those of alarms are

    @property
    def on(self) -> bool:
        """Tell whether alarms are answered."""
        return self.limit is not None

    def parts(self, batch: Batch, events: int) -> Iterator[Batch]:
        """Cut a batch where an alarm may have to be answered.

        Args:
            batch: the next events of the shard.
            events: how many it has learned before.
        """
        if not self.on:
            yield batch
            return
        start = 0
        while start < len(batch):
            stop = min(len(batch), start + EVERY - (events + start) % EVERY)
            yield batch if stop - start == len(batch) else batch.part(start, stop)
            start = stop

    def answer(self, watch: Watch, events: int) -> float | None:
        """Tell after one of these parts how sure rows are to stay, if it is due, and count it.

        Args:
            watch: how the shard does by now.
            events: how many it has learned by now.
        """
        if self.limit is None or events % EVERY:
            return None
        alarm = max(watch.alarm(detector).event for detector in _ANSWERED)
        if alarm <= (self.event + REST * watch.watching.window_events if self.times else 0):
            return None
        self.times, self.event = self.times + 1, int(watch.words[EVENTS])
        return self.limit
