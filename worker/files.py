"""Files that are seen whole or not at all, and what a file system refuses, in our words."""

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from worker.errors import ConfigurationError, StorageError
from worker.passthrough import mask

_FORBIDDEN: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EFBIG: "a file is larger than the disk, or the limit of the process (ulimit -f), allows",
}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody sees a part of it: beside it, then in its place.

    Raises:
        ConfigurationError, StorageError: as `told` does.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with told(f"{path}: cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
            beside.replace(path)
    finally:
        with suppress(OSError):  # it is in its place, or was never there
            beside.unlink()


@contextmanager
def told(what: str, then: str = "") -> Iterator[None]:
    """Put what a file system refuses into our words: `what` could not be done, why, and `then` what follows.

    Raises:
        ConfigurationError: it is not there, something else is, or it is not permitted.
        StorageError: the disk is full, or the file system fails in another way.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigurationError(f"{what}: it is not there: {mask(str(error))}; name another place") from error
    except (NotADirectoryError, FileExistsError, IsADirectoryError) as error:
        raise ConfigurationError(
            f"{what}: a file stands where a folder should, or a folder for a file: {mask(str(error))}; "
            "name another place"
        ) from error
    except OSError as error:
        if error.errno in _FORBIDDEN or "ACCESS_DENIED" in str(error):  # the latter of an object store
            raise ConfigurationError(
                f"{what}: not permitted: {mask(str(error))}; name another place, or ask for it"
            ) from error
        problem = _FULL.get(error.errno or 0)
        do = f"{problem}: make room, or name another place" if problem else f"{mask(str(error))}; try again"
        raise StorageError(f"{what}: {do}{then and f'. {then}'}") from error
