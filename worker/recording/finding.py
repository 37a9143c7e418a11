"""The files of a recording, found: in any folder above them, by their names."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pyarrow import fs

from worker.errors import ConfigurationError
from worker.files import told
from worker.recording import layout
from worker.recording.checks import choose_topic
from worker.recording.kcat import STDIN, read_kcat
from worker.recording.lines import LinesSegment
from worker.recording.parquet import ParquetSegment
from worker.recording.places import Place, kind_of
from worker.recording.segment import Segment

_FOOTERS: Final = 8  # read at once: on an object store it is all waiting


def find(where: Place, topic: str | None, likely: str | None = None) -> list[Segment]:
    """Find the files, and look at their heads.

    Args:
        where: a file, or a folder at whatever level.
        topic: only files of this one; None is of the only one that is there.
        likely: the one to take where several are there and none was named.

    Returns:
        What they hold, in no order; nothing where a folder has no such file.

    Raises:
        ConfigurationError: there is nothing at this place, or files of several topics and none was named.
        DamagedRecordingError: a file is not what its name says.
    """
    if where.text == STDIN:
        return read_kcat(where.files, STDIN)
    kind = kind_of(where, where.path)
    if kind is fs.FileType.NotFound:
        raise ConfigurationError(f"{where.text}: there is no such file or folder")
    if kind is fs.FileType.File:
        return _of_file(where, where.path, layout.parse(where.path.rpartition("/")[2]))
    with told(f"{where.text}: cannot be listed"):
        listed = where.files.get_file_info(fs.FileSelector(where.path, recursive=True))
    named = [
        (file.path, name)
        for file in sorted(listed, key=lambda file: file.path)
        if file.type == fs.FileType.File and (name := layout.parse(file.base_name)) is not None
    ]
    if not named:
        return []
    # Before any file is opened: what is of another topic is none of ours.
    chosen = choose_topic({name.topic for _, name in named}, topic, where.text, likely)
    with ThreadPoolExecutor(_FOOTERS) as pool:
        found = pool.map(lambda one: _of_file(where, *one), [one for one in named if one[1].topic == chosen])
        return [segment for segments in found for segment in segments]


def _of_file(where: Place, path: str, name: layout.Name | None) -> list[Segment]:
    if path.endswith(layout.PARQUET):
        return [ParquetSegment(where.files, path, name)]
    if not path.endswith(layout.EXTENSIONS):
        raise ConfigurationError(f"{path}: its extension tells no format; there are {', '.join(layout.EXTENSIONS)}")
    return read_kcat(where.files, path) if name is None else [LinesSegment(where.files, path, name)]
