"""Packed events: they mean what the same events mean in JSON, and what is wrong with one touches no other."""

import json
import subprocess
import sys

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lineage import NOW, events, learning_of
from worker.errors import IncompatibleDataError
from worker.events.decode import Decoded, Decoder, Reason
from worker.events.features import Features
from worker.events.pack import pack, write
from worker.events.packed import PackedDecoder
from worker.events.unpack import MOST_EVENTS
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState

FEATURES = {
    "user": {},
    "item": {},
    "price": {"kind": "numeric", "transform": "log"},
    "tags": {"kind": "multi", "max_values": 3},
    "user_x_item": {"kind": "cross", "of": ["user", "item"]},
}
GOOD = {"user": "u", "item": 7, "label": 1, "time": NOW, "price": 2.5, "tags": ["a", "b"]}


def learning(**changes) -> Learning:
    return Learning.model_validate({"features": FEATURES, "events": {"format": "arrow", "weight": "weight"} | changes})


def decode(values, how: Learning | None = None) -> list[Decoded]:
    return list(PackedDecoder(how or learning()).pieces(values, np.full(len(values), NOW)))


def fates(values, how: Learning | None = None) -> list[tuple[int, int | None, Reason]]:
    return [(bad.index, bad.row, bad.reason) for piece in decode(values, how) for bad in piece.rejected]


def count(values) -> int:
    return sum(len(piece.index) for piece in decode(values))


def batch(**columns) -> bytes:
    return write(pa.RecordBatch.from_pydict({"label": [1.0, 0.0], "time": [NOW, NOW], **columns}))


def keys(pieces: list[Decoded], how: Learning) -> list[tuple]:
    """Everything that is learned from, event by event."""
    features, found = Features(how), []
    for piece in pieces:
        entries = features.encode(piece.table)
        routes = features.routes(piece.table, entries)
        for event in range(len(piece.index)):
            begin, end = (int(entries.starts[at * features.fields]) for at in (event, event + 1))
            found.append(
                (
                    entries.keys[begin:end].tolist(),
                    entries.values[begin:end].tobytes(),
                    entries.starts[event * features.fields : (event + 1) * features.fields].tolist()[0] - begin,
                    None if routes is None else routes[begin:end].tolist(),
                    piece.labels[event].tobytes(),
                    piece.weights[event].tobytes(),
                    int(piece.times[event]),
                )
            )
    return found


def same_as_json(records: list[dict], packed: list[bytes]) -> None:
    how = learning()
    whole = Decoder(how).decode([orjson.dumps(record) for record in records], np.full(len(records), NOW))
    pieces = decode(packed, how)
    assert keys([whole], how) == keys(pieces, how)
    reasons = [(bad.reason, bad.detail) for bad in whole.rejected]
    assert [(bad.reason, bad.detail) for piece in pieces for bad in piece.rejected] == reasons


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.none() | st.floats(width=64, allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
records = st.fixed_dictionaries(
    {},
    optional={
        "user": st.none() | texts,
        "item": st.none() | st.integers(-(2**63), 2**63 - 1),
        "price": numbers,
        "tags": st.none() | st.lists(st.none() | texts, max_size=5),
        "label": st.none() | st.sampled_from([0, 1, 0.25, 2, -1]),
        "weight": st.none() | st.sampled_from([0, 1, 0.5, -1]),
        "time": st.none() | st.sampled_from([NOW, NOW + 1, 0, NOW * 2]),
        "other": st.none() | texts,
    },
)


@given(st.lists(records | st.just(GOOD | {"item": 1}), min_size=1, max_size=20), st.integers(1, 20))
def test_events_mean_the_same_in_json_and_packed(found, size):
    found = [{"label": None} | event for event in found]  # a message without labels is wrong as a whole
    same_as_json(found, [pack(found[at : at + size]) for at in range(0, len(found), size)])


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
        pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.uint32(), pa.int16()),
        pa.dictionary(pa.int64(), pa.large_string()),
    ],
    ids=str,
)  # fmt: skip
def test_an_identifier_is_the_same_category_whatever_its_type(kind):
    found = [GOOD | {"user": user, "item": user, "tags": tags} for user, tags in ((7, [7, 8]), (None, None), (8, []))]
    ids, lists = pa.array([7, None, 8]), pa.array([[7, 8], None, []])
    if pa.types.is_dictionary(kind):
        column = ids.cast(kind.value_type).dictionary_encode().cast(kind)
        flat = lists.values.cast(kind.value_type).dictionary_encode().cast(kind)
        tags = pa.ListArray.from_arrays(lists.offsets, flat, mask=lists.is_null())
    else:
        column, tags = ids.cast(kind), lists.cast(pa.large_list(kind))
    rest = {"label": [1] * 3, "time": [NOW] * 3, "price": pa.array([2.5] * 3, pa.float32())}
    same_as_json(found, [write(pa.RecordBatch.from_pydict({"user": column, "item": column, "tags": tags, **rest}))])


