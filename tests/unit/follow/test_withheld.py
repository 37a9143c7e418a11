"""A follower goes on with the last servable version, and catches up with the next one: to the bit."""

from dataclasses import replace

import numpy as np
import orjson
import pytest

from tests.support.lineage import Writer, events, learning_of, manifest_of
from tests.unit.snapshot.test_kinds import MODELS, entries_of, message
from tests.unit.snapshot.test_lineage import rebuilt, same
from worker.follow.moved import newest
from worker.follow.served import way_to_serve
from worker.follow.shard import FollowedShard, Resync
from worker.follow.whole import Whole
from worker.follow.withheld import Withheld
from worker.learning import Learning
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, Record

WINDOW = 1_000


def gated(**model) -> Learning:
    learning = learning_of(**model)
    quality = learning.quality.model_copy(update={"window": WINDOW, "gate_calibration": (0.5, 2.0)})
    return learning.model_copy(update={"quality": quality})


@pytest.fixture
def bases_early(monkeypatch):
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


def poison(writer: Writer) -> Manifest:
    """Learn and publish a window whose labels are all 0: not servable."""
    values = [orjson.dumps(orjson.loads(event) | {"label": 0}) for event in events(WINDOW, writer.state.version + 1)]
    writer.learn(values)
    manifest = writer.commit()
    assert not manifest.servable
    return manifest


def good(writer: Writer) -> Manifest:
    """Learn and publish windows until one is servable."""
    for _ in range(50):
        if (manifest := writer.advance(WINDOW)).servable:
            return manifest
    raise AssertionError("not servable within 50 windows")


class Following:
    """Shards as a follower holds them, fed what their writers have published."""

    def __init__(self, learning: Learning, shards: int = 1) -> None:
        whole = Whole(learning)
        self.shards = [FollowedShard(learning.model.name, shard, learning, whole) for shard in range(shards)]
        self._entries, self._read = entries_of(learning), [0] * shards

    def feed(self, writer: Writer, start: int | None = None, records: list[tuple[int, Record]] | None = None) -> None:
        """Feed the records of a writer from where its shard has come, or from an offset on, going where it asks to."""
        shard = self.shards[writer.shard]
        at = self._read[writer.shard] if start is None else start
        for offset, record in writer.log if records is None else records:
            if offset >= at:
                at = offset + 1
                again = shard.take(message(record, offset))
                if isinstance(again, Resync):
                    self.feed(writer, again.offset, records)
                    return
        self._read[writer.shard] = at

    def scores(self, shard: int = 0) -> tuple[bytes, int]:
        scores, _, version = self.shards[shard].predict(self._entries)
        return scores.predictions.tobytes() + scores.variances.tobytes(), version


def scored(writer: Writer, learning: Learning) -> bytes:
    scores = writer.state.model.predict(writer.state.standardiser.standardise(entries_of(learning)))
    return scores.predictions.tobytes() + scores.variances.tobytes()


@pytest.mark.parametrize("kind", [kind for kind, model in MODELS.items() if model.get("loss") != "squared"])
def test_the_last_servable_version_is_served_until_one_comes_and_then_that(kind):
    learning = gated(**MODELS[kind])
    writer, following = Writer(learning), Following(learning)
    (shard,) = following.shards
    last = good(writer)
    following.feed(writer)
    before = following.scores()
    assert before == (scored(writer, learning), last.version)
    for number in range(3):
        manifest = poison(writer)
        following.feed(writer)
        assert following.scores() == before
        assert (shard.manifest, shard.withheld, shard.damage) == (last, manifest, None)
        assert (manifest.last_servable, manifest.version) == (last.version, last.version + 1 + number)
        assert manifest.reasons
    now = good(writer)
    following.feed(writer)
    assert following.scores() == (scored(writer, learning), now.version)
    assert scored(writer, learning) != before[0]
    assert (shard.manifest, shard.withheld, shard.resyncs) == (now, None, 0)
    assert now.last_servable == now.version


