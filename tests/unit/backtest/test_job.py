"""A backtest as a whole: the same result in one process or in several, at once or in two goes."""

import json

import numpy as np
import pytest

from tests.support.backtested import DAY, HOUR, MINUTE, START, recorded
from tests.support.lineage import learning_of
from tests.support.recordings import make_records, write
from tests.support.replayed import config_of
from worker.backtest import Backtest
from worker.backtest import processes as processes_of
from worker.backtest.running import Measured
from worker.config import Config
from worker.errors import ConfigurationError, HeadraceError, IncompatibleDataError
from worker.settings import load

CONFIGURATIONS = {
    "default": config_of(learning_of()),
    "fading": config_of(learning_of(half_life="1d")),
    "linear": config_of(learning_of(factors=0, pairs="none")),
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("recording"), partitions=2)


def told(outcome) -> list[dict]:
    """What was found, without how long it took."""
    return [one.model_dump(exclude={"seconds"}) for one in outcome.ranking]


def test_parallel_is_serial_to_the_bit_and_what_is_done_is_kept(recording, tmp_path):
    asked = {"delay_ms": HOUR, "batches": ["1d"]}
    serial = Backtest(recording, CONFIGURATIONS, tmp_path / "serial", jobs=1, **asked).run()
    parallel = Backtest(recording, CONFIGURATIONS, tmp_path / "parallel", jobs=2, **asked).run()
    assert told(serial) == told(parallel)
    assert [log.digests for log in serial.logs] == [log.digests for log in parallel.logs]
    assert (serial.kept, parallel.kept) == (0, 0)
    for one in serial.ranking:
        files = [(tmp_path / folder / "runs" / f"{one.run}.npz").read_bytes() for folder in ("serial", "parallel")]
        assert files[0] == files[1]
    again = Backtest(recording, CONFIGURATIONS, tmp_path / "serial", jobs=2, **asked)
    assert again.prepare().waiting == []
    assert told(again.run()) == told(serial)


def test_interrupted_it_goes_on_with_what_is_not_done(recording, tmp_path, monkeypatch):
    whole = Backtest(recording, CONFIGURATIONS, tmp_path / "whole", jobs=1).run()
    made = []

    def third(task, **more):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(task.name)
        return run(task, **more)

    run = processes_of.run
    monkeypatch.setattr(processes_of, "run", third)
    asked = Backtest(recording, CONFIGURATIONS, tmp_path / "cut", jobs=1)
    with pytest.raises(KeyboardInterrupt):
        asked.run()
    monkeypatch.undo()
    prepared = Backtest(recording, CONFIGURATIONS, tmp_path / "cut", jobs=1).prepare()
    assert [task.name for task in prepared.waiting] == [task.name for task in prepared.tasks][2:]
    outcome = prepared.run()
    assert outcome.kept == 2
    assert told(outcome) == told(whole)


def test_a_run_of_other_settings_records_or_options_is_not_taken(recording, tmp_path):
    few = {"default": CONFIGURATIONS["default"]}

    def waiting(where=recording, configurations=few, **more):
        return [one.name for one in Backtest(where, configurations, tmp_path, jobs=1, **more).prepare().waiting]

    Backtest(recording, few, tmp_path, jobs=1).run()
    assert waiting() == []
    assert waiting(delay_ms=HOUR) == ["default", "base rate"]
    assert waiting(warm_up=0.2) == ["default", "base rate"]
    assert waiting(shards=1) == ["default", "base rate"]
    assert waiting(configurations={"default": CONFIGURATIONS["fading"]}) == ["default", "base rate"]
    assert waiting(recorded(tmp_path / "other", partitions=2, seed=1)) == ["default", "base rate"]
    # What decides nothing keeps nothing from being taken.
    elsewhere = CONFIGURATIONS["default"].model_copy(
        update={"model": CONFIGURATIONS["default"].model.model_copy(update={"topic": "elsewhere"})}
    )
    assert waiting(configurations={"default": elsewhere}) == []
    # Who asks under another name is given what was measured.
    named = Backtest(recording, {"mine": CONFIGURATIONS["default"]}, tmp_path, jobs=1).run()
    assert named.kept == 2
    assert {log.name for log in named.logs} == {"mine", "base rate"}


