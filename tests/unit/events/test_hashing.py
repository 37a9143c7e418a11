import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from worker.events.hashing import DIGITS, hash_integers, hash_texts, key_of, seed_of, write_decimal, xxh64

SEEDS = (0, 1, 2**63, 2**64 - 1, 0x9E3779B185EBCA87)
EXTREMES = (0, 1, -1, 9, 10, -10, 99, 100, 2**31, 2**63 - 1, -(2**63))


def test_xxh64_agrees_with_the_reference_at_every_length():
    data = np.random.default_rng(0).integers(0, 256, 201, dtype=np.uint8)
    for seed in SEEDS:
        for length in range(201):
            expected = xxhash.xxh64_intdigest(data[:length].tobytes(), seed)
            assert int(xxh64(data, 0, length, np.uint64(seed))) == expected, (seed, length)


@given(st.binary(max_size=100), st.integers(0, 50), st.integers(0, 2**64 - 1))
def test_xxh64_of_a_part_is_that_of_a_copy(data, begin, seed):
    array = np.frombuffer(data, np.uint8)
    begin = min(begin, len(data))
    assert int(xxh64(array, begin, len(data), np.uint64(seed))) == xxhash.xxh64_intdigest(data[begin:], seed)


@pytest.mark.parametrize("value", EXTREMES)
def test_decimal_text(value):
    text = np.zeros(DIGITS, np.uint8)
    assert text[write_decimal(value, text) :].tobytes() == str(value).encode()


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_an_integer_has_the_key_of_its_text(values):
    keys = hash_integers(np.array(values, np.int64), seed_of("item"))
    assert keys.tolist() == [int(key_of("item", str(value))) for value in values]


@pytest.mark.parametrize("width", [np.int32, np.int64])
def test_texts_are_hashed_by_their_bytes(width):
    texts = ["", "a", "é", "😀" * 20]
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(width)
    keys = hash_texts(np.frombuffer(b"".join(encoded), np.uint8), offsets, seed_of("word"))
    assert keys.tolist() == [int(key_of("word", text)) for text in texts]


def test_the_bytes_that_are_hashed_are_the_documented_ones():
    seed = xxhash.xxh64_intdigest(b"user", 0)
    assert int(seed_of("user")) == seed
    assert int(key_of("user", "42")) == xxhash.xxh64_intdigest(b"42", seed)


def test_no_key_is_zero():
    # Given the seed for which the empty string hashes to 0: what is finished is seed + PRIME_5, and 0 stays 0
    nothing = np.zeros(0, np.uint8)
    seed = np.uint64(2**64 - 0x27D4EB2F165667C5)
    assert xxhash.xxh64_intdigest(b"", int(seed)) == 0
    # Then its key is 1
    assert hash_texts(nothing, np.zeros(2, np.int32), seed).tolist() == [1]


# Models are stored under these keys: they may never change.
GOLDEN = {
    ("bias", ""): 0xE69CC962FC34596D,
    ("user", "42"): 0x32A4AE9F2FC8CFD2,
    ("user", "alice"): 0x3FB79D1DC8E31B2C,
    ("item", "42"): 0xBC13D6AE574BB77B,
    ("item", ""): 0xBB29A7ABD1F559B0,
    ("genre", "Sci-Fi"): 0x727ED156D4D060A6,
    ("page", "a longer value of more than thirty-two bytes"): 0xBF68B7BC54060726,
    ("item", "é"): 0xC7B91FA039CA3BBD,
    ("item", "true"): 0xEBF82BA336B73116,
}


@pytest.mark.parametrize(("pair", "key"), GOLDEN.items())
def test_golden_keys(pair, key):
    assert int(key_of(*pair)) == key
