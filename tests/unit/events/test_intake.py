"""Ids of events, and which negatives are kept."""

import numpy as np
import pyarrow as pa
import pytest

from worker.events.intake import ids_of, keep
from worker.model.window import NO_ID

SEED = np.uint64(5)
SHARE = 0.125
THRESHOLD = np.uint64(2**61)  # of 2^64: the eighth part


def kept(*, labels=None, ids=None, shard=0, offsets=None, rows=None, seed=SEED, n=40_000) -> np.ndarray:
    return keep(
        np.zeros(n, np.float32) if labels is None else np.array(labels, np.float32),
        np.zeros(n, np.uint64) if ids is None else ids,
        shard,
        np.arange(n) if offsets is None else offsets,
        np.zeros(n, np.int64) if rows is None else rows,
        seed,
        THRESHOLD,
    )


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Tell what share of those that are kept in one is kept in the other."""
    return float((one & other).sum() / one.sum())


def test_an_id_is_its_text_and_null_is_none():
    texts = ids_of(pa.array(["123", None, "", "a"]))
    assert len(set(texts.tolist())) == 4
    assert texts[1] == NO_ID
    assert ids_of(pa.array([123, None])).tolist() == texts[:2].tolist()
    for same in (
        pa.array(["123", None, "", "a"]).dictionary_encode(),
        pa.chunked_array([["123", None], ["", "a"]]),
    ):
        assert ids_of(same).tolist() == texts.tolist()
    assert ids_of(pa.nulls(2, pa.string())).tolist() == [NO_ID] * 2


def test_positives_and_labels_in_between_are_all_kept():
    assert kept(labels=[1, 0.5, 1e-6] * 1_000, n=3_000).all()


@pytest.mark.parametrize("by", ["offset", "row", "id"])
def test_of_the_negatives_so_many_are_kept_whatever_they_are_told_apart_by(by):
    n = 40_000
    of = {
        "offset": {},
        "row": {"offsets": np.zeros(n, np.int64), "rows": np.arange(n)},
        "id": {"ids": np.arange(1, n + 1).astype(np.uint64), "offsets": np.zeros(n, np.int64)},
    }[by]
    deviation = np.sqrt(SHARE * (1 - SHARE) / n)
    found = kept(**of)
    assert abs(found.mean() - SHARE) < 4 * deviation
    assert abs(alike(found[1:], found[:-1]) - SHARE) < 0.02, "neighbours have nothing to do with each other"
    assert found.tolist() == kept(**of).tolist()
    assert abs(alike(found, kept(**of, seed=np.uint64(6))) - SHARE) < 0.02, "another seed, another sample"


def test_what_has_an_id_is_kept_by_that_alone():
    ids = np.random.default_rng(1).integers(1, 2**64, 1_000, np.uint64)
    one = kept(ids=ids, n=1_000)
    other = kept(ids=ids, shard=3, offsets=np.arange(1_000)[::-1].copy(), rows=np.arange(1_000), n=1_000)
    assert one.tolist() == other.tolist()


def test_without_an_id_it_is_kept_by_where_it_stands():
    one = kept()
    assert abs(alike(one, kept(shard=1)) - SHARE) < 0.02
    assert abs(alike(one, kept(rows=np.ones(40_000, np.int64))) - SHARE) < 0.02
    # the next row of a record is not the first row of the next one
    assert abs(alike(one[1:], kept(rows=np.ones(40_000, np.int64))[:-1]) - SHARE) < 0.02
