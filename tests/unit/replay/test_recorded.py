"""A replay as recorded: every version of every shard, to the bit, whatever the model has."""

import dataclasses

import orjson
import pyarrow as pa
import pytest

from tests.support.lineage import Partition, Writer, learning_of, versions
from tests.support.replayed import Live, Memory, config_of, records_of, stream
from worker.errors import ConfigurationError, IncompatibleDataError
from worker.events.pack import write
from worker.learning import Learning
from worker.replay import Again, Replay
from worker.replay.publishing import moved_of
from worker.replay.recorded import MissingEventsError
from worker.snapshot.lineage import apply
from worker.snapshot.manifest import Peer
from worker.snapshot.sealing import Folding
from worker.snapshot.state import ShardState
from worker.stream.merging import recall

SHARDS = 3


class Few(Memory):
    """A source of some partitions of a topic that has more."""

    @property
    def shards(self) -> int:
        return SHARDS


NOTHING = Peer(version=0, offset=0)


@pytest.fixture(autouse=True)
def bases_early(monkeypatch):
    """Let bases come as soon as they may."""
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "model",
    [
        {"merge": False},
        {"merge": True},
        {"merge": True, "half_life": "2s"},
        {"merge": True, "max_rows": 60},
        {"merge": True, "max_rows": 60, "half_life": "2s"},
        {"merge": False, "max_rows": 60, "half_life": "2s"},
        {"merge": True, "admit_after": 3},
        {"kind": "ftrl", "merge": False},
    ],
    ids=str,
)
def test_every_version_is_reproduced(model, threads):
    learning = learning_of(**model)
    source = stream(3_000, SHARDS, seed=1)
    live = Live(learning, source).run()
    with live.chain() as chain:
        result = Replay(config_of(learning), source, mode="as recorded", chain=chain, threads=threads).run()
    assert result.digests == {writer.shard: writer.manifests[-1].state.digest for writer in live.writers}
    assert [(it.begun, it.first, it.last) for it in result.verdicts] == [
        (0, 1, writer.state.version) for writer in live.writers
    ]
    assert min(writer.state.version for writer in live.writers) > 5
    assert result.log.events == sum(writer.state.progress.events for writer in live.writers)
    values = {shard: records.values.to_pylist() for shard, records in source.partitions.items()}
    for reason, counted in result.log.rejected.items():
        some = result.log.examples[reason]
        assert len(some) == min(counted, 3)
        assert {values[one.shard][one.offset] for one in some} == {{"not_json": b"no json", "tombstone": None}[reason]}


def rich() -> Learning:
    """All that a shard may remember beside its rows: ids, a scale of numbers, counters, chosen pairs."""
    features = {f"f{number}": {"field": "item", "admit_after": number % 3} for number in range(11)}
    return Learning.model_validate(
        {
            "features": {"user": {}, "item": {}, "at": {"field": "time", "kind": "numeric"}} | features,
            "model": {"factors": 2, "pairs": "auto", "half_life": "5s", "admission_counters": 1_024},
            "events": {"id": "item", "duplicate_window": 30, "keep_negatives": 0.7},
        }
    )


def test_all_that_a_shard_remembers_is_reproduced():
    learning = rich()
    source = stream(4_000, SHARDS, seed=12)
    live = Live(learning, source).run()
    assert all(writer.state.skipped.keys() == {"duplicate", "negative"} for writer in live.writers)
    require_sound(live)


def test_alarms_that_are_answered_are_answered_again():
    quality = {"window": 1_000, "response": "loosen", "loosen_to": 1.0, "false_alarm_every": 1_000}
    learning = Learning.model_validate({**learning_of(merge=True).model_dump(), "quality": quality})
    live = Live(learning, stream(16_000, 2, seed=14, turn_at=9_000)).run()
    assert all(writer.state.loosening.times for writer in live.writers)
    require_sound(live)


def require_sound(live: Live) -> None:
    with live.chain() as chain:
        verdicts = Again(source=live.source, chain=chain, threads=2).run()
    assert [it.difference for it in verdicts] == [None] * len(live.writers)
    assert [it.last for it in verdicts] == [writer.state.version for writer in live.writers]


