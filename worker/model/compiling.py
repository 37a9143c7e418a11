"""Kernels that other kernels call for every value: compiled so that the call costs nothing."""

from typing import TypeVar, cast

from numba import njit

_Kernel = TypeVar("_Kernel")


def leaf(function: _Kernel) -> _Kernel:
    """Compile a kernel that is called by others and makes no array.

    It counts no references to the arrays that it is handed, for its caller holds them; counting takes longer than most
    of what is done here.
    """
    return cast("_Kernel", njit(cache=True, nogil=True, _nrt=False)(function))


def plain(function: _Kernel) -> _Kernel:
    """Compile a kernel like `leaf` that takes numbers alone, so that loops which call it can become vectors.

    A division by zero gives what IEEE 754 says: to raise an error it would have to branch.
    """
    return cast("_Kernel", njit(cache=True, nogil=True, _nrt=False, error_model="numpy")(function))


def hot(function: _Kernel) -> _Kernel:
    """Compile a kernel like `leaf`, into its callers: a call takes longer than what it does."""
    return cast("_Kernel", njit(cache=True, nogil=True, _nrt=False, inline="always")(function))
