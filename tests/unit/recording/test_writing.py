import dataclasses
import hashlib
import itertools
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.recordings import files, make_records, rows, write
from worker.errors import ConfigurationError, StorageError
from worker.recording import Recording, Records
from worker.recording.places import place
from worker.recording.plan import Asked, Plan, read_plan, write_plan
from worker.recording.schema import COVER_KEY
from worker.recording.writing import Limits, PartitionWriter, sizes

COUNT = 60
VALUES = [b"x" * (n * n % 23) if n % 7 else None for n in range(COUNT)]
HEADERS = [[("name", b"v" * (n % 5))] * (n % 3) if n % 2 else None for n in range(COUNT)]
SOME = make_records(0, range(0, 2 * COUNT, 2), values=VALUES, headers=HEADERS)


def parted(records: Records, cuts: list[int]) -> list[Records]:
    bounds = [0, *sorted(cuts), len(records)]
    return [records.slice(begin, end) for begin, end in itertools.pairwise(bounds) if begin < end]


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files(folder)}


@settings(max_examples=25)  # each file is on the disk for sure before it has its name, which takes its time
@given(
    cuts=st.lists(st.integers(0, COUNT), max_size=12),
    limits=st.builds(Limits, records=st.integers(7, 80), bytes=st.integers(90, 600)),
    resumed=st.integers(0, 8),
)
def test_files_depend_on_the_records_alone(cuts: list[int], limits: Limits, resumed: int) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        # Given what one run makes of records that come at once
        write(one, SOME, limits=limits, stop=200)
        # When they come in other pieces, and the run ends after some files and is taken up behind them
        write(other, *parted(SOME, cuts), limits=limits, stop=200)
        for name in files(Path(other))[resumed:]:
            (Path(other) / name).unlink()
        left = Recording(other).ranges[0][1] if files(Path(other)) else 0
        if left < 200:
            rest = parted(SOME.between(left, 200), [cut for cut in cuts if cut < 20])
            write(other, *(rest or [SOME.slice(0, 0)]), start=left, limits=limits, stop=200)
        # Then every file is the same, to the byte
        assert digests(Path(one)) == digests(Path(other))
        assert rows(*Recording(one)) == rows(SOME)


def test_a_file_ends_after_the_record_that_fills_it(tmp_path: Path) -> None:
    keyless = make_records(0, range(6), keys=[None] * 6, values=[b"x" * size for size in (10, 89, 1, 500, 0, 100)])
    write(tmp_path, keyless, limits=Limits(records=100, bytes=100))
    assert [int(name[-18:-8]) for name in files(tmp_path)] == [0, 3, 4]
    assert sizes(keyless).tolist() == [10, 89, 1, 500, 0, 100]
    headed = make_records(0, (0, 1), values=(None, b"v"), headers=([("name", b"12"), ("n", None)], []))
    assert sizes(headed).tolist() == [2 + 4 + 2 + 1, 2 + 1]
    assert sizes(headed.slice(1, 2)).tolist() == [3]


def test_rows_are_grouped_for_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.recording.writing.GROUP_RECORDS", 4)
    write(tmp_path, make_records(0, range(10)))
    metadata = pq.read_metadata(tmp_path / files(tmp_path)[0])
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [4, 4, 2]
    assert b'"next_offset":10' in metadata.metadata[COVER_KEY]


def test_what_is_given_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.recording.writing.GROUP_RECORDS", 4)
    writer = PartitionWriter(place(tmp_path), "clicks", 0, partitions=1, start=0, limits=Limits(records=8))
    writer.add(make_records(0, range(14)))
    assert [Path(name).name for name in files(tmp_path)] == [
        ".clicks+0+0000000008.parquet.part", "clicks+0+0000000000.parquet",
    ]  # fmt: skip
    assert Recording(tmp_path).ranges == {0: (0, 8)}  # what is not whole is not looked at
    writer.abort()
    assert [Path(name).name for name in files(tmp_path)] == ["clicks+0+0000000000.parquet"]
    assert (writer.files, writer.records) == (1, 8)


def test_another_reader_of_parquet_reads_it(tmp_path: Path) -> None:
    write(tmp_path, make_records(0, range(3), times=(0, -1, 1_735_689_600_000)))
    table = pq.read_table(tmp_path, partitioning=None)
    assert table.column_names == [
        "topic",
        "partition",
        "offset",
        "timestamp",
        "timestamp_type",
        "key",
        "value",
        "headers",
    ]
    assert [str(time) for time in table["timestamp"].to_pylist()] == [
        "1970-01-01 00:00:00+00:00", "None", "2025-01-01 00:00:00+00:00",
    ]  # fmt: skip
    assert set(table["topic"].to_pylist()) == {"clicks"}
    assert np.array_equal(table["offset"].to_numpy(), [0, 1, 2])


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "topics").write_text("a file")
    with pytest.raises(ConfigurationError, match="cannot be written to: a file stands where a folder should"):
        write(tmp_path, make_records())


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def put(writer: PartitionWriter) -> None:
    writer.add(SOME)
    writer.finish(writer.next_offset)


@pytest.mark.parametrize("size", [0, 2, 100, 1_000, -1])
def test_a_file_that_cannot_be_ended_leaves_nothing(tmp_path: Path, size: int) -> None:
    # Given how large a file would be
    write(tmp_path / "whole", SOME)
    (name,) = files(tmp_path / "whole")
    most = (tmp_path / "whole" / name).stat().st_size
    writer = PartitionWriter(place(tmp_path / "cut"), "clicks", 0, partitions=1, start=0, limits=Limits())
    # When it is cut off in its first bytes, in its rows or in its footer
    with limited(size % most), pytest.raises(StorageError, match="a file is larger than") as told:
        put(writer)
    assert "make room, or name another place. What has a file's name is whole" in str(told.value)
    writer.abort()
    # Then nothing is left of it, and it is written anew
    assert files(tmp_path / "cut") == []
    write(tmp_path / "cut", SOME)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_a_plan_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    plan = Plan(topic="clicks", topic_id="x", partitions=1, asked=Asked(), ranges={0: (0, 5)}, limits=Limits())
    for before in (None, plan):
        with limited(10), pytest.raises(StorageError, match="a file is larger than"):
            write_plan(place(tmp_path), dataclasses.replace(plan, ranges={0: (0, 7)}))
        assert read_plan(place(tmp_path), "clicks") == before
        assert all(not name.endswith(".part") for name in files(tmp_path))
        write_plan(place(tmp_path), plan)