def test_packed_events_are_reproduced():
    learning = learning_of(merge=True)
    learning = learning.model_copy(update={"events": learning.events.model_copy(update={"format": "arrow"})})
    plain, packed = stream(3_000, SHARDS, seed=13), {}
    for shard, records in plain.partitions.items():
        values = [value for value in records.values.to_pylist() if value is not None and value != b"no json"]
        messages, times = [], []
        for begin in range(0, len(values), 7):
            rows = [orjson.loads(value) for value in values[begin : begin + 7]]
            bad = begin % 10 == 0
            messages.append(b"no stream" if bad else write(pa.RecordBatch.from_pylist(rows)))
            times.append(rows[0]["time"])
        packed[shard] = records_of(messages, times, partition=shard)
    source = Memory(packed)
    live = Live(learning, source).run()
    assert all(writer.state.rejected for writer in live.writers)
    assert all(writer.state.progress.events > 6 * writer.state.next_offset * 0.8 for writer in live.writers)
    with live.chain() as chain:
        result = Replay(config_of(learning), source, mode="as recorded", chain=chain, threads=2).run()
    assert result.digests == {writer.shard: writer.manifests[-1].state.digest for writer in live.writers}


def test_ranges_that_the_breaker_passed_over_are_passed_over():
    learning = learning_of(merge=True)
    source = stream(3_000, SHARDS, seed=2)
    live = Live(learning, source).run(passing={1: (200, 420)})
    assert live.writers[1].state.skipped["poison"] > 200
    with live.chain() as chain:
        verdicts = Again(source=source, chain=chain).run()
    assert all(it.sound for it in verdicts)
    assert [it.last for it in verdicts] == [writer.state.version for writer in live.writers]


def test_settings_that_changed_on_the_way_are_those_of_the_manifests():
    learning = learning_of(merge=True)
    skipping = learning.model_copy(
        update={
            "events": learning.events.model_copy(update={"skip": ("0:500-549",)}),
            "quality": learning.quality.model_copy(update={"window": 2_000}),
        }
    )
    source = stream(3_000, SHARDS, seed=3)
    live = Live(learning, source).run(before=dict.fromkeys(range(SHARDS), 400))
    for number, writer in enumerate(live.writers):  # given workers that are restarted with other settings
        live.writers[number] = restarted(writer, live, skipping)
    live.learning = skipping
    live.run()
    assert live.writers[0].state.skipped["poison"] > 40
    with live.chain(config_of(skipping)) as chain:
        verdicts = Again(source=source, chain=chain, threads=2).run()
        for writer in live.writers:  # and from a base of before the restart
            state, manifest, _ = chain.restore(
                writer.shard, chain.bases(writer.shard)[0], writer.state.version, own=True
            )
            assert state.watch.digest() == manifest.state.watch
    assert [it.difference for it in verdicts] == [None] * SHARDS
    assert [it.last for it in verdicts] == [writer.state.version for writer in live.writers]


def restarted(writer: Writer, live: Live, learning: Learning) -> Writer:
    config = config_of(learning)
    state = ShardState.fresh(writer.shard, learning)
    for version in versions(writer.log, learning, shard=writer.shard):
        apply(state, version)
    backlog = recall(
        config, state, writer.manifests[-1], [it for it in range(SHARDS) if it != writer.shard],
        lambda shard: Partition(live.writers[shard]),
    )  # fmt: skip
    assert state.digest() == writer.manifests[-1].state.digest
    successor = Writer(
        learning, writer.shard, base_part_bytes=1_500, record_limit_bytes=20_480, keep_bases=1_000, log=writer.log,
        manifests=writer.manifests, next_offset=writer.next_offset,
    )  # fmt: skip
    successor.state = state
    successor.commit(backlog)
    return successor


