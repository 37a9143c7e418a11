"""Versions follow one another: what is read back is what was learned, to the bit, or is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.lineage import NOW, Writer, events, learning_of, tampered, versions
from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.pipeline import Pipeline
from worker.snapshot.columns import encode
from worker.snapshot.contents import decode_progress, decode_watch
from worker.snapshot.lineage import GapError, advance, apply, require_same_learning, verify
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, decode_rows, encode_rows
from worker.snapshot.state import ShardState
from worker.watching import Quality

# With these a base takes three commits or so, and is due every second or third: what a day of a shard looks like.
SMALL = {"base_part_bytes": 4_000, "record_limit_bytes": 20_480}


@pytest.fixture
def bases_early(monkeypatch):
    """Let a base be due as soon as the deltas outweigh it, however small."""
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


def advance_until(writer: Writer, enough: Callable[[Manifest], bool]) -> None:
    for _ in range(100):
        if enough(writer.advance(200)):
            return
    pytest.fail("not within 100 versions")


def rebuilt(writer: Writer, start: int = 0, upto: int | None = None) -> ShardState:
    state = ShardState.fresh(writer.shard, writer.learning)
    for version in versions(writer.log, writer.learning, shard=writer.shard, start=start):
        if upto is None or version.manifest.version <= upto:
            apply(state, version)
    state.digest()  # what was read is not touched, as after a restore, which verifies
    return state


def same(one: ShardState, other: ShardState) -> bool:
    """Tell whether two states agree in all that a version carries, and in their digest."""
    names = ("version", "chain", "watermark", "next_offset", "rejected", "bases")
    return (
        all(getattr(one, name) == getattr(other, name) for name in names)
        and one.model.pair_means.tobytes() == other.model.pair_means.tobytes()
        and one.progress.sums.tobytes() == other.progress.sums.tobytes()
        and one.progress.histogram.tobytes() == other.progress.histogram.tobytes()
        and one.watch.digest() == other.watch.digest()
        and one.digest() == other.digest()
    )


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=8),
    st.sampled_from([0, 3, 16]),
    st.sampled_from(["logistic", "squared"]),
)
def test_what_is_sealed_and_applied_is_the_state_to_the_bit(sizes, factors, loss):
    writer = Writer(learning_of(factors=factors, loss=loss))
    for number, size in enumerate(sizes):
        writer.learn([*events(size, number), b"no json", None])
        writer.commit()
        assert same(rebuilt(writer), writer.state)


def test_what_is_written_is_found_again_at_every_version():
    writer = Writer()
    for _ in range(6):
        writer.advance()
    for version in range(1, 7):
        state = rebuilt(writer, upto=version)
        assert state.digest() == writer.digests[version] == writer.manifests[version - 1].state.digest
        verify(state, writer.manifests[version - 1])


def test_learning_goes_on_from_what_was_read_as_if_nothing_had_happened():
    """The worker dies after every commit; another one learns on, with other batches."""
    learning = learning_of()
    uninterrupted = Writer(learning)
    uninterrupted.learn([event for seed in range(1, 6) for event in events(50, seed)])
    writer = Writer(learning)
    for _ in range(5):
        writer.advance()
        writer.state = rebuilt(writer)
    assert writer.state.digest() == uninterrupted.state.digest()


def test_a_delta_holds_the_rows_touched_and_no_others():
    writer = Writer()
    writer.advance(400)
    writer.learn(events(1, 99))
    writer.commit()
    (version,) = versions(writer.log, writer.learning, start=writer.manifests[0].records[-1].sequence + 2)
    rows = decode_rows(version.of_kind(Kind.ROWS)[0].value, 4)
    assert len(rows) == 3, "the bias, a user and an item"
    assert [part.rows for part in version.manifest.records if part.kind is Kind.ROWS] == [3]


def test_a_version_of_an_empty_shard_is_a_version():
    writer = Writer()
    writer.learn([b"no json"])
    manifest = writer.commit()
    assert manifest.state.rows == 0
    assert manifest.state.rejected == {"not_json": 1}
    assert manifest.watermark is None
    assert same(rebuilt(writer), writer.state)


@pytest.mark.usefixtures("bases_early")
def test_a_base_in_several_parts_while_learning_goes_on_rebuilds_every_version_after_it():
    # Given a shard that grows and changes while its bases travel in parts
    writer = Writer(**SMALL, keep_bases=1_000)
    for number in range(40):
        writer.advance(200, users=200 + 40 * number)
    bases = writer.manifests[-1].bases
    assert len(bases) > 3
    assert max(base.completed - base.version for base in bases) >= 2
    # Then reading from any base's first record gives every later version from its last part on
    for base in bases:
        for upto in range(base.completed, 41):
            assert rebuilt(writer, base.offset, upto).digest() == writer.digests[upto]
    # But not before: the parts still to come are missing
    several = next(base for base in bases if base.completed > base.version)
    with pytest.raises(CorruptSnapshotError, match="has digest"):
        verify(rebuilt(writer, several.offset, several.version), writer.manifests[several.version - 1])


@pytest.mark.usefixtures("bases_early")
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([30, 400])), min_size=8, max_size=25),
    st.sampled_from([{}, {"kind": "ftrl"}, {"half_life": "1h"}]),
)
def test_rows_that_go_while_a_base_travels_are_gone_and_those_that_move_are_not_missed(steps, model):
    """Whatever goes when: from any base on, every later version is read to the bit, and so by a follower."""
    writer = Writer(learning_of(max_rows=48, **model), keep_bases=1_000, base_part_bytes=700, record_limit_bytes=20_480)
    follower, read = ShardState.fresh(0, writer.learning, reserve=False), 0
    for number, (size, many) in enumerate(steps):
        writer.learn(events(size, number, users=many, items=many))
        writer.commit()
        for version in versions(writer.log, writer.learning, start=read):
            (advance if follower.version else apply)(follower, version)
        read = writer.next_offset
        assert same(follower, writer.state)
        assert len(follower.model.table) == len(writer.state.model.table) <= 48
    last = writer.state.version
    for base in writer.manifests[-1].bases:
        for upto in {base.completed, (base.completed + last) // 2, last}:
            assert rebuilt(writer, base.offset, upto).digest() == writer.digests[upto]


def test_a_version_that_does_not_hold_brings_rows_back_that_it_took_away():
    writer = Writer(learning_of(max_rows=48))
    for _ in range(3):
        writer.advance()
    *firsts, last = versions(writer.log, writer.learning)
    assert last.of_kind(Kind.EVICTED)
    state = ShardState.fresh(0, writer.learning)
    for version in firsts:
        apply(state, version)
    state.digest()
    before = state.model.table.part(0, 48)
    rows = decode_rows(last.of_kind(Kind.ROWS)[0].value, 4)
    rows.parameters[:, 0] += np.float32(1)
    with pytest.raises(CorruptSnapshotError, match="version 3 has digest"):
        advance(state, forge(last, Kind.ROWS, encode_rows(rows)))
    after = state.model.table.part(0, 48)
    assert sorted(after.keys.tolist()) == sorted(before.keys.tolist())
    assert state.model.table.gather(before.keys).tobytes() == before.parameters.tobytes()


@pytest.mark.usefixtures("bases_early")
def test_a_base_is_complete_however_fast_the_shard_grows():
    """New rows lie in the deltas: a base that ran after them would never end, and the topic never be trimmed."""
    writer = Writer(base_part_bytes=20_000)
    many = {"users": 1_000_000, "items": 1_000_000}
    for _ in range(3):
        writer.learn(events(1_000, 0, **many))  # some 2,000 rows; a part takes 370 of them
        writer.state.bytes_since_base += 1_000_000  # of rows that moved again and again
        writer.commit()
    assert writer.state.sweep is not None
    assert writer.state.sweep.version == 2
    for number in range(1, 6):
        writer.learn(events(1_000, number, **many))  # and as many new ones with every version
        writer.commit()
    base = writer.manifests[-1].bases[-1]
    assert (base.version, base.completed) == (2, 7)
    assert rebuilt(writer, base.offset).digest() == writer.digests[8]


@pytest.mark.usefixtures("bases_early")
def test_a_base_is_due_when_the_deltas_outweigh_the_shard():
    writer = Writer()
    for _ in range(30):
        writer.advance(10)
    starts = [base.version for manifest in writer.manifests for base in manifest.bases if base.version > 1]
    assert starts
    first = min(starts)
    deltas = [manifest.delta_bytes for manifest in writer.manifests]
    rows = writer.manifests[first - 2].state.rows
    assert sum(deltas[: first - 2]) <= rows * 45 < sum(deltas[: first - 1])


def test_a_small_shard_needs_no_base_but_the_first():
    writer = Writer()
    for _ in range(20):
        writer.advance(20)
    assert [base.version for base in writer.manifests[-1].bases] == [1]


@pytest.mark.usefixtures("bases_early")
@pytest.mark.parametrize("keep", [1, 2, 3])
def test_as_many_bases_are_kept_as_are_asked_for_and_rebuild_the_shard(keep):
    writer = Writer(**SMALL, keep_bases=keep)
    for _ in range(40):
        manifest = writer.advance(100)
        assert 1 <= len(manifest.bases) <= keep
        assert [base.offset for base in manifest.bases] == sorted(base.offset for base in manifest.bases)
        # Nothing before the oldest kept base is needed: trimming up to it loses nothing.
        assert rebuilt(writer, manifest.bases[0].offset).digest() == writer.digests[manifest.version]
    assert len(manifest.bases) == keep


@pytest.mark.usefixtures("bases_early")
def test_a_restore_in_the_middle_of_a_base_begins_the_base_anew():
    writer = Writer(**SMALL)
    for _ in range(40):
        writer.advance(200, users=2_000)  # more rows than one part holds
        if writer.state.sweep is not None:
            break
    begun = writer.state.version
    writer.state = rebuilt(writer)
    assert writer.state.sweep is None
    for _ in range(40):
        if any(base.version > begun for base in writer.advance(200, users=2_000).bases):
            break
    assert writer.manifests[-1].bases[-1].version > begun
    assert rebuilt(writer, writer.manifests[-1].bases[-1].offset).digest() == writer.digests[writer.state.version]


def test_a_missing_version_is_a_gap():
    writer = Writer()
    for _ in range(4):
        writer.advance()
    first, second, third, fourth = versions(writer.log, writer.learning)
    state = ShardState.fresh(0, writer.learning)
    apply(state, first)
    with pytest.raises(GapError, match="version 4 came after 1, 2 missing between them"):
        apply(state, fourth)
    # When it comes after all, nothing was lost
    for version in (second, third, fourth):
        apply(state, version)
    with pytest.raises(GapError, match="version 4 came after 4, the versions do not rise"):
        apply(state, fourth)
    assert same(state, writer.state)


def test_a_version_made_from_another_one_is_a_fork():
    writer, other = Writer(), Writer()
    writer.advance()
    other.learn(events(10, 77))
    other.commit()
    other.advance()
    state = rebuilt(writer)
    with pytest.raises(GapError, match="the chain is forked"):
        apply(state, versions(other.log, other.learning)[1])
    assert same(state, writer.state)


def test_the_chain_knows_every_byte_of_every_manifest():
    writer = Writer()
    writer.advance()
    writer.advance()
    first, second = versions(writer.log, writer.learning)
    other = replace(first, chain=first.chain[::-1])
    state = ShardState.fresh(0, writer.learning)
    apply(state, other)
    with pytest.raises(GapError, match="forked"):
        apply(state, second)


def forge(version, kind: Kind, value: bytes):
    data = [tampered(record, value) if record.kind is kind else record for record in version.data]
    return replace(version, data=data)


@pytest.mark.parametrize("kind", [Kind.ROWS, Kind.PAIRS, Kind.PROGRESS, Kind.WATCH])
@pytest.mark.parametrize("value", [b"", b"nonsense", encode({})], ids=["empty", "nonsense", "no columns"])
def test_a_record_that_says_nonsense_is_refused_before_anything_changes(kind, value):
    writer = Writer()
    writer.advance()
    writer.advance()
    first, second = versions(writer.log, writer.learning)
    for move in (apply, advance):
        state = ShardState.fresh(0, writer.learning)
        apply(state, first)
        with pytest.raises(CorruptSnapshotError):
            move(state, forge(second, kind, value))
        assert state.digest() == writer.digests[1]
        move(state, second)
        assert same(state, writer.state)


def test_pairs_of_fields_that_are_not_there_are_refused():
    larger, smaller = Writer(learning_of()), Writer(learning_of())
    larger.learning.features["hour"] = larger.learning.features["item"]
    wide = ShardState.fresh(0, larger.learning)
    assert len(wide.model.pair_means) == 4
    smaller.advance()
    (version,) = versions(smaller.log, smaller.learning)
    larger.state = wide
    larger.commit()
    (pairs,) = [record for _, record in larger.log if record.kind is Kind.PAIRS]
    with pytest.raises(CorruptSnapshotError, match="fields that are none of the 3"):
        apply(ShardState.fresh(0, learning_of()), forge(version, Kind.PAIRS, pairs.value))


def test_advancing_by_a_version_whose_digest_does_not_hold_leaves_the_predictions_as_they_were():
    """A parameter was changed and every checksum made to fit: only the digest tells."""
    writer = Writer()
    writer.advance()
    writer.learn(events(50, 2, users=3_000))  # among them users never seen
    writer.commit()
    first, second = versions(writer.log, writer.learning)
    rows = decode_rows(second.of_kind(Kind.ROWS)[0].value, 4)
    rows.parameters[:, 0] += np.float32(1)
    state = ShardState.fresh(0, writer.learning)
    apply(state, first)
    keys = np.concatenate([rows.keys, state.model.table.keys[: len(state.model.table)]])
    before = state.model.table.gather(keys), state.model.pair_means.copy(), state.progress.sums.copy()
    with pytest.raises(CorruptSnapshotError, match="version 2 has digest"):
        advance(state, forge(second, Kind.ROWS, encode_rows(rows)))
    assert state.model.table.gather(keys).tobytes() == before[0].tobytes()
    assert state.model.pair_means.tobytes() == before[1].tobytes()
    assert state.progress.sums.tobytes() == before[2].tobytes()
    assert state.version == 1


def test_advancing_is_applying_and_verifying():
    writer = Writer()
    for _ in range(3):
        writer.advance()
    first, *rest = versions(writer.log, writer.learning)
    state = ShardState.fresh(0, writer.learning)
    apply(state, first)
    for version in rest:
        advance(state, version)
    assert same(state, writer.state)


def test_parameters_that_are_no_numbers_are_never_published():
    writer = Writer()
    writer.advance()
    for spoil in (
        lambda model: model.table.parameters.__setitem__((0, 0), np.float32("nan")),
        lambda model: model.pair_means.__setitem__((0, 1), np.float32("inf")),
    ):
        writer.state = rebuilt(writer)
        writer.learn(events(10, 5))
        spoil(writer.state.model)
        with pytest.raises(CorruptSnapshotError, match="not finite: nothing was published"):
            writer.seal()


def test_a_topic_that_does_not_hold_the_records_is_refused():
    with pytest.raises(IncompatibleDataError, match=r"max\.message\.bytes = 9000 .* raise it"):
        Writer(record_limit_bytes=9_000).advance()


def test_every_record_stays_below_the_limit_of_the_topic():
    writer = Writer(learning_of(factors=16), record_limit_bytes=16_384)
    writer.learn(events(3_000, 0, users=3_000))
    writer.commit()
    assert len(writer.log) > 10
    assert max(len(record.value) for _, record in writer.log) < 16_384 - 1_024


def test_a_manifest_that_starts_a_base_needs_the_offset_of_its_first_record():
    writer = Writer()
    writer.learn(events(10, 0))
    sealed = writer.seal()
    assert sealed.needs_offset
    with pytest.raises(ValueError, match="names the offset"):
        sealed.close(None, NOW)
    with pytest.raises(ValueError, match="closed before it is settled"):
        sealed.settle()


def test_nothing_moves_until_a_version_is_settled():
    """The transaction may be aborted: then the state is restored, and seals the same version again."""
    writer = Writer()
    writer.advance()
    writer.learn(events(10, 2))
    sealed = writer.seal()
    sealed.close(None, NOW)
    assert (writer.state.version, writer.state.chain) == (1, versions(writer.log, writer.learning)[0].chain)
    writer.state = rebuilt(writer)
    writer.learn(events(10, 2))
    again = writer.seal()
    assert [record.value for record in again.data] == [record.value for record in sealed.data]


def test_the_progress_of_a_version_can_be_read_alone():
    writer = Writer()
    writer.advance()
    (version,) = versions(writer.log, writer.learning)
    (record,) = version.of_kind(Kind.PROGRESS)
    progress = decode_progress(record.value, logistic=True)
    assert progress.sums.tobytes() == writer.state.progress.sums.tobytes()
    assert progress.auc == writer.state.progress.auc
    with pytest.raises(CorruptSnapshotError, match="holds 1 sums"):
        decode_progress(encode({"sums": one_row([1.0]), "histogram": one_row([1.0])}), logistic=True)


def one_row(values: list[float]):
    import pyarrow as pa  # noqa: PLC0415

    return pa.FixedSizeListArray.from_arrays(pa.array(values), len(values))


def test_who_watches_by_other_settings_goes_on_with_the_same_model():
    writer = Writer()
    writer.advance(400)
    other = writer.learning.model_copy(update={"quality": Quality(window=1_000, slices={"item": ("i1",)})})
    require_same_learning(writer.manifests[-1], other, "group")
    state = ShardState.fresh(0, other)
    for version in versions(writer.log, other):
        apply(state, version)
    verify(state, writer.manifests[-1])
    assert state.watch.digest() == ShardState.fresh(0, other).watch.digest()
    # and its own versions are read back
    writer.state, writer.learning = state, other
    writer._pipeline = Pipeline(other)
    writer.advance(1_100)
    again = rebuilt(writer)
    assert same(again, writer.state)
    assert again.watch.slices.tobytes() == writer.state.watch.slices.tobytes()
    assert again.watch.slices[:, 1].sum() == 1_100
    assert again.watch.last_window()["loss"] > 0


def test_a_record_of_what_is_watched_that_is_too_short_is_refused():
    watching = Writer().state.watch.watching
    columns = {
        "settings": pa.array([watching.settings]),
        "words": one_row([1.0]),
        "slices": pa.array([[]], pa.list_(pa.float64())),
    }
    with pytest.raises(CorruptSnapshotError, match="holds 1 words"):
        decode_watch(encode(columns), watching)
