"""Files that are seen whole or not at all."""

from pathlib import Path

import pytest

from tests.support.full_disk import no_file_beyond
from worker.errors import ConfigurationError, StorageError
from worker.files import write_whole


def test_a_file_is_written_in_the_place_of_another(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "file", b"before")
    write_whole(tmp_path / "new" / "file", b"after")
    assert [(it.name, it.read_bytes()) for it in (tmp_path / "new").iterdir()] == [("file", b"after")]


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"before")
    told = pytest.raises(StorageError, match=r"cannot be written: a file is larger than .*: make room, or name")
    with no_file_beyond(100), told:
        write_whole(tmp_path / "file", bytes(1_000))
    assert [(it.name, it.read_bytes()) for it in tmp_path.iterdir()] == [("file", b"before")]


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(ConfigurationError, match="a file stands where a folder should, or a folder for a file"):
        write_whole(tmp_path / "file", b"after")
    assert [it.name for it in tmp_path.iterdir()] == ["file"]
