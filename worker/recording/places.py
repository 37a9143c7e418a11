"""Where recordings are: a folder of this machine, or an address that Arrow or fsspec knows a file system for."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import fs

from worker.errors import ConfigurationError
from worker.files import told
from worker.passthrough import mask

_STORES: Final = ("s3", "gcs", "abfs")  # whose paths begin with a bucket, which we never make
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder or a file of some file system."""

    text: str  # as it was named, passwords masked
    files: Any  # a pyarrow.fs.FileSystem
    path: str  # within it

    def below(self, *parts: str) -> str:
        """Give the path of what is in this folder."""
        return "/".join([self.path.rstrip("/"), *parts])


def place(location: str | Path) -> Place:
    """Find the file system of a location; nothing is read.

    Args:
        location: a path, or an address such as s3://bucket/folder, gs://…, abfs://…, or any that fsspec knows.

    Raises:
        ConfigurationError: no file system answers to such an address.
    """
    if isinstance(location, Path) or not _SCHEME.match(location):
        return Place(text=str(location), files=fs.LocalFileSystem(), path=str(Path(location).expanduser().absolute()))
    text = mask(location)
    try:
        files, path = fs.FileSystem.from_uri(location)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise ConfigurationError(f"{text}: no such place: {mask(str(error))}") from None
        files, path = _by_fsspec(location, text)
    except (OSError, NotImplementedError) as error:
        raise ConfigurationError(f"{text}: its file system cannot be used: {mask(str(error))}") from None
    return Place(text=text, files=files, path=path)


def _by_fsspec(location: str, text: str) -> tuple[Any, str]:
    scheme = location.partition("://")[0]
    try:
        import fsspec  # noqa: PLC0415 - optional: only for addresses that Arrow does not know
    except ImportError:
        raise ConfigurationError(
            f"{text}: Arrow has no file system for {scheme}://; `pip install fsspec` and its package for {scheme} "
            "may have one"
        ) from None
    try:
        files, path = fsspec.core.url_to_fs(location)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"{text}: fsspec has no file system for {scheme}://: {mask(str(error))}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(files)), path


def kind_of(where: Place, path: str) -> fs.FileType:
    """Tell whether a path of this file system is a file, a folder, or not there.

    Raises:
        ConfigurationError, StorageError: as `told` does.
    """
    with told(f"{where.text}: cannot be looked at"):
        return where.files.get_file_info(path).type


def require_bucket(where: Place) -> None:
    """Refuse an address of an object store whose bucket is not there: to list it says no more than that it is empty.

    Raises:
        ConfigurationError: it is not there, or may not be seen.
        StorageError: the store does not answer.
    """
    bucket = where.path.partition("/")[0]
    if where.files.type_name in _STORES and kind_of(where, bucket) is fs.FileType.NotFound:
        raise ConfigurationError(f"{where.text}: there is no bucket {bucket!r}: make it, or name another one")


def writing(where: Place) -> AbstractContextManager[None]:
    """Say of what could not be written that the same command goes on; raises as `told` does."""
    return told(
        f"{where.text}: cannot be written to", "What has a file's name is whole: the same command goes on from there"
    )


@contextmanager
def exclusive(where: Place, folder: str) -> Iterator[None]:
    """Hold a folder, so that no second process writes there; only on this machine's own disks, and until we end.

    Raises:
        ConfigurationError: another process holds it, or it cannot be made.
        StorageError: see `told`.
    """
    if not isinstance(where.files, fs.LocalFileSystem):
        yield
        return
    with writing(where):
        where.files.create_dir(folder, recursive=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"{where.text}: another process records there just now: wait, or end it") from None
        except OSError:  # a file system without locks, of a network say
            pass
        yield
    finally:
        os.close(descriptor)
