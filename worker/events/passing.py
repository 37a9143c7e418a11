"""Ranges of offsets that are passed over, as `events.skip` names them: as if their events had never been sent."""

import numpy as np
from numpy.typing import NDArray

from worker.events.decode import Decoded
from worker.events.intake import Source
from worker.learning import Events


class Passing:
    """Leaves out the valid events that stand in the ranges; bad records there are bad all the same."""

    def __init__(self, events: Events) -> None:
        self._ranges = {shard: np.array(ranges, np.int64) for shard, ranges in events.skipped.items()}
        self.asks_source = bool(self._ranges)

    def leave_out(self, decoded: Decoded, source: Source | None) -> Decoded:
        """Give the events that stand elsewhere.

        Raises:
            ValueError: there are ranges, and nobody said where the records stand.
        """
        if not self._ranges:
            return decoded
        if source is None:
            raise ValueError("what is passed over depends on the offsets of records")
        if source.shard not in self._ranges:
            return decoded
        return decoded.only(~within(self._ranges[source.shard], source.offsets[decoded.index]))


def within(ranges: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which of n offsets stand in one of the ranges [m, 2], first and last offset, which rise.

    >>> within(np.array([[3, 4], [9, 9]]), np.array([2, 3, 4, 5, 9, 10])).tolist()
    [False, True, True, False, True, False]
    """
    place = np.searchsorted(ranges[:, 0], offsets, side="right") - 1
    return np.asarray((place >= 0) & (offsets <= ranges[place, 1]))
