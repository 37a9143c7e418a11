"""Kernels that were compiled when an image was built: read where nothing can be written.

numba looks for a folder that it can write to before it reads a single kernel, and refuses to go on where it finds none:
under a read-only root, or as another user than the one who installed, `import worker` would fail. An image names
`ShippedKernels` in `NUMBA_CACHE_LOCATOR_CLASSES`, and numba then takes what `python -m worker.warm` left beside the
source. A kernel that is not there is compiled as ever, for this process alone.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from numba.core import caching

_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class ShippedKernels(caching.InTreeCacheLocator):  # type: ignore[misc]  # numba has no types
    """The `__pycache__` beside a source file, whether it can be written to or not."""

    def ensure_cache_path(self) -> None:
        """Raise FileNotFoundError where nothing was shipped: numba then asks the next locator, if there is one."""
        folder = Path(self.get_cache_path())
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no kernels were shipped", str(folder))


@contextmanager
def _forgive(_: caching.Cache) -> Iterator[None]:
    """Go on without keeping what was compiled, where it cannot be kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise


# numba's own hook for caches that cannot be written: on Windows it forgives EACCES, elsewhere nothing. A test compiles
# a kernel that was not shipped, and so tells if a newer numba no longer has it.
caching.Cache._guard_against_spurious_io_errors = _forgive  # noqa: SLF001
