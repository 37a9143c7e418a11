"""A shard of this worker: what it lacks of the others."""

from tests.support.lineage import Writer, events, learning_of, versions
from worker.stream.contributions import folding_of
from worker.stream.held import Held
from worker.stream.owned import Owned

LEARNING = learning_of(merge=True)


class Two:
    """Two shards of one worker, that hold what each of them publishes."""

    def __init__(self) -> None:
        self.held = Held(range(2))
        self.writers = [Writer(LEARNING, shard) for shard in range(2)]
        self.owned = [Owned.restored(writer.state, []) for writer in self.writers]

    def commit(self, shard: int) -> None:
        writer, first = self.writers[shard], self.writers[shard].next_offset
        manifest = writer.commit(self.owned[shard].foldings(self.held))
        self.owned[shard].backlog.clear()
        (version,) = versions(writer.log, LEARNING, shard=shard, start=first)
        self.held.add(manifest, folding_of(version, 4))

    def lacking(self) -> list[int]:
        return [owned.state.shard for owned in self.owned if owned.lacks(self.held)]


def test_a_shard_lacks_what_another_one_has_learned_until_it_has_folded_it_in():
    two = Two()
    assert two.lacking() == []
    two.writers[0].learn(events(20, 1))
    two.commit(0)
    assert two.lacking() == [1]
    two.commit(1)
    assert two.lacking() == []
    assert two.owned[1].state.peers[0].events == 20
    assert two.owned[1].state.version == 1
    assert two.owned[1].state.next_offset == 0


def test_what_a_restore_found_is_lacked_too():
    two = Two()
    two.writers[0].learn(events(20, 1))
    two.commit(0)
    two.owned[1].backlog = two.owned[1].foldings(two.held)
    two.held.forget({shard: owned.known for shard, owned in enumerate(two.owned)})
    assert two.held.after(1, {}) == []
    assert two.lacking() == [1]
    two.commit(1)
    assert two.lacking() == []


def test_two_silent_shards_do_not_wake_one_another():
    # Given two shards that have learned, and fall silent
    two = Two()
    for shard in range(2):
        two.writers[shard].learn(events(20, shard))
    two.commit(0)
    two.commit(1)
    # When each folds in what it lacks, as long as it lacks something
    woken = []
    while lacking := two.lacking():
        woken += lacking
        for shard in lacking:
            two.commit(shard)
        assert len(woken) < 10
    # Then that is one version of whoever could not know all, and both know the same
    assert woken == [0]
    assert two.owned[0].state.view() == two.owned[1].state.view()