@pytest.mark.parametrize("model", [{"merge": False}, {"merge": True}, {"merge": True, "half_life": "2s"}], ids=str)
def test_where_the_beginning_was_trimmed_the_oldest_base_serves(model):
    learning = learning_of(**model)
    source = stream(6_000, SHARDS, seed=4)
    live = Live(learning, source).run()
    for writer in live.writers:
        kept = writer.manifests[-1].bases[1]
        writer.first_offset = kept.offset
        writer.log = [(offset, record) for offset, record in writer.log if offset >= kept.offset]
    with live.chain() as chain:
        verdicts = Again(source=source, chain=chain).run()
    assert [it.difference for it in verdicts] == [None] * SHARDS
    for writer, verdict in zip(live.writers, verdicts, strict=True):
        assert verdict.begun > 1
        assert (verdict.first, verdict.last) == (verdict.begun + 1, writer.state.version)


def test_some_versions_of_a_shard_are_verified_from_the_base_before_them():
    learning = learning_of(merge=True)
    source = stream(4_000, SHARDS, seed=5)
    live = Live(learning, source).run()
    last = live.writers[1].state.version
    with live.chain() as chain:
        (verdict,) = Again(source=source, chain=chain, shards=[1], first=last - 2, last=last - 1).run()
    assert (verdict.shard, verdict.first, verdict.last, verdict.difference) == (1, last - 2, last - 1, None)
    assert 0 < verdict.begun < last - 2
    assert verdict.events < live.writers[1].state.progress.events


@pytest.mark.parametrize("threads", [1, 2])
def test_one_byte_of_one_event_is_found_in_the_first_version_that_learned_it(threads):
    learning = learning_of(merge=True)
    source = stream(3_000, SHARDS, seed=6)
    live = Live(learning, source).run()
    # Given one letter of one event that is another one
    whole = source.partitions[2]
    values = whole.values.to_pylist()
    at = next(number for number in range(500, len(values)) if (values[number] or b"").startswith(b'{"user"'))
    values[at] = values[at].replace(b'"item":"i', b'"item":"j')
    source.partitions[2] = dataclasses.replace(whole, values=pa.array(values, pa.binary()))
    # When the versions are learned again
    with live.chain() as chain:
        verdicts = Again(source=source, chain=chain, threads=threads).run()
    # Then the one that learned it differs, and those before it do not
    wrong = next(it for it in live.writers[2].manifests if it.input.next_offset > at)
    difference = verdicts[2].difference
    assert difference is not None
    assert (difference.shard, difference.version) == (2, wrong.version)
    assert difference.first_offset <= at < difference.next_offset
    assert "digest" in difference.fields
    assert "events" not in difference.fields, "there are as many as before"
    assert verdicts[2].last == wrong.version - 1
    # and of the others nothing is said from where they fold that in
    for shard in (0, 1):
        assert verdicts[shard].difference is None
        folded = next(it for it in live.writers[shard].manifests if it.peers.get(2, NOTHING).version >= wrong.version)
        assert verdicts[shard].last == folded.version - 1
        assert f"version {wrong.version} of shard 2, which differs" in (verdicts[shard].waits or "")
    # and a replay as recorded says the same
    with live.chain() as chain, pytest.raises(IncompatibleDataError, match=f"version {wrong.version} of shard 2 "):
        Replay(config_of(learning), source, mode="as recorded", chain=chain).run()


