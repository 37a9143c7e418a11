"""A worker that is frozen past its session, and thaws: it must not publish, and nothing it did may be seen."""

import signal
from pathlib import Path

import pytest

from deploy.broker import Broker
from tests.support.crew import Crew, Worker
from tests.support.ends import Ends
from tests.support.feed import Feed
from tests.support.patience import await_
from tests.support.stage import Stage, set_stage
from tests.support.verdict import await_all_learned, last_manifests, require_exactly_once, require_one_chain
from worker.errors import FencedError

_LOOKS = 20


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("in_a_commit", [False, True], ids=["between commits", "in a commit"])
def test_a_frozen_worker_cannot_publish_when_it_thaws(
    kafka: Broker, unique: str, tmp_path: Path, protocol: str, in_a_commit: bool
) -> None:
    stage = set_stage(
        kafka, unique, tmp_path, kafka={"group_protocol": protocol}, snapshots={"keep_bases": 1_000}
    )  # all bases are kept, so that the whole chain can be read
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew, Ends(stage) as ends:
        # Given two workers, of which one is frozen
        feed.begin(events_per_second=3_000)
        frozen = crew.start()
        frozen.await_commit()
        other = crew.start()
        other.await_commit()
        frozen.await_commit()
        if in_a_commit:
            await_("the worker in the middle of its transaction", lambda: _freeze_in_a_commit(frozen, other, ends))
        else:
            frozen.send(signal.SIGSTOP)

        # When the other takes over all shards and learns on, and the frozen one thaws
        _await_progress_of_every_shard(stage)
        assigned = frozen.count("assigned shards")
        frozen.send(signal.SIGCONT)
        await_(
            "the thawed worker has ended or joined anew",
            lambda: not frozen.alive or frozen.count("assigned shards") > assigned,
        )

        # Then it ends as documented or joins anew, the chain is one, and every event is learned once
        feed.stop()
        feed.flush()
        await_all_learned(stage)
        for worker in crew.staying:
            worker.leave()
        assert other.exit_code() == 0
        assert frozen.exit_code() in (0, FencedError.exit_code)
        require_exactly_once(stage, feed)
        require_one_chain(stage)


def _freeze_in_a_commit(victim: Worker, other: Worker, ends: Ends) -> bool:
    before = ends.open()
    began = ends.open() - before
    if not began:
        return False
    victim.send(signal.SIGSTOP)
    # The other's transactions end by themselves: one that is still open after many looks is the victim's.
    if other.alive and all(began & ends.open() for _ in range(_LOOKS)):
        return True
    victim.send(signal.SIGCONT)
    return False


def _await_progress_of_every_shard(stage: Stage) -> None:
    before = {shard: manifest.version for shard, manifest in last_manifests(stage).items()}
    await_(
        "new versions of every shard",
        lambda: all(manifest.version > before[shard] for shard, manifest in last_manifests(stage).items()),
    )
