"""Records a second: from a real topic into files, back out of them, and into a topic again.

Files are on this machine's disk; the broker shares its cores. To read is to get every column of every record, as a
replay does, from files that were just written.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from confluent_kafka.admin import NewTopic

from deploy.broker import broker
from tests.bench import rig
from tests.bench.size import Size, medians, ratio, rounds
from worker.config import Config
from worker.load.as_is import load_as_is
from worker.recording import Recording, Records
from worker.recording.plan import Asked
from worker.simulate import Planted, simulate
from worker.stream.client import administer
from worker.stream.recorder import Recorder

EVENTS = 4_000_000
INCLUDES = {
    "consume_only_eps": "a bare `consume()` loop with a worker's settings, on the same topic",
    "record_eps": "JSON of 180 bytes from 4 partitions to Parquet, synced and verified",
    "record_to_consume_only": "median of the rounds' ratios",
    "read_partitions_eps": "`Recording.partition`, one after the other",
    "read_by_second_eps": "`Recording.interleaved(span_ms=1000)`",
    "load_as_is_eps": "`headrace load` of the recording into an empty topic, every record acknowledged",
    "bytes_of_a_record": "in the files, of keys, values, offsets and timestamps",
}


def measure(size: Size) -> dict[str, Any]:
    """Give records a second: medians over the rounds."""
    events = size.of(size.fewer(EVENTS, 2_000_000), 20_000)
    folder = Path(mkdtemp(prefix="headrace-bench-"))
    try:
        with broker() as kafka:
            config = rig.configure(kafka, rig.fresh_topic(), "recorded")
            rig.create(config)
            simulate(config, Planted(events=events))
            _record(config, folder / "kept")
            found = rounds(
                {
                    "consume_only": lambda: rig.consume(config, events),
                    "record": lambda: _recorded(config, folder / "again"),
                    "read_partitions": lambda: _read(
                        folder / "kept", lambda one: (some for number in one.ranges for some in one.partition(number))
                    ),
                    "read_by_second": lambda: _read(folder / "kept", lambda one: one.interleaved(1_000)),
                    "load_as_is": lambda: _loaded(config, folder / "kept"),
                },
                size.rounds,
            )
            rig.drop(config, events=True)
        held = sum(path.stat().st_size for path in (folder / "kept").rglob("*.parquet"))
    finally:
        shutil.rmtree(folder)
    told = {"record_to_consume_only": ratio(found, "record", "consume_only"), "bytes_of_a_record": held / events}
    return medians(found) | told | {"events": events, "rounds": size.rounds}


def _record(config: Config, folder: Path) -> float:
    return Recorder(config, config.events.topic, folder, Asked()).run().records_per_second


def _recorded(config: Config, folder: Path) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    return _record(config, folder)


def _read(folder: Path, order: Callable[[Recording], Iterable[Records]]) -> float:
    began = time.perf_counter()
    count = sum(map(len, order(Recording(folder))))
    return count / (time.perf_counter() - began)


def _loaded(config: Config, folder: Path) -> float:
    topic, admin = rig.fresh_topic(), administer(config)
    admin.create_topics([NewTopic(topic, num_partitions=rig.PARTITIONS)])[topic].result(30)
    events = config.events.model_copy(update={"topic": topic})
    try:
        return load_as_is(config.model_copy(update={"events": events}), Recording(folder)).events_per_second
    finally:
        admin.delete_topics([topic])[topic].result(30)
