"""Values of records: of an Arrow array as of a list, whatever its offset, its nulls and its kind."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lineage import NOW, events, learning_of
from worker.events.decode import Decoder
from worker.events.values import values_of
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState

KINDS = [pa.binary(), pa.large_binary()]
VALUES = st.lists(st.none() | st.binary(max_size=40), max_size=30)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(before=VALUES, values=VALUES, after=VALUES, picks=st.data())
def test_an_array_is_what_a_list_is(kind, before, values, after, picks):
    array = pa.array([*before, *values, *after], kind).slice(len(before), len(values))
    listed, arrow = values_of(values), values_of(array)
    assert len(arrow) == len(values)
    assert list(arrow) == list(listed) == values
    assert arrow.lengths.tolist() == listed.lengths.tolist()
    assert [arrow[number] for number in range(len(values))] == values
    there = [number for number, value in enumerate(values) if value is not None]
    which = np.array(sorted(picks.draw(st.sets(st.sampled_from(there)))) if there else [], np.int64)
    assert arrow.joined(which).tobytes() == listed.joined(which).tobytes()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_events_are_decoded_and_learned_alike(kind):
    good = events(300, 0)
    values = [*good[:100], b"no json", None, b"", *good[100:], b'{"user": ["wrong"]}', b'{"user":"cut']
    array = pa.array([b"before", *values], kind).slice(1)
    learning, timestamps = learning_of(), np.full(len(values), NOW)
    one, other = (Decoder(learning).decode(it, timestamps) for it in (values, array))
    assert one.table.equals(other.table)
    assert one.index.tolist() == other.index.tolist()
    assert one.rejected == other.rejected
    digests = set()
    for some in (values, array):
        state = ShardState.fresh(0, learning)
        Pipeline(learning).learn(state, some, timestamps, len(values))
        digests.add(state.digest())
    assert len(digests) == 1


def test_texts_are_no_values():
    with pytest.raises(TypeError, match="binary or large_binary, not string"):
        values_of(pa.array(["text"]))
