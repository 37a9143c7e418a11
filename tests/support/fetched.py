"""Programs that tests need and that are fetched: where they are not to be had, a test is skipped, and fails in CI."""

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from deploy.fetching import UnavailableError

Programs = TypeVar("Programs")


def fetched(obtain: Callable[[], Programs]) -> Programs:
    """Give what is obtained; skips the test, saying what is missing, where it is not to be had."""
    try:
        return obtain()
    except UnavailableError as error:
        if os.environ.get("CI", "").lower() in ("", "0", "false"):
            pytest.skip(str(error))
        raise
