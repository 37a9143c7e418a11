import numpy as np
import pyarrow as pa
import pytest
import xxhash

from worker.errors import IncompatibleDataError
from worker.events.features import Features, thresholds_of
from worker.events.hashing import key_of, rare_key_of, seed_of
from worker.learning import Learning
from worker.model.arithmetic import log
from worker.model.batch import Entries


def _features(*, merge: bool = False, **features: dict) -> Features:
    events, model = {"partition_key": "user"}, {"merge": merge}
    return Features(Learning.model_validate({"features": features, "events": events, "model": model}))


def _field(entries: Entries, field: int) -> list[list[tuple[int, float]]]:
    """Give the entries of one field, event by event."""
    rows = []
    for e in range(len(entries)):
        part = slice(entries.starts[e * entries.fields + field], entries.starts[e * entries.fields + field + 1])
        rows.append(list(zip(entries.keys[part].tolist(), entries.values[part].tolist(), strict=True)))
    return rows


def _key(feature: str, value: str = "", *, shared: bool = False) -> int:
    """Give a key: 63 bits of the hash, and one that tells whether the shards share the row."""
    return _marked(int(key_of(feature, value)), shared=shared)


def _marked(key: int, *, shared: bool = False) -> int:
    return key % 2**63 + 2**63 * shared


def test_names_and_scopes():
    features = _features(
        user={},
        item={},
        who={"field": "user"},
        both={"kind": "cross", "of": ["user", "item"]},
        mine={"scope": "local"},
    )
    assert features.names == ("bias", "user", "item", "who", "both", "mine")
    assert features.fields == 6
    assert features.local.tolist() == [False, True, False, True, True, True]


def test_bias_and_categories():
    entries = _features(user={}, thing={"field": "item"}).encode(pa.table({"user": ["a", None, ""], "item": ["x"] * 3}))
    assert (len(entries), entries.fields) == (3, 3)
    assert (entries.keys.dtype, entries.values.dtype, entries.starts.dtype) == (np.uint64, np.float32, np.int64)
    assert _field(entries, 0) == [[(_key("bias"), 1.0)]] * 3
    assert _field(entries, 1) == [[(_key("user", "a"), 1.0)], [], [(_key("user", ""), 1.0)]]
    assert _field(entries, 2) == [[(_key("thing", "x"), 1.0)]] * 3
    assert entries.starts.tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["1", "-20", None]),
        pa.array(["1", "-20", None], pa.large_string()),
        pa.array([1, -20, None], pa.int64()),
        pa.array([1, -20, None], pa.int8()),
        pa.array(["1", "-20", None]).dictionary_encode(),
        pa.array(["dropped", "1", "-20", None]).slice(1),
        pa.array([7, 1, -20, None], pa.int64()).slice(1),
        pa.chunked_array([["1"], [], ["-20", None]]),
        pa.chunked_array([[1], [-20, None]]),
    ],
)
def test_a_category_has_one_key_however_its_column_is_laid_out(column):
    entries = _features(user={}).encode(pa.table({"user": column}))
    assert _field(entries, 1) == [[(_key("user", "1"), 1.0)], [(_key("user", "-20"), 1.0)], []]


def test_booleans_hash_as_their_text():
    entries = _features(flag={}).encode(pa.table({"flag": pa.array([None, True, None, False]).slice(1)}))
    assert _field(entries, 1) == [[(_key("flag", "true"), 1.0)], [], [(_key("flag", "false"), 1.0)]]


def test_no_events():
    empty = pa.table({"user": pa.array([], pa.string()), "tags": pa.array([], pa.list_(pa.string()))})
    entries = _features(user={}, tags={"kind": "multi"}).encode(empty)
    assert (len(entries), len(entries.keys), entries.starts.tolist()) == (0, 0, [0])
    chunkless = pa.table({"user": pa.chunked_array([], pa.string())})
    assert len(_features(user={}).encode(chunkless)) == 0


