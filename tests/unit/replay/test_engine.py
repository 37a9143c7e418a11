"""The engine of replays: what fails in a thread is told, and no thread is left behind."""

import threading

import pytest

from tests.support.lineage import learning_of
from tests.support.replayed import Memory, config_of, stream
from worker.errors import HeadraceError
from worker.replay import Replay


class Broken(Memory):
    def partition(self, number, start=None, stop=None):
        for count, some in enumerate(super().partition(number, start, stop)):
            if number == 1 and count == 2:
                raise HeadraceError("the disk is gone")
            yield some


def replaying() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("replay")]


@pytest.mark.parametrize("threads", [1, 3])
def test_what_fails_is_told(threads):
    source = Broken(stream(3_000, 3, seed=1).partitions, chunk=100)
    with pytest.raises(HeadraceError, match="the disk is gone"):
        Replay(config_of(learning_of(merge=True)), source, threads=threads).run()
    assert replaying() == []


def test_an_interrupt_ends_it():
    source = stream(3_000, 3, seed=1)

    def interrupt(_records: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Replay(config_of(learning_of(merge=True)), source, threads=2, progress=interrupt).run()
    assert replaying() == []


def test_progress_counts_every_record_once():
    source, seen = stream(3_000, 3, seed=1), []
    result = Replay(config_of(learning_of(merge=True)), source, threads=3, progress=seen.append).run()
    assert sum(seen) == result.records == 3_000
