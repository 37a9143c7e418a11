from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.recordings import START, files, make_records, rows, write
from worker.errors import ConfigurationError, DamagedRecordingError
from worker.recording import Recording
from worker.recording.places import place
from worker.recording.plan import Asked, Plan, write_plan
from worker.recording.writing import Limits

FOLDER = "topics/clicks/partition=0"


def two_files(folder: Path) -> None:
    """Offsets 0 to 3, and 4 to 7, all of which have a record."""
    write(folder, make_records(0, range(8)), limits=Limits(records=4))
    assert files(folder) == [f"{FOLDER}/clicks+0+{start:010d}.parquet" for start in (0, 4)]


def test_every_part_of_a_record_comes_back(tmp_path: Path) -> None:
    written = make_records(
        3,
        (5, 6, 9, 10),
        times=(START, -1, START - 7, START),
        keys=(b"a", None, b"", b"\xff\x00"),
        values=(b"{}", None, b"", b"x" * 1_000_000),
        headers=([("h", b"1"), ("h", None), ("", b"")], None, None, [("k", b"\xfe")]),
    )
    write(tmp_path, written, start=5, stop=12, partitions=8)
    recording = Recording(tmp_path)
    assert (recording.topic, recording.shards, recording.ranges) == ("clicks", 8, {3: (5, 12)})
    assert rows(*recording) == rows(written)
    assert rows(*recording.partition(3)) == rows(written)
    assert recording.warnings == []


@pytest.mark.parametrize("place", ["", "topics", "topics/clicks", FOLDER, f"{FOLDER}/clicks+0+0000000000.parquet"])
def test_a_recording_is_found_from_any_folder_above_it(tmp_path: Path, place: str) -> None:
    write(tmp_path, make_records())
    assert rows(*Recording(tmp_path / place)) == rows(make_records())


def test_a_part_of_a_partition(tmp_path: Path) -> None:
    two_files(tmp_path)
    recording = Recording(tmp_path)
    found = [offset for records in recording.partition(0, 2, 6) for offset in records.offsets.tolist()]
    assert found == [2, 3, 4, 5]
    with pytest.raises(ConfigurationError, match="holds offsets 0 to 7, and not 2 to 8"):
        recording.partition(0, 2, 9)
    with pytest.raises(ConfigurationError, match="has no partition 1; it has 0"):
        recording.partition(1)


def test_a_range_of_time_begins_with_its_first_record_whatever_clocks_do_after_it(tmp_path: Path) -> None:
    times = [START + late for late in (0, 10, 5, 20, 15, 30, 25, 40)]
    write(tmp_path, make_records(0, range(8), times=times), limits=Limits(records=3))
    assert Recording(tmp_path, begin=START + 12).ranges == {0: (3, 8)}
    assert Recording(tmp_path, begin=START + 12, end=START + 30).ranges == {0: (3, 5)}
    with pytest.raises(
        ConfigurationError, match="no records from 2025-01-01T00:00:01Z; it has some from 2025-01-01T00:00:00Z to"
    ):
        Recording(tmp_path, begin=START + 1_000)
    with pytest.raises(ConfigurationError, match="no records to 2025-01-01T00:00:00Z"):
        Recording(tmp_path, end=START)


def test_partitions_are_interleaved_by_time_then_partition_then_offset(tmp_path: Path) -> None:
    # Partition 1 has a clock that goes back: its record waits for none, and overtakes none of its own partition.
    write(tmp_path, make_records(0, range(4), times=[10, 20, 20, 40]), partitions=3)
    write(tmp_path, make_records(1, range(4), times=[10, 30, 5, 40]), partitions=3)
    write(tmp_path, make_records(2, range(2), times=[-1, 25]), partitions=3)
    order = [(r.partition, offset) for r in Recording(tmp_path) for offset in r.offsets.tolist()]
    assert order == [(2, 0), (0, 0), (1, 0), (0, 1), (0, 2), (2, 1), (1, 1), (1, 2), (0, 3), (1, 3)]
    coarse = [(r.partition, r.offsets.tolist()) for r in Recording(tmp_path).interleaved(span_ms=100)]
    assert coarse == [(2, [0]), (0, [0, 1, 2, 3]), (1, [0, 1, 2, 3]), (2, [1])]
    assert {r.partition for r in Recording(tmp_path, partitions=[1])} == {1}
    assert Recording(tmp_path, partitions=[1]).shards == 3


