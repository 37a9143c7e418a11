import secrets
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector

from tests.support.recordings import make_records, rows, write
from worker.errors import ConfigurationError
from worker.recording import Recording
from worker.recording.places import exclusive, place
from worker.recording.plan import Asked, Plan, read_plan, write_plan
from worker.recording.writing import Limits


def test_an_address_of_fsspec_holds_a_recording_like_a_folder() -> None:
    address = f"memory://{secrets.token_hex(8)}/clicks"
    write(address, make_records(0, range(10)), limits=Limits(records=4))
    recording = Recording(address)
    assert (recording.location, recording.ranges, recording.files) == (address, {0: (0, 10)}, 3)
    assert rows(*recording) == rows(make_records(0, range(10)))
    assert rows(*Recording(f"{address}/topics/clicks/partition=0/clicks+0+0000000004.parquet")) == rows(
        make_records(0, range(4, 8))
    )
    there = place(address).files.get_file_info(FileSelector(place(address).path, recursive=True))
    names = [it.base_name for it in there if it.is_file]
    assert len(names) >= 3
    assert all(name.endswith((".parquet", ".json")) for name in names), "nothing is left of writing"


def test_an_address_of_arrow_is_its_own(tmp_path: Path) -> None:
    write(tmp_path, make_records())
    assert rows(*Recording(f"file://{tmp_path}")) == rows(make_records())


@pytest.mark.parametrize("address", ["gopher://ann:s3cret@there/clicks", "http+odd://ann:s3cret@there"])
def test_an_address_that_nobody_knows_is_told_without_its_password(address: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        place(address)
    assert "s3cret" not in str(told.value)
    assert "no file system" in str(told.value)


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    where, folder = place(tmp_path), str(tmp_path / "topics")
    with exclusive(where, folder), pytest.raises(ConfigurationError, match="another process"), exclusive(where, folder):
        pass
    with exclusive(where, folder):
        pass


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan(
        topic="clicks",
        topic_id="x",
        partitions=3,
        asked=Asked(partitions=(0, 2), from_timestamp=5, to_offset=7),
        ranges={0: (1, 7), 2: (3, None)},
        limits=Limits(records=5, bytes=6),
    )
    assert read_plan(place(tmp_path), "clicks") is None
    write_plan(place(tmp_path), plan)
    assert read_plan(place(tmp_path), "clicks") == plan


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[]", '{"format": 1, "asked": {"partitions": null}}'])
def test_a_plan_that_is_damaged_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "topics" / "clicks" / "_recording.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(Exception, match=r"_recording\.json: not as `headrace record` wrote it") as told:
        read_plan(place(tmp_path), "clicks")
    assert told.typename == "DamagedRecordingError"


def test_what_was_asked_for_is_told_in_the_words_of_the_command() -> None:
    asked = Asked(partitions=(1, 2), from_timestamp=1_735_689_600_000, to_offset=9)
    assert str(asked) == "--partition 1 --partition 2 --to-offset 9 --from-timestamp 2025-01-01T00:00:00Z"
    assert str(Asked()) == "no range"
