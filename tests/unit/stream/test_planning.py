"""What is recorded already is looked at, and what cannot be looked at is not taken for nothing."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.recordings import make_records, write
from worker.errors import ConfigurationError, DamagedRecordingError
from worker.recording.places import place, require_bucket
from worker.recording.writing import Limits
from worker.stream.planning import look, recorded

NOBODY = 65_534


def test_what_is_recorded_is_given_by_partition(tmp_path: Path) -> None:
    assert recorded(place(tmp_path / "none"), "clicks") == {}
    write(tmp_path, make_records(1, range(6)), limits=Limits(records=4))
    write(tmp_path, make_records(0, range(3)))
    write(tmp_path, make_records(topic="views"))
    found = recorded(place(tmp_path), "clicks")
    assert {number: [(one.first, one.stop) for one in some] for number, some in found.items()} == {
        0: [(0, 3)], 1: [(0, 4), (4, 6)],
    }  # fmt: skip
    assert recorded(place(tmp_path), "sales") == {}
    (tmp_path / "topics/clicks/partition=0/clicks+0+0000000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedRecordingError):
        recorded(place(tmp_path), "clicks")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be a user to whom permissions apply."""
    user = os.geteuid()
    os.seteuid(user or NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    write(tmp_path, make_records())
    folder = tmp_path / "topics" / "clicks"
    folder.chmod(0)
    try:
        with unprivileged(), pytest.raises(ConfigurationError, match=f"{tmp_path}: cannot be .*: not permitted"):
            recorded(place(tmp_path), "clicks")
    finally:
        folder.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "clicks").write_text("notes on clicks")
    with pytest.raises(
        ConfigurationError, match="topics/clicks: is a file, and files of topic clicks go into a folder"
    ):
        recorded(place(tmp_path), "clicks")


def test_a_file_in_the_place_of_the_recording_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("notes on clicks")
    with pytest.raises(ConfigurationError, match="notes: is a file, and a recording is a folder: name another place"):
        look(place(tmp_path / "notes"), "clicks")
    with pytest.raises(ConfigurationError, match="a file stands where a folder should"):
        look(place(tmp_path / "notes" / "on"), "clicks")


class Empty(BaseHTTPRequestHandler):
    """An object store in which there is nothing."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None: ...


def test_a_bucket_that_is_not_there_is_named() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = (
            f"s3://ann:s3cret@lost/day?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.server_port}"
        )
        with pytest.raises(ConfigurationError, match="there is no bucket 'lost': make it, or name another one") as told:
            require_bucket(place(address))
        server.shutdown()
    assert "s3cret" not in str(told.value)


def test_a_folder_needs_no_bucket(tmp_path: Path) -> None:
    require_bucket(place(tmp_path / "to be made"))
    require_bucket(place("memory://to/be/made"))