def test_large_unsigned_integers_and_booleans_are_categories():
    found = [GOOD | {"user": 2**64 - 1, "item": True}, GOOD | {"user": 1, "item": False}]
    rest = {"label": pa.array([True, True]), "time": [NOW] * 2, "price": [2.5] * 2, "tags": [["a", "b"]] * 2}
    columns = {"user": pa.array([2**64 - 1, 1], pa.uint64()), "item": [True, False]}
    same_as_json(found, [write(pa.RecordBatch.from_pydict(columns | rest))])


def test_a_null_in_a_dictionary_is_a_null():
    user = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array([None, "a"]))
    empty = pa.DictionaryArray.from_arrays(pa.array([None, None], pa.int8()), pa.array([], pa.string()))
    found = [{"label": 1, "time": NOW}, {"label": 0, "time": NOW, "user": "a"}]
    same_as_json(found, [batch(user=user, item=empty)])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("counts", ["s", "ms", "us"])
def test_timestamps_are_times(unit, counts):
    times = pa.array([NOW, None], pa.timestamp("ms", "UTC")).cast(pa.timestamp(unit, "UTC"))
    (piece,) = decode([batch(time=times)], learning(time_unit=counts))
    assert piece.times.tolist() == [NOW, NOW], "where it is null, the record's"


@pytest.mark.parametrize("size", [1, 7, 1_000, 2_000])
def test_a_model_learned_from_packed_events_is_the_same_to_the_bit(size):
    values = events(2_000, 0)
    states = []
    for how in (learning_of(), learning_of().model_copy(update={"events": learning().events})):
        state, pipeline = ShardState.fresh(0, how), Pipeline(how)
        found = values
        if how.events.format == "arrow":
            found = [pack([json.loads(value) for value in values[at : at + size]]) for at in range(0, 2_000, size)]
        for at in range(0, len(found), 3):
            part = found[at : at + 3]
            pipeline.learn(state, part, np.full(len(part), NOW), at + len(part))
        assert state.next_offset == len(found)
        states.append(state)
    one, other = states
    assert one.model.digest() == other.model.digest()
    assert one.progress.sums.tobytes() == other.progress.sums.tobytes()
    assert one.progress.histogram.tobytes() == other.progress.histogram.tobytes()
    assert one.watermark == other.watermark


def test_a_bad_row_is_set_aside_as_a_message_of_its_own_and_its_neighbours_are_learned():
    other = pa.array(["x", "y", "z"]).dictionary_encode()
    value = write(pa.RecordBatch.from_pydict({"user": ["a", "b", "c"], "label": [1, None, 0], "other": other}))
    first, second = decode([pack([GOOD]), value])  # where items are integers, and where there are none
    assert [*first.table["user"].to_pylist(), *second.table["user"].to_pylist()] == ["u", "a", "c"]
    assert [*first.index.tolist(), *second.index.tolist()] == [0, 1, 1]
    (bad,) = second.rejected
    assert (bad.index, bad.row, bad.reason, bad.events) == (1, 1, Reason.LABEL_MISSING, 1)
    assert pa.ipc.open_stream(bad.value).read_all().to_pylist() == [{"user": "b", "label": None, "other": "y"}]
    assert fates([bad.value]) == [(0, 0, Reason.LABEL_MISSING)]


def test_where_very_many_rows_are_bad_the_message_is_set_aside_once_a_reason():
    labels = [None] * 1_500 + [7] * 500 + [1] * 10
    (piece,) = decode([write(pa.RecordBatch.from_pydict({"label": labels}))])
    assert len(piece.index) == 10
    found = [(bad.index, bad.row, bad.value, bad.reason, bad.events) for bad in piece.rejected]
    assert found == [
        (0, None, None, Reason.LABEL_MISSING, 1_500),
        (0, None, None, Reason.LABEL_OUT_OF_RANGE, 500),
    ]
    assert piece.rejected[1].detail.startswith("500 rows, the first is 1500: label")


