import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import IncompatibleDataError
from worker.events.partition import murmur2, partition, partition_of

# UtilsTest.testMurmur2 of Apache Kafka
KAFKA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), KAFKA.items())
def test_murmur2_is_that_of_java(key, expected):
    assert int(np.uint32(murmur2(key)).view(np.int32)) == expected
    assert partition(key, 12, "murmur2") == (expected & 0x7FFFFFFF) % 12


def test_crc32_is_that_of_zlib():
    assert partition(b"123456789", 1000, "crc32") == 0xCBF43926 % 1000  # the check value of CRC-32


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_no_key_goes_where_the_empty_key_goes(partitioner):
    assert partition(None, 7, partitioner) == partition(b"", 7, partitioner)
    assert partition_of(pa.array([None, "", "a"]), 7, partitioner).tolist()[:2] == [partition(b"", 7, partitioner)] * 2


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
@given(keys=st.lists(st.text(max_size=20)), partitions=st.integers(1, 1000))
def test_a_column_goes_where_its_keys_go(partitioner, keys, partitions):
    expected = [partition(key.encode(), partitions, partitioner) for key in keys]
    column = pa.chunked_array([pa.array(["dropped", *keys[:3]], pa.string()).slice(1), pa.array(keys[3:], pa.string())])
    assert partition_of(column, partitions, partitioner).tolist() == expected
    assert partition_of(pa.array(keys, pa.large_string()), partitions, partitioner).tolist() == expected


def test_integers_go_where_their_text_goes():
    column = pa.array([7, -(2**63), 2**63 - 1])
    texts = pa.array(["7", str(-(2**63)), str(2**63 - 1)])
    assert partition_of(column, 50, "murmur2").tolist() == partition_of(texts, 50, "murmur2").tolist()
    assert partition_of(pa.array([True]), 50, "crc32").tolist() == [zlib.crc32(b"true") % 50]


def test_a_column_of_something_else_is_refused():
    with pytest.raises(IncompatibleDataError, match="double"):
        partition_of(pa.array([1.5]), 2, "murmur2")
