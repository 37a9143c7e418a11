"""Columns of data records: small where they are zeros, the same when read, and refused where they claim too much."""

import struct
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.support.hostile import spoilt
from tests.support.lineage import Writer, learning_of, tampered, versions
from worker.errors import CorruptSnapshotError, IncompatibleDataError
from worker.learning import Learning
from worker.quality.progress import Progress
from worker.snapshot.columns import MOST_UNPACKED_BYTES, decode, encode
from worker.snapshot.contents import contents_of, decode_progress, decode_watch, progress_columns, watch_columns
from worker.snapshot.lineage import apply, verify
from worker.snapshot.records import Kind, contribution_bytes, decode_contribution
from worker.snapshot.state import ShardState

FIVE_FIELDS = Learning.model_validate(
    {"features": {name: {} for name in ("user", "item", "hour", "device", "slot")}, "model": {"merge": False}}
)
ANY = arrays.arrays(np.float64, 40, elements=st.floats())  # NaN, minus zero and subnormal ones among them


def bomb(kilobytes: int) -> bytes:
    """Make so many of zeros, as zstd would send them."""
    batch = pa.record_batch({"key": pa.array(np.zeros(128 * kilobytes, np.uint64))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def test_what_is_known_of_how_a_fresh_shard_predicts_takes_less_than_two_kilobytes_of_a_version():
    state = ShardState.fresh(0, FIVE_FIELDS)
    fresh = [encode(it, compressed=True) for it in (progress_columns(state.progress), watch_columns(state.watch))]
    assert sum(map(len, fresh)) <= 1_792
    plain = [encode(it) for it in (progress_columns(state.progress), watch_columns(state.watch))]
    assert sum(map(len, plain)) > 8 * sum(map(len, fresh)), "what is not compressed is another matter"


def test_a_version_holds_them_compressed():
    writer = Writer(learning=FIVE_FIELDS.model_copy(update={"quality": learning_of().quality}))
    writer.learn([b'{"user": "u", "item": "i", "hour": 1, "device": "d", "slot": 2, "label": 1}'] * 1_000)
    writer.commit()
    sizes = {part.kind: part.bytes for part in writer.manifests[-1].records}
    assert sizes[Kind.PROGRESS] + sizes[Kind.WATCH] < 3_000


def test_what_is_added_to_pairs_stands_apart_and_takes_no_room_for_factors_that_they_do_not_have():
    wide = Learning.model_validate({"features": {f"f{number}": {} for number in range(24)}})
    writer = Writer(learning=wide)
    event = b"{" + b",".join(b'"f%d": "v"' % number for number in range(24)) + b', "user": "u", "label": 1}'
    writer.learn([event] * 10)
    writer.commit()
    (version,) = versions(writer.log, wide)
    rows, pairs = version.of_kind(Kind.CONTRIBUTION)
    keys = [decode_contribution(record.value, wide.model.factors).keys for record in (rows, pairs)]
    assert writer.state.model.shared.are_pairs(keys[1]).all()
    assert not writer.state.model.shared.are_pairs(keys[0]).any()
    assert (len(keys[0]), len(keys[1])) == (25, 300)
    assert len(pairs.value) < 300 * contribution_bytes(0)  # 17 bytes, and the three amounts
    again = ShardState.fresh(0, wide)
    apply(again, version)
    verify(again, version.manifest)


@given(ANY)
def test_what_is_compressed_comes_back_bit_for_bit(numbers):
    columns = {"number": pa.array(numbers)}
    for compressed in (False, True):
        back = decode(encode(columns, compressed=compressed, tick=7), {"number": pa.float64()})
        assert back["number"].to_numpy().tobytes() == numbers.tobytes()


@given(arrays.arrays(np.float64, 1_030, elements=st.sampled_from([0.0, 0.0, 1.0, -0.0, 1 / 3, float("nan"), 5e-324])))
def test_progress_comes_back_bit_for_bit(numbers):
    progress = Progress(logistic=True, sums=numbers[:6].copy(), histogram=numbers[6:].reshape(2, -1).copy())
    for compressed in (False, True):
        back = decode_progress(encode(progress_columns(progress), compressed=compressed), logistic=True)
        assert (back.sums.tobytes(), back.histogram.tobytes()) == (
            progress.sums.tobytes(), progress.histogram.tobytes(),
        )  # fmt: skip


def test_what_would_be_too_long_to_be_read_is_not_compressed():
    columns = {"key": pa.array(np.zeros(MOST_UNPACKED_BYTES // 8, np.uint64))}
    value = encode(columns, compressed=True)
    assert len(value) > MOST_UNPACKED_BYTES
    assert decode(value, {"key": pa.uint64()})["key"].equals(columns["key"])


def test_what_unpacks_to_too_much_is_refused_before_it_is_unpacked():
    value = bomb(65_536)
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(CorruptSnapshotError, match=r"claims 67108864 bytes unpacked, 1048576 at most are read"):
            decode(value, {"key": pa.uint64()})
        assert pool.max_memory() < MOST_UNPACKED_BYTES
        assert len(decode(bomb(1_024), {"key": pa.uint64()})["key"]) == 131_072
        assert pool.max_memory() >= MOST_UNPACKED_BYTES, "this pool would have seen it"
    finally:
        pa.set_memory_pool(before)


@pytest.mark.parametrize("claimed", [2**40, 2**63 - 1, 1_000_000, 8_191, 8_193, 0])
def test_a_buffer_that_is_not_as_long_as_it_claims_is_refused(claimed):
    value = bomb(8)
    at = value.index(struct.pack("<q", 8_192) + b"\x28\xb5\x2f\xfd")  # the claim stands before zstd's own magic number
    with pytest.raises(CorruptSnapshotError):
        decode(value[:at] + struct.pack("<q", claimed) + value[at + 8 :], {"key": pa.uint64()})
    assert decode(value, {"key": pa.uint64()})


@pytest.mark.parametrize(
    ("kind", "buffers"), [(pa.null(), [None]), (pa.struct([]), [None]), (pa.binary(0), [None, pa.py_buffer(b"")])]
)
def test_rows_that_take_no_bytes_are_refused(kind, buffers):
    """Whoever reads such a column would make an array of all of them."""
    column = pa.Array.from_buffers(kind, 2**31 - 1, buffers)
    with pytest.raises(CorruptSnapshotError, match="bytes claims 2147483647 rows"):
        decode(encode({"key": column}), {"key": None})


def test_lists_of_what_takes_no_bytes_are_refused():
    nothing = pa.Array.from_buffers(pa.null(), 2**30, [None])
    many = pa.Array.from_buffers(pa.list_(pa.null(), 2**30), 1, [None], children=[nothing])
    with pytest.raises(CorruptSnapshotError, match="where lists of doubles are expected"):
        decode_progress(encode({"sums": many, "histogram": many}), logistic=True)
    watching = ShardState.fresh(0, FIVE_FIELDS).watch.watching
    columns = {"settings": pa.array([watching.settings]), "words": many, "slices": many}
    with pytest.raises(CorruptSnapshotError, match="where lists of doubles are expected"):
        decode_watch(encode(columns), watching)


def test_rows_that_lie_beyond_the_bytes_are_refused():
    seven, many = struct.pack("<q", 7), struct.pack("<q", 1_000)
    value = encode({"key": pa.array(np.zeros(7, np.uint64))})
    assert value.count(seven) == 2, "rows of the batch, and of its column"
    with pytest.raises(CorruptSnapshotError, match="not an Arrow stream"):
        decode(value.replace(seven, many), {"key": pa.uint64()})


def test_texts_that_lie_beyond_the_bytes_are_refused():
    value = encode({"settings": pa.array(["x" * 777])})
    ends = value.rindex(struct.pack("<ii", 0, 777))  # where the text begins and ends, before the text itself
    longer = value[:ends] + struct.pack("<ii", 0, 7_777_777) + value[ends + 8 :]
    with pytest.raises(CorruptSnapshotError, match="not an Arrow stream"):
        decode(longer, {"settings": pa.string()})


def test_a_column_of_another_type_is_refused():
    with pytest.raises(CorruptSnapshotError, match="holds int64 as 'key', not uint64"):
        decode(encode({"key": pa.array([1])}), {"key": pa.uint64()})


@pytest.mark.parametrize("merge", [False, True])
def test_whatever_bytes_are_changed_the_record_is_read_or_refused(merge):
    """Checksums that fit prove nothing: who may write to the topic can make them."""
    rng = np.random.default_rng(merge)
    writer = Writer(learning=learning_of(merge=merge), base_part_bytes=4_096)
    writer.advance(30)
    writer.state.bytes_since_base = 10**9  # so that a base begins
    writer.advance(20)
    state, refused = ShardState.fresh(0, writer.learning), dict.fromkeys(Kind, 0)
    for version in versions(writer.log, writer.learning):
        for record in version.data:
            for _ in range(100):
                try:
                    contents_of(replace(version, data=[tampered(record, spoilt(record.value, rng))]), state)
                except IncompatibleDataError:
                    refused[record.kind] += 1
    written = {record.kind for version in versions(writer.log, writer.learning) for record in version.data}
    assert written >= {Kind.PROGRESS, Kind.WATCH, Kind.ROWS, Kind.BASE}
    assert all(refused[kind] > 10 for kind in written)
