"""Finds `promtool` and `prometheus`: on the path, else in Debian's package, which is unpacked into the cache once.

Nothing is installed and no root is needed: apt fetches the package from wherever this machine has its packages from,
and checks its signature as ever.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.fetching import UnavailableError, cache_folder, fetch

PACKAGE: Final = "prometheus"
APT_SECONDS: Final = 300.0  # package lists and 20 MB over a slow line


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Where the two programs are."""

    promtool: Path
    prometheus: Path


def obtain() -> Programs:
    """Find the programs, or fetch them. Two processes may ask at once; what the cache holds is always whole.

    Raises:
        UnavailableError: they are nowhere; the message says what is missing.
    """
    promtool, prometheus = shutil.which("promtool"), shutil.which("prometheus")
    if promtool and prometheus:
        return Programs(promtool=Path(promtool), prometheus=Path(prometheus))
    folder = cache_folder() / "prometheus"
    if not folder.is_dir():
        _fetch(folder)
    return Programs(promtool=folder / "usr/bin/promtool", prometheus=folder / "usr/bin/prometheus")


def _fetch(folder: Path) -> None:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise UnavailableError(
                f"no promtool and prometheus on the path, and no {program} to fetch Debian's package with: "
                "install Prometheus"
            )
    print("prometheus: fetching Debian's package, once ...", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="prometheus-", suffix=".partial") as scratch:
        place = Path(scratch)
        _download(place)
        unpacked = place / "unpacked"
        _run(["dpkg-deb", "-x", str(next(place.glob("*.deb"))), str(unpacked)], place)
        for program in ("promtool", "prometheus"):
            if not (unpacked / "usr/bin" / program).is_file():
                raise UnavailableError(f"Debian's package {PACKAGE} holds no {program}: install Prometheus")
        try:
            unpacked.rename(folder)
        except OSError:
            if not folder.is_dir():  # or else another process was faster
                raise


def _download(place: Path) -> None:
    """Download the package by the machine's package lists; where those are missing or old, by ones of our own."""
    (place / "lists/partial").mkdir(parents=True)
    (place / "cache/archives/partial").mkdir(parents=True)
    own_cache = ["-o", f"Dir::Cache={place}/cache", "-o", "APT::Sandbox::User="]
    own_lists = [*own_cache, "-o", f"Dir::State::lists={place}/lists"]
    try:
        _run(["apt-get", "-qq", *own_cache, "download", PACKAGE], place)
    except UnavailableError:
        _run(["apt-get", "-qq", *own_lists, "update"], place)
        _run(["apt-get", "-qq", *own_lists, "download", PACKAGE], place)


def _run(command: list[str], place: Path) -> None:
    missing = "no promtool and prometheus on the path, and Debian's package cannot be had, so install Prometheus"
    fetch(command, seconds=APT_SECONDS, missing=missing, folder=place)
