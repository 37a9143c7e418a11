"""What `pack` writes is what JSON says, as far as a column can."""

import pyarrow as pa
import pytest

from worker.events.pack import pack


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 2], pa.int64(), [1, 2]),
        ([1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
        (["a", None], pa.string(), ["a", None]),
        ([1, "a", True], pa.string(), ["1", "a", "true"]),
        ([2**64 - 1, -1], pa.string(), ["18446744073709551615", "-1"]),
        ([["a"], [], None], pa.list_(pa.string()), [["a"], [], None]),
        ([[1, "a"], [None], None], pa.list_(pa.string()), [["1", "a"], [None], None]),
        ([None, None], pa.null(), [None, None]),
    ],
)
def test_a_column_is_of_what_its_values_have_in_common(values, kind, expected):
    (column,) = pa.ipc.open_stream(pack([{"x": value} for value in values])).read_all().columns
    assert (column.type, column.to_pylist()) == (kind, expected)


def test_what_an_event_lacks_is_null():
    assert pa.ipc.open_stream(pack([{"a": 1}, {"b": 2}])).read_all().to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": 2},
    ]
