"""How the files of a recording are named: as the S3 sink of Kafka Connect names them.

`topics/<topic>/partition=<n>/<topic>+<n>+<offset of its first record, ten digits>.<extension>`. A file's name says all
that is needed to place it, whatever its folder, so what a sink partitions by time is read as well.
"""

import re
from dataclasses import dataclass
from typing import Final

PARQUET: Final = ".parquet"
LINES: Final = (".json", ".jsonl", ".ndjson")
EXTENSIONS: Final = (PARQUET, *LINES, *(f"{extension}.gz" for extension in LINES))
DIGITS: Final = 10  # the sink's filename.offset.zero.pad.width

_NAME = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]+)\+(?P<partition>\d+)\+(?P<start>\d+)(?P<extension>\.parquet|\.(?:json|jsonl|ndjson)(?:\.gz)?)"
)


@dataclass(frozen=True, kw_only=True)
class Name:
    """What the name of a file says."""

    topic: str
    partition: int
    start: int  # the first offset that the file covers
    extension: str  # one of EXTENSIONS


def parse(name: str) -> Name | None:
    """Read the name of a file, its folder left off; None where it is no file of a recording.

    >>> parse("clicks+3+0000065536.parquet")
    Name(topic='clicks', partition=3, start=65536, extension='.parquet')
    >>> parse("clicks.parquet")
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    return Name(
        topic=found["topic"],
        partition=int(found["partition"]),
        start=int(found["start"]),
        extension=found["extension"],
    )


def topic_folder(topic: str) -> str:
    """Name the folder of a topic below that of the recording."""
    return f"topics/{topic}"


def partition_folder(topic: str, partition: int) -> str:
    """Name the folder of a partition below that of the recording.

    >>> partition_folder("clicks", 3)
    'topics/clicks/partition=3'
    """
    return f"{topic_folder(topic)}/partition={partition}"


def file_name(topic: str, partition: int, start: int) -> str:
    """Name a file.

    >>> file_name("clicks", 3, 65_536)
    'clicks+3+0000065536.parquet'
    """
    return f"{topic}+{partition}+{start:0{DIGITS}d}{PARQUET}"
