"""Recorded events and published versions in memory: what a replay asks of a recording and of a model topic."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tests.support.lineage import NOW, Partition, Writer, versions
from worker.config import Config
from worker.learning import Learning
from worker.recording.records import HEADERS, Records
from worker.replay.chain import Chain
from worker.snapshot.sealing import Folding
from worker.stream.contributions import folding_of

TOPIC = "interactions"


def records_of(
    values: Sequence[bytes | None], timestamps: Sequence[int], *, partition: int = 0, start: int = 0
) -> Records:
    n = len(values)
    return Records(
        topic=TOPIC,
        partition=partition,
        offsets=np.arange(start, start + n),
        timestamps=np.array(timestamps, np.int64),
        timestamp_types=np.ones(n, np.int8),
        keys=pa.array([None] * n, pa.binary()),
        values=pa.array(values, pa.binary()),
        headers=pa.nulls(n, HEADERS),
    )


@dataclass
class Memory:
    """A source that holds records."""

    partitions: dict[int, Records]
    chunk: int = 1_000
    topic: str = TOPIC
    bounds: dict[int, tuple[int, int]] = field(default_factory=dict)  # where it holds less than all

    @property
    def shards(self) -> int:
        return max(self.partitions) + 1

    @property
    def ranges(self) -> Mapping[int, tuple[int, int]]:
        return {
            number: (int(it.offsets[0]), int(it.offsets[-1]) + 1) if len(it) else (0, 0)
            for number, it in self.partitions.items()
        } | self.bounds

    def partition(self, number: int, start: int | None = None, stop: int | None = None) -> Iterator[Records]:
        first, after = self.ranges[number]
        start, stop = first if start is None else start, after if stop is None else stop
        assert first <= start <= stop <= after
        whole = self.partitions[number].between(start, stop)
        for begin in range(0, len(whole), self.chunk):
            yield whole.slice(begin, min(begin + self.chunk, len(whole)))


def config_of(learning: Learning, **sections: Mapping[str, Any]) -> Config:
    return Config.model_validate(learning.model_dump() | sections)


def event(user: int, item: int, label: int, time: int) -> bytes:
    return orjson.dumps({"user": f"u{user}", "item": f"i{item}", "label": label, "time": time})


def stream(
    n: int, shards: int, seed: int, *, users: int = 60, items: int = 40, gap_ms: int = 3, turn_at: int | None = None
) -> Memory:
    """Make events of some shards, a few milliseconds apart, some of them bad; from `turn_at` on with labels turned."""
    rng = np.random.default_rng(seed)
    found: dict[int, tuple[list[bytes | None], list[int]]] = {shard: ([], []) for shard in range(shards)}
    for number in range(n):
        user, item, noise = (int(x) for x in rng.integers((users, items, 3)))
        time = NOW + number * gap_ms
        turned = turn_at is not None and number >= turn_at
        values, times = found[user % shards]
        bad = rng.random() < 0.01
        values.append(
            (b"no json", None)[number % 2]
            if bad
            else event(user, item, int(((user + item + noise) % 3 == 0) != turned), time)
        )
        times.append(time)
    return Memory({shard: records_of(*it, partition=shard) for shard, it in found.items()})


@dataclass
class Live:
    """Shards that learn a stream as workers would: in polls and commits of any size, folding in what is there."""

    learning: Learning
    source: Memory
    seed: int = 0
    writers: list[Writer] = field(default_factory=list)

    def run(
        self, *, before: Mapping[int, int] | None = None, passing: Mapping[int, tuple[int, int]] | None = None
    ) -> "Live":
        """Learn all; or before these offsets. `passing` names ranges that the breaker passes over, by shard."""
        rng = np.random.default_rng(self.seed)
        shards = sorted(self.source.partitions)
        self.writers = self.writers or [
            Writer(self.learning, shard, base_part_bytes=1_500, record_limit_bytes=20_480, keep_bases=1_000)
            for shard in shards
        ]
        published: dict[int, list[Folding]] = {shard: self._foldings(shard) for shard in shards}
        ends = {shard: self.source.ranges[shard][1] for shard in shards} | dict(before or {})
        while any(self.writers[shard].state.next_offset < ends[shard] for shard in shards):
            shard = int(rng.choice(shards))
            writer = self.writers[shard]
            for _ in range(int(rng.integers(1, 4))):
                start = writer.state.next_offset
                stop = min(start + int(rng.integers(1, 80)), ends[shard])
                refused = (passing or {}).get(shard)
                if refused is not None and start < refused[0] < stop:
                    stop = refused[0]
                self._poll(writer, start, stop, refused)
            if writer.state.next_offset == 0:
                continue
            known = {peer: it.version for peer, it in writer.state.peers.items()}
            foldings = []
            for peer in shards if self.learning.model.merge else ():
                if peer != shard:
                    new = published[peer][known.get(peer, 0) :]
                    foldings += new[: int(rng.integers(0, len(new) + 1))]
            start = writer.next_offset
            writer.commit(foldings)
            published[shard] += self._foldings(shard, start)
        return self

    def _poll(self, writer: Writer, start: int, stop: int, refused: tuple[int, int] | None) -> None:
        for some in self.source.partition(writer.shard, start, stop):
            values, offsets = some.values.to_pylist(), some.offsets
            next_offset = int(offsets[-1]) + 1
            if refused is not None and refused[0] <= start < refused[1]:
                prepared = writer._pipeline.prepare(values, some.timestamps)
                writer._pipeline.pass_over(writer.state, prepared, int(offsets[0]), next_offset)
            else:
                writer._pipeline.learn(writer.state, values, some.timestamps, next_offset)

    def _foldings(self, shard: int, start: int = 0) -> list[Folding]:
        """Read what a shard has added by its versions, from an offset on."""
        writer = self.writers[shard]
        return [
            folding_of(version, self.learning.model.factors)
            for version in versions(writer.log, self.learning, shard=shard, start=start)
        ]

    def chain(self, config: Config | None = None) -> Chain:
        return Chain(
            config or config_of(self.learning), len(self.writers),
            lambda shard: nullcontext(Partition(self.writers[shard])), "interactions.model",
        )  # fmt: skip