def test_a_row_that_would_be_too_long_leaves_its_largest_columns_out():
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 9, pa.int8()), pa.array(["x" * 1_000]))
    notes = pa.ListArray.from_arrays(pa.array([0, 9], pa.int32()), words)
    value = write(pa.RecordBatch.from_pydict({"label": [None], "notes": notes, "note": words[:1]}))
    (piece,) = decode([value], learning(max_bytes=5_000))
    assert pa.ipc.open_stream(piece.rejected[0].value).schema.names == ["label", "note"]


def test_where_bad_rows_would_take_much_more_than_their_message_it_is_set_aside_itself():
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int8()), pa.array(["x" * 3_000]))
    value = write(pa.RecordBatch.from_pydict({"label": [None] * 100, "note": words}))
    (piece,) = decode([value], learning(max_bytes=5_000))
    assert [(bad.row, bad.value, bad.events) for bad in piece.rejected] == [(None, None, 100)]


def test_a_poll_asks_for_messages_by_the_events_that_they_hold():
    how = learning()
    state, pipeline = ShardState.fresh(0, how), Pipeline(how)
    assert pipeline.records(10_000) == 10, "until it has seen some"
    labels = [1, None] * 2_500
    pipeline.learn(state, [write(pa.RecordBatch.from_pydict({"label": labels}))] * 2, np.full(2, NOW), 2)
    assert pipeline.records(10_000) == 2
    assert pipeline.records(1) == 1
    for number in range(100):
        pipeline.learn(state, [pack([GOOD])], np.full(1, NOW), 3 + number)
    assert pipeline.records(10_000) == 10_000
    assert Pipeline(learning(format="json")).records(10_000) == 10_000


def test_rejections_are_counted_by_event():
    how = learning()
    state, values = ShardState.fresh(0, how), [write(pa.RecordBatch.from_pydict({"label": [None] * 1_001})), b"x"]
    learned = Pipeline(how).learn(state, values, np.full(2, NOW), 2)
    assert learned.events == 0
    assert dict(state.rejected) == {"label_missing": 1_001, "not_arrow": 1}
    assert state.next_offset == 2


def stream(*batches: pa.RecordBatch, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for one in batches:
            writer.write_batch(one)
    return bytes(sink.getvalue())


def rows(n: int, **columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"user": [f"u{at}" for at in range(n)], "label": [1] * n, **columns})


@pytest.mark.parametrize("options", [{}, {"emit_dictionary_deltas": True}])
def test_dictionaries_may_change_and_grow_within_a_message(options):
    parts = [
        pa.DictionaryArray.from_arrays(pa.array([n, 0], pa.int8()), pa.array(list("abc"[: n + 1]))) for n in range(3)
    ]
    value = stream(*(pa.RecordBatch.from_pydict({"user": part, "label": [1, 1]}) for part in parts), **options)
    (piece,) = decode([value])
    assert piece.table["user"].to_pylist() == ["a", "a", "b", "a", "c", "a"]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_messages_are_read(codec):
    assert count([stream(rows(100), compression=codec)]) == 100


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_what_unpacks_to_more_than_may_be_is_not_unpacked(codec):
    bomb = stream(rows(2, other=["x" * 4_000_000] * 2), compression=codec)
    assert len(bomb) < 1_048_576
    assert fates([bomb]) == [(0, None, Reason.TOO_LARGE)]


def absurd() -> bytes:
    value = bytearray(stream(rows(1_000), compression="zstd"))
    at = value.index(b"\x28\xb5\x2f\xfd") - 8  # what stands before a frame is how long it will be
    value[at : at + 8] = (2**60).to_bytes(8, "little")
    return bytes(value)


