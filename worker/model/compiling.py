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


def hot(function: _Kernel) -> _Kernel:
    """Compile a kernel like `leaf`, into its callers: a call takes longer than what it does."""
    return cast("_Kernel", njit(cache=True, nogil=True, _nrt=False, inline="always")(function))
