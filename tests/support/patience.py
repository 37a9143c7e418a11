"""Waiting for a condition; no test sleeps for a time that it hopes will do."""

import time
from collections.abc import Callable
from typing import TypeVar

SECONDS = 90.0  # far more than anything takes on a machine that is busy with something else
_LOOK_AGAIN_SECONDS = 0.02

T = TypeVar("T")


def await_(what: str, look: Callable[[], T], seconds: float = SECONDS) -> T:
    """Give what `look` gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s, last seen {seen!r}"
        time.sleep(_LOOK_AGAIN_SECONDS)
    return seen
