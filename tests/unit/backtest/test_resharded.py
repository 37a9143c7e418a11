"""Records by the shard of their key: each where it belongs, in the order of time, and read once for all shards."""

from collections import Counter

import numpy as np
import pytest

from tests.support.backtested import recorded
from tests.support.full_disk import no_file_beyond
from tests.support.lineage import learning_of
from tests.support.recordings import make_records, write
from tests.support.replayed import config_of
from worker.backtest import Backtest
from worker.backtest import processes as processes_of
from worker.backtest import resharded as resharded_of
from worker.backtest.resharded import Resharded, part
from worker.errors import ConfigurationError, HeadraceError, IncompatibleDataError, StorageError
from worker.events.partition import partition
from worker.recording import Recording


def parted(recording, shards, path, partitioner="murmur2") -> Resharded:
    part(recording, shards, partitioner, path)
    return Resharded(path)


def expected(recording, shards, partitioner="murmur2") -> dict[int, list[tuple[int, int, bytes]]]:
    """Say record by record what each shard has: place, time and value."""
    found, place = {shard: [] for shard in range(shards)}, 0
    for records in recording.interleaved(1_000):
        for key, time, value in zip(
            records.keys.to_pylist(), records.timestamps.tolist(), records.values.to_pylist(), strict=True
        ):
            found[partition(key, shards, partitioner)].append((place, time, value))
            place += 1
    return found


def given(source, shard, *bounds) -> list[tuple[int, int, bytes]]:
    parts = list(source.partition(shard, *bounds))
    assert all(one.partition == shard and len(one) for one in parts)
    return [
        row
        for one in parts
        for row in zip(one.offsets.tolist(), one.timestamps.tolist(), one.values.to_pylist(), strict=True)
    ]


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
@pytest.mark.parametrize(("records", "size"), [(262_144, 67_108_864), (100, 67_108_864), (262_144, 1_000)])
def test_every_record_goes_to_the_shard_of_its_key(tmp_path, monkeypatch, partitioner, records, size):
    monkeypatch.setattr(resharded_of, "_BATCH_RECORDS", records)
    monkeypatch.setattr(resharded_of, "_BATCH_BYTES", size)
    recording = Recording(recorded(tmp_path / "in", events=2_000, partitions=3))
    shards = 50  # of 20 keys: some have nothing
    source = parted(recording, shards, tmp_path / "by-shard", partitioner)
    assert {shard: given(source, shard) for shard in range(shards)} == expected(recording, shards, partitioner)
    assert source.ranges == dict.fromkeys(range(shards), (0, 2_000))
    assert (source.topic, source.shards) == ("interactions", shards)


def test_a_range_holds_what_lies_in_it(tmp_path):
    recording = Recording(recorded(tmp_path / "in", events=500, partitions=2))
    source = parted(recording, 2, tmp_path / "by-shard", "crc32")
    whole = given(source, 1)
    some = given(source, 1, 100, 300)
    assert 0 < len(some) < len(whole)
    assert some == [row for row in whole if 100 <= row[0] < 300]


def test_tombstones_stay_what_they_are(tmp_path):
    values = [None, b"", b"a", None]
    write(tmp_path / "in", make_records(offsets=range(4), values=values))
    source = parted(Recording(tmp_path / "in"), 2, tmp_path / "by-shard")
    assert [value for _, _, value in sorted(given(source, 0) + given(source, 1))] == values


def test_the_recording_is_read_as_often_for_many_shards_as_for_one(tmp_path, monkeypatch):
    where = recorded(tmp_path / "in", partitions=2)
    configurations = {"default": config_of(learning_of(merge=False)), "fading": config_of(learning_of(half_life="1d"))}
    calls: Counter[int] = Counter()
    read = Recording.partition

    def counted(self, number, *bounds):
        calls[number] += 1
        return read(self, number, *bounds)

    monkeypatch.setattr(Recording, "partition", counted)
    for shards in (1, 40):
        calls.clear()
        done = []
        prepared = Backtest(where, configurations, tmp_path / "out", shards=shards, jobs=1).prepare(done.append)
        prepared.run(done.append)
        assert calls == {0: 2, 1: 2}  # when all of them are looked at, and when they are parted
        assert sum(done) == 3_000 + prepared.total == 3_000 * (1 + 1 + 3)
        assert not list((tmp_path / "out" / "runs").glob(".by-shard*"))


def test_nothing_stays_behind_where_a_run_fails(tmp_path, monkeypatch):
    where = recorded(tmp_path / "in", events=300)

    def fails(_task, **_more):
        raise HeadraceError("it failed")

    monkeypatch.setattr(processes_of, "run", fails)
    configurations = {"default": config_of(learning_of())}
    with pytest.raises(HeadraceError, match="it failed"):
        Backtest(where, configurations, tmp_path / "out", shards=2, jobs=1).run()
    assert list((tmp_path / "out" / "runs").iterdir()) == []


def test_what_cannot_be_written_or_is_gone_is_told(tmp_path):
    where = recorded(tmp_path / "in", events=30)
    (tmp_path / "file").write_text("")
    configurations = {"default": config_of(learning_of())}
    with pytest.raises(ConfigurationError, match="below --out: cannot be written to: a file stands"):
        Backtest(where, configurations, tmp_path / "file", shards=2, jobs=1).run()
    with pytest.raises(ConfigurationError, match="below --out: cannot be written: it is not there"):
        part(Recording(where), 2, "murmur2", tmp_path / "no" / "where")
    with no_file_beyond(1_000), pytest.raises(StorageError, match="takes as much room as the recording does unpacked"):
        part(Recording(where), 2, "murmur2", tmp_path / "full")
    with pytest.raises(IncompatibleDataError, match="start the backtest again"):
        Resharded(tmp_path / "gone")


def test_shards_differ_by_their_keys_alone(tmp_path):
    rng = np.random.default_rng(0)
    n, keys = 400, [b"k%d" % one for one in rng.integers(30, size=400).tolist()]
    times = (1_735_689_600_000 + np.arange(n) * 1_000).tolist()
    for number, partitions in ((0, 1), (1, 2)):
        for at in range(partitions):
            mine = range(at, n, partitions)
            records = make_records(
                at, range(len(mine)), times=[times[i] for i in mine], keys=[keys[i] for i in mine],
                values=[b"%d" % i for i in mine],
            )  # fmt: skip
            write(tmp_path / str(number), records, partitions=partitions)
    one, other = (parted(Recording(tmp_path / str(number)), 4, tmp_path / f"by-shard-{number}") for number in (0, 1))
    assert [given(one, shard) for shard in range(4)] == [given(other, shard) for shard in range(4)]
