"""A replay of recorded JSON events without a broker, against what only decodes them; in the same rounds."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from tests.bench.size import Size, medians, ratio, rounds
from worker.config import Config
from worker.events.values import values_of
from worker.recording import Recording, Records
from worker.recording.places import place
from worker.recording.records import CREATE_TIME, no_headers
from worker.recording.writing import Limits, PartitionWriter
from worker.replay import Replay
from worker.simulate import Planted
from worker.simulate.encoding import encode

INCLUDES = {
    "decode_only_eps": "what only parses: the same recording read and joined as a replay does, then "
    "`pyarrow.json.read_json`; on one core",
    "one_core_eps": "`headrace replay`, fresh, one thread, on one core: reading Parquet, decoding, features, predict, "
    "learn, evaluation; 4 merged shards meet every 300,000 events, as those of a worker at full speed",
    "two_cores_eps": "the same by two threads, on all",
    "one_core_to_decode_only": "median of the rounds' ratios",
    "two_cores_to_one": "the same",
}
PARTITIONS = 4
_EVENTS_PER_SECOND = 300_000  # of the log: so dense that shards meet as often as those of a worker at full speed
_START_MS = 1_735_689_600_000
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("user", "item", "hour", "device", "slot")]
    + [(name, pa.float64()) for name in ("label", "time")]
)
_CONFIG = Config.model_validate(
    {"features": {name: {} for name in ("user", "item", "hour", "device", "slot")}, "events": {"topic": "bench"}}
)


def measure(size: Size) -> dict[str, Any]:
    """Measure decoding alone, and replays by one thread and by two."""
    events = size.of(2_000_000)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), events)
        recording = Recording(folder, lean=True)
        found = rounds(
            {
                "decode_only": lambda: events / _on_one_core(lambda: _decode(recording)),
                "one_core": lambda: events / _on_one_core(lambda: Replay(_CONFIG, recording, threads=1).run()),
                "two_cores": lambda: events / _seconds(lambda: Replay(_CONFIG, recording, threads=2).run()),
            },
            size.rounds,
        )
    return medians(found) | {
        "one_core_to_decode_only": ratio(found, "one_core", "decode_only"),
        "two_cores_to_one": ratio(found, "two_cores", "one_core"),
        "events": events,
        "rounds": size.rounds,
    }


def record(folder: Path, events: int) -> None:
    """Write planted events as `headrace record` would, each in the partition of its user."""
    writers = [
        PartitionWriter(place(folder), "bench", number, partitions=PARTITIONS, start=0, limits=Limits())
        for number in range(PARTITIONS)
    ]
    for number, records in records_of(events):
        writers[number].add(records)
    for writer in writers:
        writer.finish(writer.next_offset)


def records_of(events: int) -> Iterator[tuple[int, Records]]:
    """Give planted events, some of a partition at a time."""
    offsets, done = [0] * PARTITIONS, 0
    planted = Planted(events=events, start_time=_START_MS, events_per_second=_EVENTS_PER_SECOND)
    for batch in planted.batches(40_000):
        values, times = encode(batch), _START_MS + (done + np.arange(len(batch))) * 1_000 // _EVENTS_PER_SECOND
        for number in range(PARTITIONS):
            mine = np.flatnonzero(batch.user % PARTITIONS == number)
            yield (
                number,
                Records(
                    topic="bench",
                    partition=number,
                    offsets=offsets[number] + np.arange(len(mine)),
                    timestamps=times[mine],
                    timestamp_types=np.full(len(mine), CREATE_TIME, np.int8),
                    keys=pa.array([b"u%d" % user for user in batch.user[mine].tolist()], pa.binary()),
                    values=pa.array([values[at] for at in mine.tolist()], pa.binary()),
                    headers=no_headers(len(mine)),
                ),
            )
            offsets[number] += len(mine)
        done += len(batch)


def _decode(recording: Recording) -> int:
    """Do what a job does that only parses: read, join by 10,000, and have Arrow make columns of it."""
    options, rows = pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"), 0
    for number in recording.ranges:
        for some in recording.partition(number):
            for start in range(0, len(some), 10_000):
                values = values_of(some.values.slice(start, 10_000))
                joined = values.joined(np.arange(len(values)))
                reading = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
                rows += pj.read_json(pa.BufferReader(joined), reading, options).num_rows
    return rows


def _on_one_core(work: Any) -> float:
    """Give the seconds that work takes with one core: Arrow's own threads would read files on another one."""
    cores = os.sched_getaffinity(0)
    try:
        _keep_to({min(cores)})
        return _seconds(work)
    finally:
        _keep_to(cores)


def _keep_to(cores: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile: those of clients of other parts come and go
            os.sched_setaffinity(int(thread.name), cores)


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