def test_gaps_inside_a_file_are_the_topics_own(tmp_path: Path) -> None:
    write(tmp_path, make_records(0, (3, 7, 8, 20)), limits=Limits(records=2), stop=30)
    recording = Recording(tmp_path, strict=True)
    assert recording.ranges == {0: (0, 30)}
    assert rows(*recording) == rows(make_records(0, (3, 7, 8, 20)))


def test_a_file_without_a_record_covers_its_offsets(tmp_path: Path) -> None:
    write(tmp_path, make_records(0, range(2)), limits=Limits(records=2), stop=5)
    assert len(files(tmp_path)) == 2
    assert Recording(tmp_path).ranges == {0: (0, 5)}
    assert rows(*Recording(tmp_path)) == rows(make_records(0, range(2)))


# --- what is wrong, and is said before anything is read


def plan(folder: Path, ranges: dict[int, tuple[int, int | None]]) -> None:
    write_plan(
        place(folder),
        Plan(topic="clicks", topic_id="one", partitions=2, asked=Asked(), ranges=ranges, limits=Limits(records=4)),
    )


def test_a_first_file_that_is_missing_is_a_hole_too(tmp_path: Path) -> None:
    two_files(tmp_path)
    plan(tmp_path, {0: (0, 8)})
    assert Recording(tmp_path, strict=True).warnings == []
    (tmp_path / FOLDER / "clicks+0+0000000000.parquet").unlink()
    with pytest.raises(DamagedRecordingError, match=r"offsets 0 to 3 of partition 0 were recorded.*a file is gone"):
        Recording(tmp_path)


@pytest.mark.parametrize("where", ["", "one", "one/topics", "one/topics/clicks"])
def test_the_plan_is_found_where_the_topic_is_recorded(tmp_path: Path, where: str) -> None:
    two_files(tmp_path / "one")
    plan(tmp_path / "one", {0: (0, 8), 1: (0, 3)})
    missing = f"{tmp_path / where}: offsets 0 to 2 of partition 1 were to be recorded, and are missing"
    assert [told.partition(": recording was")[0] for told in Recording(tmp_path / where).warnings] == [missing]
    (tmp_path / "one" / FOLDER / "clicks+0+0000000000.parquet").unlink()
    with pytest.raises(DamagedRecordingError, match=r"offsets 0 to 3 of partition 0 were recorded.*a file is gone"):
        Recording(tmp_path / where)
    # A folder of one partition, or a file, is asked for as it is
    assert Recording(tmp_path / "one" / FOLDER).warnings == []
    assert Recording(tmp_path / "one" / FOLDER / "clicks+0+0000000004.parquet").warnings == []


def test_plans_of_several_recordings_add_up(tmp_path: Path) -> None:
    write(tmp_path / "one", make_records(0, range(4)))
    write(tmp_path / "two", make_records(0, range(4, 8)), start=4)
    plan(tmp_path / "one", {0: (0, 4)})
    plan(tmp_path / "two", {0: (4, 8)})
    assert Recording(tmp_path, strict=True).ranges == {0: (0, 8)}
    plan(tmp_path / "two", {0: (4, 9)})
    assert len(Recording(tmp_path).warnings) == 1
    plan(tmp_path / "one", {0: (0, None)})
    assert Recording(tmp_path, strict=True).ranges == {0: (0, 8)}


def test_ends_that_are_missing_are_told(tmp_path: Path) -> None:
    two_files(tmp_path)
    plan(tmp_path, {0: (0, 12), 1: (5, 6)})
    told = Recording(tmp_path).warnings
    assert [one.partition(": ")[2].partition(":")[0] for one in told] == [
        "offsets 8 to 11 of partition 0 were to be recorded, and are missing",
        "offsets 5 to 5 of partition 1 were to be recorded, and are missing",
    ]
    assert len(Recording(tmp_path, partitions=[0]).warnings) == 1
    with pytest.raises(DamagedRecordingError, match="a file is gone, or recording was interrupted"):
        Recording(tmp_path, strict=True)
    plan(tmp_path, {0: (0, None)})  # followed: its end is open
    assert Recording(tmp_path, strict=True).warnings == []