GOOD_MESSAGE = pack([GOOD] * 3)
EMPTY_STREAM = write(pa.RecordBatch.from_pydict({"label": pa.array([], pa.int8())}))


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (None, Reason.TOMBSTONE, "no value"),
        (b"", Reason.EMPTY, "no bytes"),
        (b'{"user": "u"}', Reason.NOT_ARROW, ""),
        (b"ARROW1\0\0", Reason.NOT_ARROW, ""),
        (GOOD_MESSAGE[:-8], Reason.NOT_ARROW, "does not end where its"),
        (GOOD_MESSAGE[:-100], Reason.NOT_ARROW, ""),
        (GOOD_MESSAGE + GOOD_MESSAGE, Reason.NOT_ARROW, "does not end where its"),
        (b"x" * 1_048_577, Reason.TOO_LARGE, "events.max_bytes is 1048576"),
        (absurd(), Reason.TOO_LARGE, "unpacked"),
        (batch(label=["yes", "no"]), Reason.WRONG_TYPE, "label: a column of string where numbers or booleans"),
        (batch(user=[1.5, 2.5]), Reason.WRONG_TYPE, "user: a column of double where texts"),
        (batch(tags=["a", "b"]), Reason.WRONG_TYPE, "tags: a column of string where lists"),
        (batch(tags=[[1.5], []]), Reason.WRONG_TYPE, "tags: a column of list<item: double>"),
        (batch(price=[True, False]), Reason.WRONG_TYPE, "price: a column of bool where numbers"),
        (batch(time=["now", "then"]), Reason.WRONG_TYPE, "time: a column of string"),
        (batch(price=pa.array([NOW, NOW], pa.timestamp("ms"))), Reason.WRONG_TYPE, "price: a column of timestamp"),
        (batch(item=[{"a": 1}, {"a": 2}]), Reason.WRONG_TYPE, "item: a column of struct"),
        (write(pa.RecordBatch.from_pydict({"user": ["u"]})), Reason.LABEL_MISSING, "label: no such column"),
        (
            write(pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], ["label", "label"])),
            Reason.WRONG_TYPE,
            "label: 2 columns of this name",
        ),
        (
            write(pa.RecordBatch.from_pydict({"label": pa.nulls(MOST_EVENTS + 1)})),
            Reason.TOO_LARGE,
            "events in one message",
        ),
        (batch(user=pa.array([b"\xff", b"a"]).view(pa.string())), Reason.NOT_ARROW, "UTF8"),
    ],
)
def test_a_message_that_is_wrong_as_a_whole_says_so_and_its_neighbours_are_learned(value, reason, told):
    (piece,) = decode([GOOD_MESSAGE, value, GOOD_MESSAGE])
    (bad,) = piece.rejected
    assert (bad.index, bad.row, bad.value, bad.reason) == (1, None, None, reason)
    assert told in bad.detail
    assert piece.index.tolist() == [0] * 3 + [2] * 3


def test_a_message_without_events_is_none_and_no_mistake():
    (piece,) = decode([EMPTY_STREAM])
    assert (len(piece.index), piece.rejected) == (0, [])


def test_columns_that_nobody_reads_may_be_anything():
    damaged = pa.array([b"\xff", b"a"]).view(pa.string())
    value = batch(user=["a", "b"], odd=[{"x": [1]}, None], broken=damaged, label=[None, 1])
    (piece,) = decode([value])
    assert piece.table["user"].to_pylist() == ["b"]
    assert pa.ipc.open_stream(piece.rejected[0].value).read_all()["user"].to_pylist() == ["a"]


def test_a_table_is_decoded_for_scoring_as_json_is():
    found = [{"user": "a", "item": 1, "tags": list("abcd")}, {"user": "b", "price": 2.5}, {"item": 3}]
    tables = [pa.Table.from_pylist([one]) for one in found]
    table = pa.concat_tables([*tables, *tables], promote_options="default").slice(3)
    packed = PackedDecoder(learning(), labelled=False).decode(table)
    plain = Decoder(learning(), labelled=False).decode([orjson.dumps(one) for one in found], np.full(3, -1))
    assert packed.index.tolist() == plain.index.tolist() == [1, 2]
    assert packed.rejected == plain.rejected
    ours, theirs = (Features(learning()).encode(one.table) for one in (packed, plain))
    assert ours.keys.tolist() == theirs.keys.tolist()
    tags = pa.ListArray.from_arrays(pa.array([0, 1, None, 2], pa.int32()), pa.array(["x", "y"]).dictionary_encode())
    sliced = PackedDecoder(learning(), labelled=False).decode(pa.record_batch({"tags": tags}).slice(1))
    assert sliced.table["tags"].to_pylist() == [["y"], None]
    with pytest.raises(IncompatibleDataError, match="user: a column of double"):
        PackedDecoder(learning(), labelled=False).decode(pa.table({"user": [1.5]}))


def test_hostile_bytes_never_end_the_process_nor_touch_a_neighbour():
    # In a process of its own: what reads past a buffer is not an exception but the end.
    done = subprocess.run([sys.executable, "-m", "tests.support.hostile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["sound"]), done.stdout + done.stderr
