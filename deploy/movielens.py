"""MovieLens-100K as a stream of events: 100,000 ratings of 1,682 films by 943 people, from 1997 and 1998.

The ratings come out of the wheel of `recbole` on PyPI, which carries them as an example. The wheel is not installed,
and nothing of the data is part of this project: see https://grouplens.org/datasets/movielens/100k for its licence
(F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015).

    python -m deploy.movielens build/movielens.jsonl
    python -m deploy.movielens --recording build/movielens     (as `headrace record` would have recorded them)
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from deploy.fetching import cache_folder
from worker.errors import HeadraceError
from worker.recording.layout import topic_folder
from worker.recording.places import place
from worker.recording.records import CREATE_TIME, Records, no_headers
from worker.recording.writing import Limits, PartitionWriter

WHEEL = "recbole==1.2.1"
FOLDER = "recbole/dataset_example/ml-100k"
FILES = {  # name -> SHA-256: what a download or a cache must hold to the last byte
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}
TOPIC = "interactions"  # of the recording
LIKED = 4.0  # a rating from which on the label is 1
# The bands of MovieLens-1M, whose publishers give ages by them only.
BAND_STARTS = (18, 25, 35, 45, 50, 56)
BANDS = ("under 18", "18-24", "25-34", "35-44", "45-49", "50-55", "56+")
DOWNLOAD_SECONDS = 90.0  # 2 MB: a registry that is slower than that is as good as out of reach for a demo


class DatasetUnavailableError(HeadraceError):
    """MovieLens-100K is neither in the cache nor to be had from the package registry."""


def fetch(folder: Path | None = None) -> Path:
    """Get the files into `folder` (a room of the cache unless given) and give it; no network if they are there.

    Raises:
        DatasetUnavailableError: they are not there and cannot be downloaded.
    """
    folder = cache_folder() / "movielens" if folder is None else folder
    if all(_is_whole(folder / name, digest) for name, digest in FILES.items()):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that a file moves into its place in one step: it is there whole or not at all.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
        wheel = _download(Path(scratch))
        for name, digest in FILES.items():
            part = Path(scratch) / name
            try:
                with (
                    zipfile.ZipFile(wheel) as archive,
                    archive.open(f"{FOLDER}/{name}") as source,
                    part.open("wb") as to,
                ):
                    shutil.copyfileobj(source, to)
            except (KeyError, zipfile.BadZipFile) as error:
                raise DatasetUnavailableError(f"{wheel.name} does not hold {FOLDER}/{name}: {error}") from error
            if not _is_whole(part, digest):
                raise DatasetUnavailableError(f"{FOLDER}/{name} in {wheel.name} is not the file that is expected")
            part.replace(folder / name)
    return folder


def events(folder: Path | None = None) -> Iterator[dict[str, Any]]:
    """Give the ratings as events, in the order of their time; see `fetch` for what may be raised."""
    folder = fetch(folder)
    users = {row["user_id"]: row for row in _rows(folder / "ml-100k.user")}
    items = {row["item_id"]: row for row in _rows(folder / "ml-100k.item")}
    ratings = sorted(_rows(folder / "ml-100k.inter"), key=lambda row: float(row["timestamp"]))  # stable
    for rating in ratings:
        user, item = users[rating["user_id"]], items[rating["item_id"]]
        event: dict[str, Any] = {
            "user": rating["user_id"],
            "item": rating["item_id"],
            "label": int(float(rating["rating"]) >= LIKED),
            "time": int(float(rating["timestamp"])) * 1000,
            "age": age_band(int(user["age"])),
            "gender": user["gender"],
            "occupation": user["occupation"],
            "genres": item["class"].split(),
        }
        if item["release_year"].isdecimal():  # one film has none
            event["year"] = int(item["release_year"])
        yield event


def write_jsonl(path: Path, folder: Path | None = None) -> int:
    """Write the events to a file of JSON lines, whole or not at all, and count them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with part.open("wb") as file:
            for event in events(folder):
                file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))
                count += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def write_recording(to: Path, *, most: int | None = None, folder: Path | None = None) -> int:
    """Write the events as the recording of a topic of one partition, and count them: each recorded when it took place.

    Args:
        to: the folder of the recording; one that is there is replaced.
        most: only the first so many.
        folder: as of `fetch`.
    """
    every = list(islice(events(folder), most))
    records = Records(
        topic=TOPIC,
        partition=0,
        offsets=np.arange(len(every)),
        timestamps=np.array([event["time"] for event in every], np.int64),
        timestamp_types=np.full(len(every), CREATE_TIME, np.int8),
        keys=pa.array([event["user"].encode() for event in every], pa.binary()),
        values=pa.array([orjson.dumps(event) for event in every], pa.binary()),
        headers=no_headers(len(every)),
    )
    shutil.rmtree(to / topic_folder(TOPIC), ignore_errors=True)
    writer = PartitionWriter(place(to), TOPIC, 0, partitions=1, start=0, limits=Limits())
    writer.add(records)
    writer.finish(writer.next_offset)
    return len(every)


def age_band(age: int) -> str:
    """Give the band of an age in years.

    >>> age_band(17), age_band(25), age_band(34), age_band(73)
    ('under 18', '25-34', '25-34', '56+')
    """
    return BANDS[bisect_right(BAND_STARTS, age)]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        names = [name.split(":")[0] for name in next(lines).rstrip("\n").split("\t")]
        for line in lines:
            yield dict(zip(names, line.rstrip("\n").split("\t"), strict=True))


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def _download(folder: Path) -> Path:
    command = [*_pip(), "download", WHEEL, "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command += ["--no-input", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DatasetUnavailableError(
            f"{WHEEL} was not downloaded within {DOWNLOAD_SECONDS:.0f} s: check the way to the package registry"
        ) from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DatasetUnavailableError(f"pip cannot download {WHEEL}, which carries MovieLens-100K: {reason}") from error
    return next(folder.glob("*.whl"))


def _pip() -> list[str]:
    """Find a pip: the interpreter's own, or any, for the wheel is the same for every interpreter."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise DatasetUnavailableError(
        f"there is no pip to download {WHEEL} with: run `{sys.executable} -m ensurepip`, or install pip"
    )


if __name__ == "__main__":
    *recording, where = sys.argv[1:] or [""]
    if not where or recording not in ([], ["--recording"]):
        sys.exit("usage: python -m deploy.movielens FILE.jsonl | --recording FOLDER")
    try:
        count = write_recording(Path(where)) if recording else write_jsonl(Path(where))
        print(f"{count:,} events in {where}")
    except HeadraceError as problem:
        sys.exit(str(problem))
