"""Partitions side by side: one order of all records that depends on nothing but what they say."""

import heapq
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from worker.recording.records import NO_TIMESTAMP, Records


class _Partition:
    """Where one partition stands: some of its records, and when each of them is due."""

    def __init__(self, number: int, batches: Iterator[Records], span_ms: int) -> None:
        self.number = number
        self.records: Records
        self.due: NDArray[np.int64]  # [n]
        self.at = 0
        self._batches, self._span = batches, span_ms
        self._latest = NO_TIMESTAMP

    def fill(self) -> bool:
        """Take the next records; False where there are none."""
        for records in self._batches:
            if len(records):
                # A record whose clock lags is due with the one before it: within a partition, offsets decide.
                times = np.maximum.accumulate(np.maximum(records.timestamps, self._latest))
                self._latest = int(times[-1])
                self.records, self.due, self.at = records, times // self._span, 0
                return True
        return False

    def head(self) -> tuple[int, int, "_Partition"]:
        return int(self.due[self.at]), self.number, self

    def take(self, due: int, number: int) -> Records:
        """Give all that is due before what another partition has at its head."""
        end = int(np.searchsorted(self.due, due, "right" if self.number < number else "left"))
        taken = self.records if (self.at, end) == (0, len(self.records)) else self.records.slice(self.at, end)
        self.at = end
        return taken

    def rest(self) -> Records:
        taken = self.records.slice(self.at, len(self.records))
        self.at = len(self.records)
        return taken


def interleave(partitions: Iterable[tuple[int, Iterator[Records]]], span_ms: int) -> Iterator[Records]:
    """Give the records of all partitions by their timestamp, then partition, then offset.

    A partition's own order is never changed: a record counts as late as the latest one before it.

    Args:
        partitions: number -> records in the order of their offsets.
        span_ms: timestamps within one such span count as one, so that partitions alternate less often. 1 is the exact
            order, of which few records in a row may be of one partition.
    """
    heap = []
    for number, batches in partitions:
        partition = _Partition(number, batches, span_ms)
        if partition.fill():
            heap.append(partition.head())
    heapq.heapify(heap)
    while heap:
        _, _, partition = heapq.heappop(heap)
        yield partition.take(heap[0][0], heap[0][1]) if heap else partition.rest()
        if partition.at < len(partition.records) or partition.fill():
            heapq.heappush(heap, partition.head())