def test_other_keys_are_other_runs_where_shards_are_made_of_them(tmp_path):
    n = 300
    values = [b'{"user":"u%d","item":"i%d","label":%d}' % (at % 5, at % 7, at % 2) for at in range(n)]
    for name, keys in (("one", 5), ("other", 6)):
        times = [START + at * MINUTE for at in range(n)]
        records = make_records(
            offsets=range(n), times=times, values=values, keys=[b"u%d" % (at % keys) for at in range(n)]
        )
        write(tmp_path / name, records)
    few = {"default": CONFIGURATIONS["default"]}

    def waiting(name, shards):
        return len(Backtest(tmp_path / name, few, tmp_path / "out", shards=shards, jobs=1).prepare().waiting)

    for shards in (None, 2):
        Backtest(tmp_path / "one", few, tmp_path / "out", shards=shards, jobs=1).run()
    assert (waiting("one", None), waiting("one", 2)) == (0, 0)
    assert (waiting("other", None), waiting("other", 2)) == (0, 2)


def test_what_is_written(recording, tmp_path):
    outcome = Backtest(recording, CONFIGURATIONS, tmp_path, batches=["1d"], jobs=1).run()
    assert load(tmp_path / "winner.toml", {}) == outcome.winner.config
    found = json.loads((tmp_path / "backtest.json").read_text())
    assert [one["name"] for one in found["ranking"]] == [one.name for one in outcome.ranking]
    assert found["winner"] == outcome.winner.name
    for one in outcome.ranking:
        assert one.name in (tmp_path / "report.html").read_text()
    assert [one.log_loss for one in outcome.ranking] == sorted(one.log_loss for one in outcome.ranking)
    assert {one.against for one in outcome.ranking} == {None, "default"}
    by_name = {one.name: one for one in outcome.ranking}
    # Tastes of 20 users and 15 items are learned by and by; a day late when retrained, and never by a base rate.
    assert by_name["default"].log_loss < by_name["base rate"].log_loss
    assert by_name["base rate"].low > 0
    assert by_name["base rate"].auc_high < 0
    assert by_name["default, retrained every 1d"].difference > 0
    assert outcome.winner.kind == "online"
    assert {one.events for one in outcome.ranking} == {outcome.measured}
    assert [log.events for log in outcome.logs] == [outcome.measured] * len(outcome.logs)


def test_the_warm_up_is_the_same_for_all_and_not_measured(recording, tmp_path):
    tenth = Backtest(recording, CONFIGURATIONS, tmp_path, base_rate=False, jobs=1).run()
    assert tenth.measured == pytest.approx(0.9 * 3_000, abs=2)
    day = Backtest(recording, CONFIGURATIONS, tmp_path, base_rate=False, jobs=1, warm_up=3 * DAY).run()
    assert day.measured_from_ms == pytest.approx(START + 3 * DAY, abs=HOUR)
    # A model that is retrained every four days is trained for the first time after four days.
    batch = Backtest(recording, CONFIGURATIONS, tmp_path, batches=["4d"], base_rate=False, jobs=1).run()
    assert batch.measured_from_ms % (4 * DAY) == 0
    assert batch.measured_from_ms > START
    for outcome in (tenth, day, batch):
        for log in outcome.logs:
            assert log.windows[0].end > outcome.measured_from_ms


