"""Finds `kustomize`: on the path, else as `kubectl kustomize`, else built by Go into the cache, once."""

import os
import shutil
import subprocess
import sys

from deploy.broker.jars import cache_folder

MODULE = "sigs.k8s.io/kustomize/kustomize/v5"
VERSION = "v5.8.1"
_BUILD_SECONDS = 600  # one minute on two cores that do nothing else
_TAIL_LINES = 10


class KustomizeUnavailableError(Exception):
    """kustomize is not to be had; the message says why, and what to install."""


def obtain() -> list[str]:
    """Give the command that prints what a folder makes, to which the folder is to be added.

    Raises:
        KustomizeUnavailableError: where there is none, and none can be built.
    """
    if program := shutil.which("kustomize"):
        return [program, "build"]
    if program := shutil.which("kubectl"):
        return [program, "kustomize"]
    place = cache_folder() / f"kustomize-{VERSION}"
    if not (place / "kustomize").is_file():
        _build(place)
    return [str(place / "kustomize"), "build"]


def _build(place: "os.PathLike[str]") -> None:
    go = shutil.which("go")
    if go is None:
        raise KustomizeUnavailableError(
            "no kustomize and no kubectl on the path, and no go to build one: install kubectl"
        )
    print("kustomize: building it, once ...", file=sys.stderr, flush=True)
    try:
        # Go writes the program beside its place and renames it: two that build at once do not disturb each other.
        answer = subprocess.run(
            [go, "install", f"{MODULE}@{VERSION}"],
            env=os.environ | {"GOBIN": os.fspath(place), "GOFLAGS": "-mod=mod"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise KustomizeUnavailableError(f"go did not build kustomize within {_BUILD_SECONDS} s") from None
    if answer.returncode != 0:
        tail = "\n".join(answer.stderr.strip().splitlines()[-_TAIL_LINES:])
        raise KustomizeUnavailableError(f"no kustomize and no kubectl on the path: install kubectl. go says\n{tail}")
