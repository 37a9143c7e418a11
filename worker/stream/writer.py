"""Writing beside reading: one thread that takes records in the order in which they are handed over."""

import queue
import threading
from types import TracebackType
from typing import Final, Self

from worker.recording.records import Records
from worker.recording.writing import PartitionWriter

_WAITING: Final = 8  # batches on their way: some tens of megabytes


class Writer:
    """Writes what it is handed, in a thread. To leave the context waits for it; after an error, it gives all files up.

    Its methods raise what writing raised.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[PartitionWriter, Records | int] | None] = queue.Queue(_WAITING)
        self._writers: set[PartitionWriter] = set()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        for writer in self._writers:
            writer.abort()  # what is whole has its name by now
        if error is None and self._failure is not None:
            raise self._failure

    def add(self, writer: PartitionWriter, records: Records) -> None:
        """Hand records over; waits while too many are on their way."""
        self._put(writer, records)

    def finish(self, writer: PartitionWriter, next_offset: int) -> None:
        """End the file of a partition, which covers all before this offset."""
        self._put(writer, next_offset)

    def _put(self, writer: PartitionWriter, what: Records | int) -> None:
        if self._failure is not None:
            raise self._failure
        self._writers.add(writer)
        self._queue.put((writer, what))

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            writer, what = task
            if self._failure is not None:
                continue  # so that nobody waits for room
            try:
                if isinstance(what, int):
                    writer.finish(what)
                else:
                    writer.add(what)
            except BaseException as error:  # noqa: BLE001 - raised in the thread that hands over
                self._failure = error
