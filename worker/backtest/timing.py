"""When labels are known, and when what is served is renewed: by the time of the log, in steps of it.

The time of a record is the latest timestamp of its partition up to it, as in `worker.replay.fresh`. It is cut into
steps, counted from 1970: all events of a step are predicted by the same model, and at the beginning of the next step
it learns whatever labels are known by then. A label is known `delay_ms` after the end of the tick of its event. So what
predicts an event of time t has learned no label of an event after t - delay: never one too early, and at most a step
and a tick too late.

- Without a delay and without retraining there are no steps: each event is predicted, then learned, one by one.
- With a delay, steps and ticks are a sixteenth of it at most.
- Of a model that is retrained every day, a step is a day. To train a model anew on all events so far, in one pass and
  in their order, gives the bits of the one that has gone on learning. So nothing has to be learned twice.
"""

from dataclasses import dataclass
from typing import Final, Self

from worker.evaluation.spans import WIDTHS_MS

PARTS: Final = 16  # of a delay: a sixteenth of it changes what is known by less than anybody could say of his own delay
NOTHING_YET: Final = -1  # the time of records before the first with a timestamp


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When what is known; all in milliseconds of the log's time."""

    delay_ms: int = 0  # of labels
    step_ms: int = 0  # for which one model is served; 0: every event is learned before the next one
    tick_ms: int = 0  # within which events are told apart by time

    @classmethod
    def of(cls, delay_ms: int = 0, batch_ms: int = 0) -> Self:
        """Give that of labels that come late, and of a model that is retrained every so often.

        Args:
            delay_ms: of labels.
            batch_ms: from one training to the next; 0 for a model that learns online.
        """
        tick_ms = max((width for width in WIDTHS_MS if PARTS * width <= delay_ms), default=1) if delay_ms else batch_ms
        return cls(delay_ms=delay_ms, step_ms=batch_ms or tick_ms, tick_ms=tick_ms)

    @property
    def at_once(self) -> bool:
        """Tell whether each event is learned before the next one is predicted."""
        return not self.step_ms

    def begins(self, step: int) -> int:
        """Give when a step begins."""
        return step * self.step_ms

    def known_at(self, tick: int) -> int:
        """Give when the labels of a tick's events are known."""
        return (tick + 1) * self.tick_ms + self.delay_ms
