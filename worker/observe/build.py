"""The versions of what runs: for `headrace_build_info` and for `headrace doctor`."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from worker import __version__

SHOWN: Final = ("confluent-kafka", "pyarrow", "numba", "numpy", "pydantic")


def versions() -> dict[str, str]:
    """Give the version of Headrace, of Python, and of the libraries that results hang on.

    >>> sorted(versions())[:3]
    ['confluent_kafka', 'numba', 'numpy']
    """
    found = {"version": __version__, "python": platform.python_version()}
    return found | {name.replace("-", "_"): _version(name) for name in SHOWN}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # vendored, or cut from an image
        return "unknown"