def test_of_merged_shards_one_is_held_back_whole_and_the_others_go_on():
    learning = gated(merge=True)
    writers = [Writer(learning, shard) for shard in range(2)]
    following, wanted = Following(learning, 2), Following(learning, 2)
    for writer in writers:
        good(writer)
        following.feed(writer)
        wanted.feed(writer)
    for _ in range(2):
        poison(writers[0])
        good(writers[1])
        for writer in writers:
            following.feed(writer)
        wanted.feed(writers[1])  # who has not read of the first shard what is not servable
        assert [following.scores(shard) for shard in range(2)] == [wanted.scores(shard) for shard in range(2)]
    good(writers[0])
    following.feed(writers[0])
    anew = Following(learning, 2)
    for writer in writers:
        anew.feed(writer)
    assert [following.scores(shard) for shard in range(2)] == [anew.scores(shard) for shard in range(2)]
    assert following.scores(0)[1] == writers[0].state.version


@pytest.mark.usefixtures("bases_early")
@pytest.mark.parametrize("merge", [False, True])
def test_what_is_too_much_to_keep_is_read_anew_and_nothing_older_is_served_meanwhile(merge):
    learning = gated(merge=merge)
    writer, following = Writer(learning, base_part_bytes=20_000), Following(learning)
    (shard,) = following.shards
    good(writer)
    last = good(writer)
    following.feed(writer)
    shard._held = Withheld(most_bytes=10_000)
    before = following.scores()
    for _ in range(3):
        poison(writer)
        following.feed(writer)
        assert following.scores() == before
    assert not shard._held.whole
    assert not shard._held.versions
    now = good(writer)
    # When all is read anew, record by record
    seen, queue = set(), list(writer.log)
    position = next(i for i, (offset, _) in enumerate(queue) if offset >= following._read[0])
    while position < len(queue):
        offset, record = queue[position]
        again = shard.take(message(record, offset))
        seen.add(following.scores())
        position += 1
        if again is not None:
            position = next(i for i, (offset, _) in enumerate(queue) if offset >= again.offset)
    anew = Following(learning)
    anew.feed(writer)
    assert shard.resyncs == 1
    assert seen == {before, anew.scores()}
    assert anew.scores()[1] == now.version > last.version


@pytest.mark.usefixtures("bases_early")
def test_nothing_of_what_was_withheld_is_served_where_the_version_after_it_is_damaged():
    learning = gated(merge=True)
    writer, following = Writer(learning), Following(learning)
    (shard,) = following.shards
    last = good(writer)
    following.feed(writer)
    before = following.scores()
    poison(writer)
    good(writer)
    offset, record = writer.log[-1]
    state = Manifest.decode(record.value).state.model_copy(update={"digest": "0" * 32})
    damaged = manifest_of(record, state=state)
    following.feed(writer, records=[*writer.log[:-1], (offset, damaged)])
    assert shard.damage is not None
    assert "has digest" in shard.damage
    assert following.scores() == before
    assert shard.manifest == last
    # And the first base that lies wholly behind heals it, at a servable version
    while writer.state.bases[-1].offset <= offset:
        poison(writer)
    poison(writer)
    following.feed(writer)
    assert (shard.damage, following.scores()) == (None, before)
    good(writer)
    following.feed(writer)
    anew = Following(learning)
    anew.feed(writer)
    assert following.scores() == anew.scores()


def test_a_version_that_is_missing_among_those_withheld_is_missed():
    learning = gated()
    writer, following = Writer(learning), Following(learning)
    (shard,) = following.shards
    good(writer)
    following.feed(writer)
    poison(writer)
    following.feed(writer)
    start = writer.next_offset
    poison(writer)
    poison(writer)
    second = next(i for i, (offset, record) in enumerate(writer.log) if offset > start and record.sequence == 0)
    following.feed(writer, records=writer.log[second:])
    assert shard.gaps == 1


