"""Runs programs that cannot write: not beside the source, not at home, not in a folder for temporary files."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LOCATOR = {"NUMBA_CACHE_LOCATOR_CLASSES": "worker.shipped.ShippedKernels"}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write in a tree away, and give it back, so that the tree can be removed."""
    places = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    modes = {path: path.stat().st_mode for path in places}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def run(
    folder: Path, *arguments: object, python: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with the package that is installed in a folder that is read-only, and nowhere to write to."""
    command = [str(python or sys.executable), "-P", *map(str, arguments)]
    if os.geteuid() == 0:  # may write whatever the modes say, unless this is taken away too
        command = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override", *command]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if python is None:
        environment["PYTHONPATH"] = str(folder)
    environment |= variables or {}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