def test_shards_by_key_are_a_single_model_where_there_is_one(recording, tmp_path):
    (one, *_), (two, *_) = (
        Backtest(recording, {"default": CONFIGURATIONS["default"]}, tmp_path, shards=shards, jobs=1).run().logs
        for shards in (1, 4)
    )
    assert (one.shards, two.shards) == (1, 4)
    assert one.events == two.events


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"delay_ms": 400 * DAY}, r"--delay 400 d is as long as the recording"),
        ({"batches": ["400d"]}, r"--batch 400 d is as long as the recording"),
        ({"warm_up": 400.0 * DAY}, "nothing is left to measure"),
        ({"delay_ms": -1}, "not known before its event"),
        ({"jobs": 0}, "at least one process"),
        ({"shards": 0}, "from 1 to 1,024 shards"),
        ({"shards": 4_096}, "--shards 4096: from 1 to 1,024 shards"),
        ({"confidence": 1.0}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(recording, tmp_path, asked, message):
    with pytest.raises(ConfigurationError, match=message):
        Backtest(recording, CONFIGURATIONS, tmp_path / "out", **asked).prepare()
    assert not (tmp_path / "out").exists()


def test_many_versions_of_many_shards_are_warned_of(recording, tmp_path):
    # Of 3,000 records in ten days hardly two lie in one second: each ends a version, and all others fold it in.
    def warned(shards, *, merge=True):
        configurations = {"default": config_of(learning_of(merge=merge))}
        return Backtest(recording, configurations, tmp_path, shards=shards, jobs=1).prepare().warnings

    assert warned(16) == []
    (told,) = warned(1_024)
    assert "1,024 shards end up to 3,000 versions a run, one for every 1 s of the log" in told
    assert warned(1_024, merge=False) == []
    slow = {"default": config_of(learning_of(merge=True), commit={"interval_seconds": 10 * 86_400.0})}
    assert Backtest(recording, slow, tmp_path, shards=1_024, jobs=1).prepare().warnings == []


@pytest.mark.parametrize("shards", [None, 3])
def test_what_is_rejected_and_skipped_is_of_the_records_that_are_measured(tmp_path, shards):
    # Given bad records, ids that come twice and negatives that are left out, before the warm-up ends and after
    n, begin = 400, START + 100 * MINUTE
    rng = np.random.default_rng(0)
    values, bad = [], {"before": 0, "after": 0}
    for at in range(n):
        label, number = int(rng.integers(2)), at - at % 3  # of three with one id, two are there again
        values.append(b'{"user":"u%d","item":"i%d","label":%d,"id":"%d"}' % (at % 5, at % 7, label, number))
        if rng.random() < 0.1:
            values[-1] = b"nope %d" % at
            bad["before" if at < 100 else "after"] += 1
    times = [START + at * MINUTE for at in range(n)]
    keys = [b"k%d" % (at // 3) for at in range(n)]
    write(tmp_path / "in", make_records(offsets=range(n), times=times, values=values, keys=keys))
    config = Config.model_validate(
        {"features": {"user": {}, "item": {}}, "events": {"id": "id", "keep_negatives": 0.5}, "model": {"factors": 2}}
    )
    # When it is measured from the hundredth record on
    asked = Backtest(
        tmp_path / "in", {"default": config}, tmp_path / "out", warm_up=100.0 * MINUTE, shards=shards, jobs=1,
    )  # fmt: skip
    outcome = asked.run()
    assert outcome.measured_from_ms == begin
    for log in outcome.logs:
        # Then every record after it is measured, rejected or skipped, and none before
        assert log.rejected == {"not_json": bad["after"]}
        assert min(bad.values()) > 0
        assert set(log.skipped) == {"duplicate", "negative"}
        assert log.events + sum(log.rejected.values()) + sum(log.skipped.values()) == 300
        assert [int(one.value.removeprefix("nope ")) >= 100 for one in log.examples["not_json"]] == [True] * 3


def test_that_no_block_is_judged_is_told(recording, tmp_path):
    learning = {"features": {"user": {}, "item": {}}, "quality": {"freeze_events": 500, "freeze_rejected_share": 0.1}}
    prepared = Backtest(recording, {"default": Config.model_validate(learning)}, tmp_path).prepare()
    (told,) = prepared.warnings
    assert "the poison breaker (quality.freeze_events) is not at work in a backtest" in told


def test_ranges_to_skip_of_another_topic_are_refused(recording, tmp_path):
    config = Config.model_validate({"features": {"user": {}, "item": {}}, "events": {"skip": ["7:0-9"]}})
    with pytest.raises(ConfigurationError, match="names partition 7, and interactions was recorded with 2"):
        Backtest(recording, {"default": config}, tmp_path).prepare()
    with pytest.raises(ConfigurationError, match="--shards makes others"):
        Backtest(recording, {"default": config}, tmp_path, shards=3)


def test_records_without_keys_have_no_shards_of_their_own(tmp_path):
    write(tmp_path / "in", make_records(times=[START, START + MINUTE, START + HOUR], keys=[b"a", None, b"c"]))
    with pytest.raises(ConfigurationError, match="1 of 3 records have no key"):
        Backtest(tmp_path / "in", CONFIGURATIONS, tmp_path / "out", shards=2).prepare()


def test_models_that_reject_other_events_are_not_compared(tmp_path):
    n = 60
    values = [
        b'{"user":"u%d","item":"i%d","label":%d,"time":%d,"price":%s}'
        % (at % 5, at % 7, at % 2, START + at * HOUR, b'"dear"' if at % 3 == 0 else b"1.5")
        for at in range(n)
    ]
    times = [START + at * HOUR for at in range(n)]
    write(tmp_path / "in", make_records(offsets=range(n), times=times, values=values))
    priced = Config.model_validate({"features": {"user": {}, "item": {}, "price": {"kind": "numeric"}}})
    with pytest.raises(IncompatibleDataError, match=r"priced did not predict the same events as default .*rejected"):
        Backtest(tmp_path / "in", CONFIGURATIONS | {"priced": priced}, tmp_path / "out", jobs=1).run()


def test_an_error_in_a_process_is_told_as_what_it_is(recording, tmp_path):
    asked = Backtest(recording, CONFIGURATIONS, tmp_path, jobs=2)
    prepared = asked.prepare()
    gone = [
        task.model_copy(update={"where": task.where.model_copy(update={"location": "gone"})}) for task in prepared.tasks
    ]
    with pytest.raises(ConfigurationError, match="there is no such file or folder"):
        processes_of.make(gone, tmp_path / "runs", jobs=2)
    with pytest.raises(HeadraceError, match="its process ended with 1"):
        processes_of.make(
            [task.model_copy(update={"kind": "magic"}) for task in prepared.tasks], tmp_path / "runs", jobs=2
        )


def test_what_was_measured_and_is_damaged_is_not_taken_for_whole(recording, tmp_path):
    few = {"default": CONFIGURATIONS["default"]}
    (task,) = Backtest(recording, few, tmp_path, base_rate=False, jobs=1).prepare().tasks
    Backtest(recording, few, tmp_path, base_rate=False, jobs=1).run()
    path = tmp_path / "runs" / f"{task.digest}.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IncompatibleDataError, match=r"\.npz does not hold what a run has measured: remove it"):
        Measured.read(tmp_path / "runs", task)


def test_records_that_all_have_one_time_are_compared_without_intervals(tmp_path):
    n = 300
    rng = np.random.default_rng(0)
    values = [
        b'{"user":"u%d","item":"i%d","label":%d}' % (at % 5, at % 7, label)
        for at, label in enumerate(rng.integers(2, size=n).tolist())
    ]
    write(tmp_path / "in", make_records(offsets=range(n), times=[START] * n, values=values))
    outcome = Backtest(tmp_path / "in", CONFIGURATIONS, tmp_path / "out", jobs=1).run()
    assert outcome.measured == n
    assert {one.low for one in outcome.ranking} == {None}
    with pytest.raises(ConfigurationError, match="--delay 1 m is as long as the recording, which spans 0 ms"):
        Backtest(tmp_path / "in", CONFIGURATIONS, tmp_path / "out", delay_ms=MINUTE).prepare()


def test_a_recording_of_which_nothing_can_be_read_is_no_ranking(tmp_path):
    n = 20
    times = [START + at * MINUTE for at in range(n)]
    write(tmp_path / "in", make_records(offsets=range(n), times=times, values=[b"{nope"] * n))
    with pytest.raises(IncompatibleDataError, match=r"no event was measured of default .rejected: not_json 18"):
        Backtest(tmp_path / "in", CONFIGURATIONS, tmp_path / "out", jobs=1).run()