def test_numbers():
    features = _features(
        price={"kind": "numeric", "shift": 1.0, "scale": 4.0},
        gain={"kind": "numeric", "field": "price", "transform": "log", "scale": 2.0},
        band={"kind": "numeric", "field": "price", "transform": "buckets", "edges": [-1.5, 0, 3]},
    )
    prices = [3.0, -3.0, None, 0.0, -0.0, -1.5]
    entries = features.encode(pa.table({"price": prices}))
    given = [price for price in prices if price is not None]

    def expected(key, values):
        rows = [[(key, float(np.float32(value)))] for value in values]
        return [*rows[:2], [], *rows[2:]]

    assert _field(entries, 1) == expected(_key("price"), [(price - 1) / 4 for price in given])
    assert _field(entries, 2) == expected(_key("gain"), [np.sign(price) * log(1 + abs(price)) / 2 for price in given])
    buckets = [[(_key("band", str(i)), 1.0)] for i in (3, 0, 2, 2, 1)]
    assert _field(entries, 3) == [*buckets[:2], [], *buckets[2:]]


def test_minus_zero_is_zero_to_the_bit():
    kinds = {"plain": {"transform": "identity"}, "gain": {"transform": "log"}}
    as_is = {"standardise": "off"}
    features = _features(
        **{name: {"kind": "numeric", "field": "x"} | kind | as_is for name, kind in kinds.items()},
        **{f"scaled_{name}": {"kind": "numeric", "field": "x"} | kind for name, kind in kinds.items()},
    )
    minus, plus = (features.encode(pa.table({"x": [zero]})) for zero in (-0.0, 0.0))
    assert minus.values.tobytes() == plus.values.tobytes()
    assert minus.numbers.tobytes() == plus.numbers.tobytes()


def test_numbers_that_are_standardised_go_along_as_they_are():
    features = _features(
        user={},
        gain={"kind": "numeric", "field": "price", "transform": "log"},
        price={"kind": "numeric"},
        cents={"kind": "numeric", "field": "price", "scale": 0.01},
    )
    entries = features.encode(pa.table({"user": ["u", None, "v"], "price": [1e200, 7.25, None]}))
    # Each has its entry, which is 0 until the shard says on which scale it lies
    assert _field(entries, 2) == [[(_key("gain"), 0.0)], [(_key("gain"), 0.0)], []]
    assert _field(entries, 3) == [[(_key("price"), 0.0)], [(_key("price"), 0.0)], []]
    assert _field(entries, 4)[1:] == [[(_key("cents"), 725.0)], []]
    np.testing.assert_array_equal(
        entries.numbers, [[log(1 + 1e200), 1e200], [log(8.25), 7.25], [np.nan, np.nan]], strict=True
    )
    assert _features(user={}).encode(pa.table({"user": ["u"]})).numbers is None


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string())])
def test_lists(kind):
    tags = pa.array([["dropped"], ["a", "b", "a", None], [], None, [None], ["c"]], kind).slice(1)
    entries = _features(tags={"kind": "multi"}).encode(pa.table({"tags": tags}))
    a, b, c = (_key("tags", tag) for tag in "abc")
    assert _field(entries, 1) == [[(a, 0.5), (b, 0.5)], [], [], [], [(c, 1.0)]]


def test_lists_of_integers_are_lists_of_their_texts():
    entries = _features(tags={"kind": "multi"}).encode(pa.table({"tags": [[1, 2, 1], [-3]]}))
    texts = _features(tags={"kind": "multi"}).encode(pa.table({"tags": [["1", "2", "1"], ["-3"]]}))
    assert entries.keys.tolist() == texts.keys.tolist()


def test_crosses():
    # Given crosses before and after their parts
    features = _features(
        first={"kind": "cross", "of": ["user", "tags"]},
        user={},
        tags={"kind": "multi"},
        second={"kind": "cross", "of": ["tags", "user"]},
    )
    # When events are encoded, some without a part
    entries = features.encode(pa.table({"user": ["u", None, "v"], "tags": [["a", "b"], ["a"], []]}))
    # Then a key is the hash of the parts' keys in the order of `of`, 8 bytes each, little-endian

    def key(cross, *parts):
        text = b"".join(part.to_bytes(8, "little") for part in parts)
        return _marked(xxhash.xxh64_intdigest(text, xxhash.xxh64_intdigest(cross.encode())))

    # The parts' keys are whole: what is local or shared is the row of the cross, not what it is made of
    u, a, b = (int(key_of(*part)) for part in (("user", "u"), ("tags", "a"), ("tags", "b")))
    assert _field(entries, 1) == [[(key("first", u, a), 0.5), (key("first", u, b), 0.5)], [], []]
    assert _field(entries, 4) == [[(key("second", a, u), 0.5), (key("second", b, u), 0.5)], [], []]


