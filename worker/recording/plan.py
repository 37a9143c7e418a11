"""What a recording is going to hold, written beside its files: whoever takes an interrupted one up does as it says.

The end of a topic moves on, its beginning is deleted, and its files' size may be asked for otherwise: a run that is
interrupted and started again makes the same files all the same.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import orjson
from pyarrow import fs

from worker.errors import ConfigurationError, DamagedRecordingError
from worker.files import told
from worker.recording.layout import topic_folder
from worker.recording.places import Place, kind_of, writing
from worker.recording.times import as_text
from worker.recording.writing import Limits, settle

FORMAT: Final = 1
NAME: Final = "_recording.json"  # readers of folders of Parquet pass over what begins so


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which records were asked for, as it was said."""

    partitions: tuple[int, ...] | None = None  # None is all
    from_offset: int | None = None
    to_offset: int | None = None
    from_timestamp: int | None = None  # milliseconds since 1970
    to_timestamp: int | None = None

    @property
    def has_start(self) -> bool:
        """Tell whether a beginning was named."""
        return self.from_offset is not None or self.from_timestamp is not None

    def __str__(self) -> str:
        words = [f"--partition {number}" for number in self.partitions or ()]
        for name in ("from_offset", "to_offset", "from_timestamp", "to_timestamp"):
            value = getattr(self, name)
            if value is not None:
                words.append(f"--{name.replace('_', '-')} {as_text(value) if 'time' in name else value}")
        return " ".join(words) or "no range"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is recorded."""

    topic: str
    topic_id: str  # a topic that was deleted and made anew has another
    partitions: int  # of the topic
    asked: Asked
    ranges: Mapping[int, tuple[int, int | None]]  # partition -> first offset, and the one after the last: None is open
    limits: Limits

    def with_ranges(self, ranges: Mapping[int, tuple[int, int | None]], asked: Asked, partitions: int) -> Self:
        """Give the plan that goes on where this one ends."""
        return replace(self, ranges=dict(ranges), asked=asked, partitions=partitions)


def read_plan(where: Place, topic: str) -> Plan | None:
    """Read the plan; None where there is none yet.

    Raises:
        DamagedRecordingError: there is one, and it cannot be understood.
        ConfigurationError: it may not be read.
    """
    return _read(where, where.below(topic_folder(topic)))


def planned_ranges(where: Place, topic: str, files: Iterable[str]) -> dict[int, tuple[int, int | None]]:
    """Tell what was to be recorded of each partition, by all plans that lie beside files of a recording.

    Args:
        where: what is read, at whatever level; a plan above it speaks of more than that.
        topic: of which topic.
        files: the paths of its files.

    Returns:
        Partition -> the first offset and the one after the last, None where it is open; nothing where no plan is.

    Raises:
        DamagedRecordingError, ConfigurationError: as `read_plan` does.
    """
    if kind_of(where, where.path) is not fs.FileType.Directory:  # a file speaks for itself
        return {}
    root = where.path.rstrip("/") + "/"
    folders = {where.below(topic_folder(topic))} | {_topic_folder_of(path) for path in files}
    ranges: dict[int, tuple[int, int | None]] = {}
    for folder in sorted(folder for folder in folders if f"{folder}/".startswith(root)):
        plan = _read(where, folder)
        if plan is None or plan.topic != topic:
            continue
        for number, (first, stop) in plan.ranges.items():
            before = ranges.get(number, (first, stop))
            last = None if stop is None or before[1] is None else max(before[1], stop)
            ranges[number] = min(before[0], first), last
    return ranges


def _topic_folder_of(path: str) -> str:
    """Give the folder of the topic, of a file as `layout` places it; that of another file is where no plan lies."""
    return path.rpartition("/")[0].rpartition("/")[0]


def _read(where: Place, folder: str) -> Plan | None:
    path = f"{folder}/{NAME}"
    try:
        with told(f"{path}: cannot be read"), where.files.open_input_stream(path) as stream:
            text = stream.read()
    except ConfigurationError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    try:
        return _plan(orjson.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedRecordingError(
            f"{path}: not as `headrace record` wrote it: {error}; record into another folder"
        ) from error


def write_plan(where: Place, plan: Plan) -> None:
    """Write the plan, in one step: there is the one before, or this one.

    Raises:
        ConfigurationError, StorageError: the file system refuses it.
    """
    folder = where.below(topic_folder(plan.topic))
    text = orjson.dumps(
        {"format": FORMAT, **asdict(plan)}, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS
    )
    part = f"{folder}/.{NAME}.part"
    with writing(where):
        where.files.create_dir(folder, recursive=True)
        try:
            with where.files.open_output_stream(part) as stream:
                stream.write(text + b"\n")
            settle(where.files, part, f"{folder}/{NAME}")
        except OSError:
            with suppress(OSError):
                where.files.delete_file(part)
            raise


def _plan(said: dict[str, Any]) -> Plan:
    if said["format"] != FORMAT:
        raise ValueError(f"its format is {said['format']!r}, and this version of headrace knows {FORMAT}")
    asked = said["asked"]
    if asked["partitions"] is not None:
        asked["partitions"] = tuple(asked["partitions"])
    return Plan(
        topic=said["topic"],
        topic_id=said["topic_id"],
        partitions=said["partitions"],
        asked=Asked(**asked),
        ranges={int(number): (first, stop) for number, (first, stop) in said["ranges"].items()},
        limits=Limits(**said["limits"]),
    )
