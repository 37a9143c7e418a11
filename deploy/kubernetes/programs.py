"""Finds `kustomize`: on the path, else as `kubectl kustomize`, else built by Go into the cache, once."""

import os
import shutil
import sys

from deploy.fetching import UnavailableError, cache_folder, fetch

MODULE = "sigs.k8s.io/kustomize/kustomize/v5"
VERSION = "v5.8.1"
_BUILD_SECONDS = 600  # one minute on two cores that do nothing else


def obtain() -> list[str]:
    """Give the command that prints what a folder makes, to which the folder is to be added.

    Raises:
        UnavailableError: where there is none, and none can be built.
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
        raise UnavailableError("no kustomize and no kubectl on the path, and no go to build one: install kubectl")
    print("kustomize: building it, once ...", file=sys.stderr, flush=True)
    # Go writes the program beside its place and renames it: two that build at once do not disturb each other.
    fetch(
        [go, "install", f"{MODULE}@{VERSION}"],
        seconds=_BUILD_SECONDS,
        missing="no kustomize and no kubectl on the path, and none can be built: install kubectl",
        environment={"GOBIN": os.fspath(place), "GOFLAGS": "-mod=mod"},
    )
