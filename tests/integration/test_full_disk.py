"""`headrace record` onto a disk that is full: it ends, saying what to do, and goes on once there is room."""

import hashlib
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.broker import Broker
from tests.support.patience import SECONDS
from tests.support.recorded import make, produce
from tests.support.recordings import START, files
from worker.errors import StorageError

RECORDS, EACH, FILE = 8_000, 200, 1_000  # 200 kB a file, which no compression makes smaller


@pytest.fixture
def topic(kafka: Broker, unique: str) -> str:
    make(kafka, unique, **{"retention.ms": "-1"})
    noise = random.Random(7)
    produce(kafka, unique, ({"value": noise.randbytes(EACH), "timestamp": START + n} for n in range(RECORDS)))
    return unique


def run(kafka: Broker, topic: str, to: Path, limit: Callable[[], None] | None = None) -> tuple[int, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "record", topic, "--to", str(to), "--file-records", str(FILE)],
        env=clean
        | {
            "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "HEADRACE_FEATURES__USER__KIND": "categorical",
        },
        capture_output=True, text=True, timeout=SECONDS, check=False,
        preexec_fn=limit,
    )  # fmt: skip
    return done.returncode, done.stderr


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files(folder)}


def told(place: Path, problem: str) -> str:
    """Give the one line that is said."""
    return (
        f"headrace: {place}: cannot be written to: {problem}: make room, or name another place. What has a file's name "
        "is whole: the same command goes on from there\n"
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_disk_that_is_full_what_is_whole_stays_and_the_rest_follows(
    kafka: Broker, topic: str, tmp_path: Path, disk: Path
) -> None:
    assert run(kafka, topic, tmp_path / "whole") == (0, "")
    whole = digests(tmp_path / "whole")
    # When the disk is full after some files
    assert run(kafka, topic, disk / "to") == (StorageError.exit_code, told(disk / "to", "the disk is full"))
    # Then these are whole, and there is nothing else
    kept = digests(disk / "to")
    assert 1 < len(kept) < len(whole)
    assert kept.items() <= whole.items()
    # And with some room, the same command goes on to the same bytes
    subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
    assert run(kafka, topic, disk / "to") == (0, "")
    assert digests(disk / "to") == whole


def test_a_file_beyond_a_limit_leaves_nothing_half_written(kafka: Broker, topic: str, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (EACH * FILE // 2, EACH * FILE // 2))

    problem = "a file is larger than the disk, or the limit of the process (ulimit -f), allows"
    assert run(kafka, topic, tmp_path / "to", limit) == (StorageError.exit_code, told(tmp_path / "to", problem))
    assert files(tmp_path / "to") == [f"topics/{topic}/_recording.json"]
    assert run(kafka, topic, tmp_path / "to") == (0, "")
    assert len(files(tmp_path / "to")) == RECORDS // FILE + 1


def test_a_file_in_place_of_the_folder_is_told(kafka: Broker, topic: str, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    said = f"headrace: {tmp_path / 'notes'}: is a file, and a recording is a folder: name another place\n"
    assert run(kafka, topic, tmp_path / "notes") == (2, said)
    assert (tmp_path / "notes").read_text() == "mine"