@pytest.mark.usefixtures("bases_early")
@pytest.mark.parametrize("merge", [False, True])
def test_a_follower_that_starts_meanwhile_reads_up_to_the_last_servable_version(merge):
    learning = gated(merge=merge)
    writer = Writer(learning, keep_bases=1)
    following = Following(learning)
    last = good(writer)
    following.feed(writer)
    for _ in range(5):
        poison(writer)
        writer.trim()
        assert len(writer.manifests[-1].bases) <= 9
    assert writer.manifests[-1].bases[-1].version > last.version
    late = Following(learning)
    late.feed(writer, way_to_serve(writer.manifests[-1]).offset)
    assert late.scores() == following.scores()
    assert late.scores()[1] == last.version
    assert late.shards[0].withheld == writer.manifests[-1]
    # And once a version is servable, what was kept for that goes again
    good(writer)
    assert len(writer.manifests[-1].bases) == 1
    assert way_to_serve(writer.manifests[-1]) == writer.manifests[-1].bases[-1]


@pytest.mark.usefixtures("bases_early")
def test_where_no_servable_version_can_be_read_the_prior_is_served_until_one_comes():
    learning = gated(merge=True)
    writer = Writer(learning, keep_bases=1)
    prior = Following(learning).scores()
    good(writer)
    for _ in range(40):
        manifest = poison(writer)
        writer.trim()
    assert len(manifest.bases) == 1, "bases are not kept without end"
    late = Following(learning)
    late.feed(writer, way_to_serve(manifest).offset)
    assert late.scores() == prior
    assert (late.shards[0].manifest, late.shards[0].withheld) == (None, manifest)
    now = good(writer)
    late.feed(writer)
    assert late.scores()[1] == now.version
    assert late.scores()[0] != prior[0]


def test_what_is_remembered_while_nothing_is_served_is_bounded(monkeypatch):
    monkeypatch.setattr("worker.follow.shard._REMEMBERED", 100)
    learning = gated(merge=True)
    writer, late = Writer(learning), Following(learning)
    for _ in range(6):
        poison(writer)
        late.feed(writer)
        (shard,) = late.shards
        keys = np.concatenate([keys for _, keys in shard._added])
        assert len(keys) <= 100 + 2 * len(np.unique(keys)) + 200
    good(writer)
    late.feed(writer)
    anew = Following(learning)
    anew.feed(writer)
    assert late.scores() == anew.scores()
    tables = [one.shards[0]._whole._model.table for one in (late, anew)]
    marks = [table.marks_of(np.sort(tables[0].keys[: tables[0].size])) for table in tables]
    assert marks[0].tolist() == marks[1].tolist()


def test_newest_leaves_out_what_is_overtaken():
    def keys(*values: int) -> np.ndarray:
        return np.array(values, np.uint64)

    found = newest([(3, keys(1, 2)), (3, keys(5)), (4, keys(2, 7)), (5, keys()), (9, keys(5, 1))])
    assert [(version, some.tolist()) for version, some in found] == [(4, [2, 7]), (9, [1, 5])]
    assert newest([]) == []


def test_a_worker_restarts_from_a_version_that_is_not_servable():
    learning = gated()
    writer = Writer(learning)
    last = good(writer)
    poison(writer)
    other = Writer(learning)
    other.state = rebuilt(writer)
    assert same(other.state, writer.state)
    assert other.state.last_servable == last.version
    other.next_offset = writer.next_offset
    assert poison(other) == poison(writer)


def test_a_version_is_servable_before_the_first_window_and_says_so_without_a_gate():
    learning = gated()
    writer = Writer(learning)
    values = [orjson.dumps(orjson.loads(event) | {"label": 0}) for event in events(WINDOW, 1)]
    writer.learn(values[:-1])
    assert writer.commit().servable
    writer.learn(values[-1:])
    assert not writer.commit().servable
    without = Writer(learning_of())
    without.learn(values * 25)
    manifest = without.commit()
    assert (manifest.servable, manifest.reasons, manifest.last_servable) == (True, [], 1)
    assert Kind.WATCH in {part.kind for part in manifest.records}


def test_other_bounds_forget_nothing_of_what_was_watched():
    one = Writer(gated())
    good(one)
    quality = one.learning.quality.model_copy(update={"gate_calibration": (0.999, 1.001), "gate_entropy": 0.001})
    other = Writer(one.learning.model_copy(update={"quality": quality}))
    other.log = one.log
    state = rebuilt(other)
    assert state.watch.digest() == one.state.watch.digest()
    other.state = replace(state)
    other.learn(events(1, 5))
    assert len(other.commit().reasons) == 2
