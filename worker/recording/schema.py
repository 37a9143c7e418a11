"""The columns of a recording's Parquet file, and what its footer says that columns cannot: what the file covers."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import xxhash

from worker.recording.records import HEADERS, NO_TIMESTAMP, Records

FORMAT: Final = 1
COVER_KEY: Final = b"headrace.recording"  # of the key-value metadata
CHECKSUM_KEY: Final = b"headrace.recording.xxh3"
TIMESTAMP: Final = pa.timestamp("ms", tz="UTC")

SCHEMA: Final = pa.schema(
    [
        pa.field("topic", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", TIMESTAMP),  # null where there is none
        pa.field("timestamp_type", pa.int8(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", HEADERS),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Cover:
    """What a file covers. Offsets without a record in between are gaps that the topic itself had.

    Without it, a file that is missing would look like the gap that an aborted transaction leaves.
    """

    topic: str
    partition: int
    partitions: int  # of the topic
    first_offset: int
    next_offset: int  # the one after the last that the file covers
    # Of each row group, so that most need not be read: records, first and last offset, lowest and highest timestamp,
    # which are -1 where there is none. Parquet's own statistics say so too, but nothing guards them.
    groups: tuple[tuple[int, int, int, int, int], ...]
    format: int = FORMAT

    @property
    def records(self) -> int:
        """Count the records in the file."""
        return sum(group[0] for group in self.groups)

    def encode(self) -> dict[bytes, bytes]:
        """Give the key-value metadata."""
        text = orjson.dumps(asdict(self))
        return {COVER_KEY: text, CHECKSUM_KEY: _checksum(text)}

    @classmethod
    def decode(cls, metadata: dict[bytes, bytes] | None) -> "Cover | None":
        """Read the key-value metadata; None where it is another's file.

        Raises `ValueError` where it is ours and cannot be read.
        """
        text = (metadata or {}).get(COVER_KEY)
        if text is None:
            return None
        if (metadata or {}).get(CHECKSUM_KEY) != _checksum(text):
            raise ValueError("its footer is damaged: copy it again from where it came")
        said: dict[str, Any] = orjson.loads(text)
        said["groups"] = tuple(map(tuple, said.get("groups", ())))
        if said.get("format") != FORMAT:
            raise ValueError(f"its format is {said.get('format')!r}, and this version of headrace knows {FORMAT}")
        try:
            return cls(**said)
        except TypeError as error:
            raise ValueError(f"its {COVER_KEY.decode()} metadata is not whole: {error}") from None


def _checksum(text: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(text).encode()


def batch_of(records: Records) -> Any:  # noqa: ANN401 - Arrow has no types
    """Give the rows of records, by SCHEMA."""
    count = len(records)
    missing = records.timestamps == NO_TIMESTAMP
    topic = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([records.topic], pa.string()))
    return pa.RecordBatch.from_arrays(
        [
            topic.dictionary_decode(),
            pa.array(np.full(count, records.partition, np.int32)),
            pa.array(records.offsets),
            pa.array(records.timestamps, mask=missing).cast(TIMESTAMP),
            pa.array(records.timestamp_types),
            records.keys.cast(pa.binary()),
            records.values.cast(pa.binary()),
            records.headers.cast(HEADERS),
        ],
        schema=SCHEMA,
    )
