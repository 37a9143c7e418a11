"""The publish gate: whether a version may be served, by how its shard did over the last window of events."""

import math
from dataclasses import dataclass

from worker.quality.layout import WINDOWS
from worker.quality.watch import Watch


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Bounds on the values of a window; None where there is no bound."""

    highest_entropy: float | None = None  # normalised entropy: 1 is no better than the base rate alone
    calibration: tuple[float, float] | None = None  # sum of scores over sum of labels, lowest and highest

    def faults(self, watch: Watch) -> list[str]:
        """Say in words what of the last window is out of bounds; nothing before the first window is full.

        A window whose labels are all the same is out of both bounds: next to such labels the base rate alone is
        infallible, and where all are 0, no score above 0 is calibrated.
        """
        if not watch.words[WINDOWS]:
            return []
        told, found = watch.last_window(), []
        entropy, calibration = told["normalized_entropy"], told["calibration"]
        window = f"over the last window of {watch.watching.window_events} events"
        if self.highest_entropy is not None and not entropy <= self.highest_entropy:  # NaN too
            value = "without bound, since all labels are the same," if math.isnan(entropy) else f"{entropy:.4g}"
            found.append(f"normalised entropy is {value} {window}, above {self.highest_entropy:g}")
        if self.calibration is not None:
            low, high = self.calibration
            if math.isnan(calibration):
                found.append(f"calibration is without bound {window}, since all labels are 0, above {high:g}")
            elif not low <= calibration <= high:
                found.append(f"calibration is {calibration:.4g} {window}, outside {low:g} to {high:g}")
        return found