def test_the_highest_bit_tells_what_the_shards_share():
    kinds = {
        "user": {},
        "item": {},
        "tags": {"kind": "multi", "field": "item_tags"},
        "price": {"kind": "numeric"},
        "both": {"kind": "cross", "of": ["user", "item"]},
        "items": {"kind": "cross", "of": ["item", "tags"]},
        "mine": {"field": "item", "scope": "local"},
        "ours": {"field": "user", "scope": "shared"},
    }
    table = pa.table(
        {"user": ["u1", None], "item": ["i1", "i2"], "item_tags": [["a"], ["b", "c"]], "price": [1.0, 2.0]}
    )
    merged, alone = (_features(merge=merge, **kinds).encode(table) for merge in (True, False))
    for field, shared in enumerate([True, False, True, True, True, False, True, False, True]):
        entries = [entry for event in _field(merged, field) for entry in event]
        assert entries, field
        assert all(key >> 63 == shared for key, _ in entries), field
    # And nothing else is other than without merging, where no row is shared
    assert (merged.keys % 2**63).tolist() == alone.keys.tolist()
    assert merged.values.tolist() == alone.values.tolist()
    assert merged.starts.tolist() == alone.starts.tolist()


@pytest.mark.parametrize("merge", [False, True])
def test_golden_entries(merge):
    # Models are stored under these keys and were learned with these values: they may never change
    features = _features(
        merge=merge,
        user={},
        genres={"kind": "multi"},
        price={"kind": "numeric", "transform": "log", "standardise": "off"},
        band={"kind": "numeric", "field": "price", "transform": "buckets", "edges": [1, 10]},
        pair={"kind": "cross", "of": ["user", "genres"]},
    )
    entries = features.encode(pa.table({"user": [42], "genres": [["Sci-Fi", "War"]], "price": [9.5]}))
    local = [False, True, False, False, False, False, True, True]  # the user's, and its crosses'
    keys = zip(GOLDEN_KEYS, local, strict=True)
    assert entries.keys.tolist() == [_marked(key, shared=merge and not mine) for key, mine in keys]
    assert [value.hex() for value in entries.values.tolist()] == GOLDEN_VALUES


GOLDEN_KEYS = [
    0xE69CC962FC34596D,
    0x32A4AE9F2FC8CFD2,
    0x059975F7C2869E6C,
    0x5795D3B381B6D98D,
    0x7CB06812AB1740D3,
    0x05E5DF267AD933B2,
    0xD5C7D319BDC5717F,
    0x4A0CE76A12CC742C,
]
GOLDEN_VALUES = [
    "0x1.0000000000000p+0",
    "0x1.0000000000000p+0",
    "0x1.0000000000000p-1",
    "0x1.0000000000000p-1",
    "0x1.2cf9de0000000p+1",
    "0x1.0000000000000p+0",
    "0x1.0000000000000p-1",
    "0x1.0000000000000p-1",
]


@pytest.mark.parametrize(
    ("feature", "column", "message"),
    [
        ({}, [1.5], "feature x: a column of double where strings, integers or booleans are expected"),
        ({"kind": "numeric"}, ["1"], "feature x: a column of string where numbers are expected"),
        ({"kind": "multi"}, ["a"], "feature x: a column of string where lists are expected"),
        ({"field": "y"}, ["a"], "feature x: no column 'y' in the events"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(feature, column, message):
    with pytest.raises(IncompatibleDataError, match=message):
        _features(x=feature).encode(pa.table({"x": column}))


def test_thresholds_are_those_of_the_features_and_rare_keys_are_marked_like_their_features():
    features = {
        "user": {"admit_after": 3},
        "item": {"admit_after": 2},
        "price": {"kind": "numeric", "transform": "buckets", "edges": [1.0], "admit_after": 1},
        "both": {"kind": "cross", "of": ["user", "item"], "admit_after": 255},
    }
    for merge in (False, True):
        learning = Learning.model_validate({"features": features, "model": {"merge": merge}})
        assert learning.admits
        found = thresholds_of(learning)
        assert found.after.tolist() == [0, 3, 2, 1, 255]
        shared = [merge, False, merge, merge, False]
        names = ["bias", *features]
        assert found.rare.tolist() == [
            _marked(int(rare_key_of(name)), shared=of_all) for name, of_all in zip(names, shared, strict=True)
        ]
    assert not Learning.model_validate({"features": {"user": {"admit_after": 1}}}).admits


def test_a_rare_key_is_of_bytes_that_are_no_text():
    assert rare_key_of("user") == xxhash.xxh64_intdigest(b"\xff", seed=int(seed_of("user")))
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode()
