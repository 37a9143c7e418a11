"""The poison breaker in a fresh replay: records are held back and judged block by block, as a worker does.

A worker judges a block as it is once its events have waited for `quality.freeze_seconds`. A replay has no such clock:
it goes by the log's time, and looks where a window begins. So what is learned depends on records and settings alone;
and of a shard whose blocks are complete in time, it is what a worker has learned, to the bit.
"""

from collections.abc import Iterator

from worker.pipeline import Pipeline, Prepared
from worker.quality.breaker import Breaker
from worker.recording.records import Records
from worker.replay.course import Noting
from worker.snapshot.state import ShardState
from worker.stream.block import Block, Judged, Refused


class Guard:
    """Holds back what is not judged yet. One thread cuts records, another one takes them.

    Args:
        breaker: the bounds.
        pipeline: what is done to records that are learned, or passed over.
        packed: whether a record may hold many events.
        note: hears of what is rejected of these.
    """

    def __init__(self, breaker: Breaker, pipeline: Pipeline, *, packed: bool, note: Noting) -> None:
        self._pipeline, self._note = pipeline, note
        self._seconds = 0.0  # of the log: when the window began that is being learned
        self._block = Block[Records](breaker, packed=packed, clock=lambda: self._seconds)

    @property
    def frozen(self) -> Refused | None:
        """Give the block from which on nothing of the shard is learned; None where none was refused for good."""
        return self._block.refused if self._block.frozen else None

    def cuts(self, count: int) -> Iterator[tuple[int, int]]:
        """Cut so many records, which follow those before, where blocks end: first position, and the one after."""
        return self._block.cuts(count)

    def take(self, state: ShardState, records: Records, prepared: Prepared, begin_ms: int) -> None:
        """Take records, and learn what may be learned by now.

        Args:
            state: the shard; it changes.
            records: of one window, and no more of them than a block has left.
            prepared: the same.
            begin_ms: when their window begins.
        """
        self._seconds = begin_ms / 1_000
        if self._block.overdue and not self._block.frozen:
            self._do(state, self._block.cut())
        if not self._block.frozen:
            offsets = int(records.offsets[0]), int(records.offsets[-1])
            self._do(state, self._block.add(state, records, offsets, prepared))

    def finish(self, state: ShardState) -> None:
        """Judge what is there of a block as it is: nothing follows."""
        if not self._block.frozen:
            self._do(state, self._block.cut())

    def _do(self, state: ShardState, judged: Judged[Records]) -> None:
        for piece in judged.learn:
            self._pipeline.take(state, piece.prepared, piece.last_offset + 1)
        for piece in judged.pass_over:
            self._pipeline.pass_over(state, piece.prepared, piece.first_offset, piece.last_offset + 1)
        for piece in judged.learn + judged.pass_over:
            if piece.prepared.rejected:
                self._note(piece.held, piece.prepared.rejected)