def test_a_file_that_is_missing_is_a_hole(tmp_path: Path) -> None:
    write(tmp_path, make_records(0, range(12)), limits=Limits(records=4))
    (tmp_path / FOLDER / "clicks+0+0000000004.parquet").unlink()
    with pytest.raises(
        DamagedRecordingError, match=r"offsets 4 to 7 are missing between .*0000000000\.parquet and .*a file is gone"
    ):
        Recording(tmp_path)
    assert Recording(tmp_path / FOLDER / "clicks+0+0000000008.parquet").ranges == {0: (8, 12)}


def test_two_files_that_overlap_are_both_named(tmp_path: Path) -> None:
    two_files(tmp_path)
    write(tmp_path, make_records(0, range(2, 4)), start=2)
    with pytest.raises(
        DamagedRecordingError, match=r"0000000000\.parquet and .*0000000002\.parquet overlap: .* 0 to 3, .* 2 to 3"
    ):
        Recording(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -9])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, keep: int) -> None:
    two_files(tmp_path)
    path = tmp_path / FOLDER / "clicks+0+0000000004.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedRecordingError, match=r"0000000004\.parquet: cut short, damaged, or no Parquet file"):
        Recording(tmp_path)


def test_a_byte_that_changed_is_found_when_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, make_records(0, range(1_000), values=[b"%d" % (n * n) for n in range(1_000)]))
    path = tmp_path / FOLDER / "clicks+0+0000000000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedRecordingError, match="cut short, damaged"):
        list(Recording(tmp_path))


def test_a_file_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    two_files(tmp_path)
    path = tmp_path / FOLDER / "clicks+0+0000000004.parquet"
    path.rename(path.with_name("clicks+0+0000000008.parquet"))
    with pytest.raises(DamagedRecordingError, match="from offset 4 on, which is not what its name says"):
        Recording(tmp_path)


def test_several_topics_want_one_named(tmp_path: Path) -> None:
    write(tmp_path, make_records())
    write(tmp_path, make_records(topic="views"))
    with pytest.raises(
        ConfigurationError, match="several topics, clicks, views: name one of them, with --topic or in the settings"
    ):
        Recording(tmp_path)
    with pytest.raises(
        ConfigurationError, match="several topics, clicks, views: name one of them, with --topic or in the settings"
    ):
        Recording(tmp_path, likely="sales")
    assert Recording(tmp_path, likely="views").topic == "views"
    assert Recording(tmp_path, "clicks", likely="views").topic == "clicks"
    assert Recording(tmp_path, "views").topic == "views"
    with pytest.raises(ConfigurationError, match="no records of topic 'sales'; there are some of clicks, views"):
        Recording(tmp_path, "sales")


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file or folder"):
        Recording(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="no recording is there"):
        Recording(tmp_path)
    write(tmp_path, make_records())
    with pytest.raises(ConfigurationError, match="has no partition 4, 7; it has 0"):
        Recording(tmp_path, partitions=[0, 4, 7])


def test_offsets_that_do_not_rise_are_found(tmp_path: Path) -> None:
    pq.write_table(pa.table({"offset": [3, 5, 4], "value": [b"a", b"b", b"c"]}), tmp_path / "t+0+3.parquet")
    with pytest.raises(DamagedRecordingError, match="do not rise"):
        list(Recording(tmp_path))


def test_no_byte_of_a_file_may_change_unseen(tmp_path: Path) -> None:
    write(tmp_path, make_records(0, range(500)))
    path = tmp_path / FOLDER / "clicks+0+0000000000.parquet"
    data, expected, seen = path.read_bytes(), rows(make_records(0, range(500))), 0
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            assert rows(*Recording(tmp_path)) == expected  # it may lie where nobody reads
        except DamagedRecordingError:
            seen += 1
    assert seen > 100