def test_events_that_are_missing_are_named():
    learning = learning_of(merge=True)
    source = stream(2_000, SHARDS, seed=7)
    live = Live(learning, source).run()
    last = source.ranges[1][1]
    # the end
    short = Memory(source.partitions, bounds={1: (0, last - 10)})
    with (
        live.chain() as chain,
        pytest.raises(MissingEventsError, match=rf"partition 1 .* lacks {last - 10} to {last - 1}"),
    ):
        Again(source=short, chain=chain).run()
    # what others need of a shard that was not asked for
    folded = live.writers[0].manifests[-1].peers[1].version
    needed = live.writers[1].manifests[folded - 1].input.next_offset
    with live.chain() as chain, pytest.raises(MissingEventsError, match=rf"partition 1 .* lacks {needed - 1} to "):
        Again(source=Memory(source.partitions, bounds={1: (0, needed - 1)}), chain=chain, shards=[0]).run()
    # the beginning: a base goes on from there
    late = Memory(source.partitions, bounds={1: (last // 2, last)})
    with live.chain() as chain:
        verdicts = Again(source=late, chain=chain).run()
    assert [it.sound for it in verdicts] == [True] * SHARDS
    assert verdicts[1].begun > 1
    # both: nothing does
    with live.chain() as chain, pytest.raises(MissingEventsError, match=r"partition 1 .* lacks \d+ records before"):
        Again(source=Memory(source.partitions, bounds={1: (last + 5, last + 9)}), chain=chain, shards=[1]).run()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("model", [{}, {"half_life": "2s"}, {"max_rows": 60}], ids=str)
def test_some_partitions_are_replayed_with_what_the_others_published(model, threads):
    learning = learning_of(merge=True, **model)
    source = stream(3_000, SHARDS, seed=7)
    live = Live(learning, source).run()
    few = Few({shard: records for shard, records in source.partitions.items() if shard != 1})
    with live.chain() as chain:
        result = Replay(config_of(learning), few, mode="as recorded", chain=chain, threads=threads).run()
    assert result.taken == [1]
    assert result.digests == {shard: live.writers[shard].manifests[-1].state.digest for shard in (0, 2)}
    assert [(it.shard, it.first, it.last) for it in result.verdicts] == [
        (shard, 1, live.writers[shard].state.version) for shard in (0, 2)
    ]
    assert all(live.writers[shard].manifests[-1].peers[1].version > 3 for shard in (0, 2))
    # Up to a version, too, and whoever else is not there
    alone = Few({2: source.partitions[2]})
    with live.chain() as chain:
        result = Replay(
            config_of(learning), alone, mode="as recorded", chain=chain, threads=threads, to_version=5
        ).run()
    assert (result.taken, result.digests) == ([0, 1], {2: live.writers[2].manifests[4].state.digest})


def test_what_others_published_and_is_gone_is_told():
    learning = learning_of(merge=True)
    source = stream(2_000, SHARDS, seed=7)
    live = Live(learning, source).run()
    trimmed = live.writers[1]
    trimmed.first_offset = trimmed.manifests[-1].bases[-1].offset
    trimmed.log = [(offset, record) for offset, record in trimmed.log if offset >= trimmed.first_offset]
    alone = Few({2: source.partitions[2]})
    with live.chain() as chain, pytest.raises(IncompatibleDataError, match="what the shards 0, 1 had added by then"):
        Replay(config_of(learning), alone, mode="as recorded", chain=chain).run()
    live.writers[2].log.clear()
    with live.chain() as chain, pytest.raises(IncompatibleDataError, match="has no version of shard 2: it has some"):
        Replay(config_of(learning), alone, mode="as recorded", chain=chain).run()


def test_what_does_not_fit_is_told():
    learning = learning_of(merge=True)
    source = stream(1_000, SHARDS, seed=8)
    live = Live(learning, source).run()
    other = config_of(learning_of(merge=True, seed=9, half_life="1d"))
    with pytest.raises(IncompatibleDataError, match=r"(?s)model.half_life: published 'off'.*model.seed: published 0"):
        live.chain(other)
    fewer = Memory({0: source.partitions[0]})
    with live.chain() as chain, pytest.raises(IncompatibleDataError, match=r"recorded with 1 partitions, .* 3 shards"):
        Again(source=fewer, chain=chain).run()
    nothing = Memory(source.partitions, bounds=dict.fromkeys(range(SHARDS), (5, 5)))
    with live.chain() as chain, pytest.raises(IncompatibleDataError, match="no record"):
        Again(source=nothing, chain=chain).run()
    with live.chain() as chain, pytest.raises(ConfigurationError, match="shards 0 to 2, not 7"):
        Again(source=source, chain=chain, shards=[7]).run()
    with (
        live.chain() as chain,
        pytest.raises(ConfigurationError, match=r"no version 9999: the last ones in .* are \d+ of"),
    ):
        Again(source=source, chain=chain, shards=[1], last=9_999).run()
    with pytest.raises(ConfigurationError, match="published model has to be named"):
        Replay(config_of(learning), source, mode="as recorded")


def test_a_range_beyond_all_versions_is_refused_and_one_beyond_some_is_told():
    learning = learning_of(merge=False)
    source = stream(1_000, 2, seed=8)
    live = Live(learning, source).run()
    one, other = live.writers
    while one.state.version <= other.state.version:
        one.commit()  # without an event of its own
    most, least = one.state.version, other.state.version
    with live.chain() as chain:
        verdicts = Again(source=source, chain=chain, first=2, last=most).run()
    assert [(it.sound, it.last, it.short) for it in verdicts] == [(True, most, False), (True, least, True)]
    said = f"no version {most + 1}: the last ones in interactions.model are {most} of shard 0, {least} of shard 1"
    for bounds in ({"last": most + 1}, {"first": most + 1}, {"first": 1, "last": most + 1, "shards": [0, 1]}):
        with live.chain() as chain, pytest.raises(ConfigurationError, match=said):
            Again(source=source, chain=chain, **bounds).run()
    with live.chain() as chain, pytest.raises(ConfigurationError, match=f"shard 1 has versions up to {least} in"):
        Again(source=source, chain=chain, first=most).run()


def test_nothing_is_called_equal_that_was_not_compared():
    learning = learning_of(merge=True)
    source = stream(300, SHARDS, seed=10)
    live = Live(learning, source)
    live.writers = [Writer(learning, shard) for shard in range(SHARDS)]
    for writer in live.writers:
        live._poll(writer, 0, source.ranges[writer.shard][1], None)
        writer.commit()
    # The only version is a base too: where its events are missing, it is no beginning
    short = Memory(source.partitions, bounds=dict.fromkeys(range(SHARDS), (0, 10)))
    with live.chain() as chain, pytest.raises(MissingEventsError, match=r"version 1 of shard 0 .* lacks 10 to"):
        Again(source=short, chain=chain).run()
    with live.chain() as chain:
        assert [(it.first, it.last, it.sound) for it in Again(source=source, chain=chain).run()] == [(1, 1, True)] * 3

    # Versions of which only a base is left
    live = Live(learning, stream(6_000, SHARDS, seed=4)).run()
    for writer in live.writers:
        writer.first_offset = writer.manifests[-1].bases[1].offset
        writer.log = [(offset, record) for offset, record in writer.log if offset >= writer.first_offset]
    for bounds in ({"first": 1}, {"first": 1, "last": 2}, {"last": 1}):
        with (
            live.chain() as chain,
            pytest.raises(ConfigurationError, match=r"cannot be learned again: .* From version"),
        ):
            Again(source=live.source, chain=chain, **bounds).run()


def test_a_model_that_was_carried_begins_with_what_was_carried():
    # Given shards that were written by a replay, in one transaction
    learning = learning_of(merge=True)
    source = stream(3_000, SHARDS, seed=11)
    half = Memory(source.partitions, bounds=dict.fromkeys(range(SHARDS), (0, 400)))
    config = config_of(learning)
    moved = [moved_of(state, config) for state in Replay(config, half).run().states.values()]
    live = Live(learning, source)
    live.writers = [Writer(learning, it.state.shard, keep_bases=1_000) for it in moved]
    for writer, it in zip(live.writers, moved, strict=True):
        writer.state = it.state
        writer.commit(
            [
                Folding(
                    shard=other.state.shard,
                    peer=NOTHING.model_copy(update={"version": 1}),
                    contribution=other.contribution,
                )
                for other in moved
                if other is not it
            ],
            it.contribution,
        )
    with live.chain() as chain:
        verdicts = Again(source=source, chain=chain).run()
    assert [(it.begun, it.last, it.sound) for it in verdicts] == [(1, 0, False)] * SHARDS
    with live.chain() as chain, pytest.raises(IncompatibleDataError, match="not all versions were learned again"):
        Replay(config, source, mode="as recorded", chain=chain).run()
    # When workers go on from there
    live.run()
    with live.chain() as chain:
        verdicts = Again(source=source, chain=chain, threads=2).run()
    # Then every version after it is learned again
    assert [(it.begun, it.first, it.last, it.sound) for it in verdicts] == [
        (1, 2, writer.state.version, True) for writer in live.writers
    ]
