"""Programs and packages that are fetched once, into the cache: by Maven, by apt, by Go."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from worker.errors import HeadraceError

CHECKOUT: Final = Path(__file__).resolve().parents[1]
_TAIL_LINES: Final = 15  # of what a command says when it fails


class UnavailableError(HeadraceError):
    """Something is not there, and cannot be fetched; the message says why, and what to install."""


def cache_folder() -> Path:
    """Give the folder that downloads are kept in: `HEADRACE_CACHE`, else `.cache` in the checkout."""
    return Path(os.environ.get("HEADRACE_CACHE") or CHECKOUT / ".cache").absolute()


def fetch(
    command: Sequence[str],
    *,
    seconds: float,
    missing: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command that fetches something.

    Args:
        command: what is run.
        seconds: that it may take.
        missing: what is not there without it, and what to install, for the message of an error.
        folder: where it is run.
        environment: variables that are added to those of this process.

    Raises:
        UnavailableError: it fails, with the last lines of what it said, or takes too long.
    """
    name = Path(command[0]).name
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{missing}: {name} did not end within {seconds:.0f} s") from None
    if answer.returncode != 0:
        raise UnavailableError(f"{missing}. {name} says\n{tail(answer.stdout)}")


def tail(text: str) -> str:
    """Give the last lines of what a command said."""
    return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])
