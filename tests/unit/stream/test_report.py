"""What commits tell the metrics, of merged shards and of those that are not to be served."""

from dataclasses import replace

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Consumer
from prometheus_client import CollectorRegistry

from tests.support.lineage import Writer, events, learning_of, versions
from worker.events.rejects import Reason, Rejected
from worker.learning import Events
from worker.observe.metrics import WorkerMetrics
from worker.quality.breaker import REASONS, Fault
from worker.quality.layout import NAMES
from worker.quality.progress import LOSS, WEIGHT
from worker.snapshot.records import entry_bytes
from worker.snapshot.sealing import Folding
from worker.stream.block import Refused
from worker.stream.contributions import folding_of
from worker.stream.held import Behind
from worker.stream.owned import Outgoing, Owned
from worker.stream.report import Report
from worker.watching import Quality


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def report(registry):
    consumer = Consumer({"bootstrap.servers": "[::1]:1", "group.id": "g", "log_level": 0})
    yield Report(WorkerMetrics(registry), consumer, "topic")
    consumer.close()


def commit(report: Report, writer: Writer, foldings: list[Folding], *, first: bool = True) -> None:
    if first:
        report.began(writer.state, 0.0)
    sealed = writer.seal(foldings)
    sealed.close(0, 0)
    version = Outgoing(owned=Owned.restored(writer.state, []), sealed=sealed, offset=0, dead_letters=[])
    report.committed([version], [sealed.settle()], 0.0)


def exchanged(registry, what: str) -> dict[str, float | None]:
    name = f"headrace_exchanged_{what}_total"
    return {
        direction: registry.get_sample_value(name, {"shard": "0", "direction": direction})
        for direction in ("published", "folded")
    }


def test_a_commit_tells_what_was_exchanged(registry, report):
    # Given another shard that has added something
    learning = learning_of(merge=True)
    other, writer = Writer(learning, shard=1), Writer(learning)
    other.advance(200)
    folding = folding_of(versions(other.log, learning, shard=1)[0], 4)
    # When one commits and folds that in
    writer.learn(events(50, 3))
    commit(report, writer, [folding])
    # Then it is told what was published and what was folded in
    published = len(writer.state.model.shared.own)
    assert exchanged(registry, "rows") == {"published": published, "folded": len(folding.contribution)}
    size = exchanged(registry, "bytes")
    assert size["folded"] == len(folding.contribution) * entry_bytes(4)
    assert size["published"] > published * entry_bytes(4) / 2
    assert registry.get_sample_value("headrace_merge_distance", {"shard": "0"}) > 0


def test_a_commit_that_folds_nothing_in_leaves_the_distance_as_it_was(registry, report):
    writer = Writer(learning_of(merge=True))
    writer.learn(events(50, 3))
    commit(report, writer, [])
    assert exchanged(registry, "rows")["folded"] == 0
    assert registry.get_sample_value("headrace_merge_distance", {"shard": "0"}) is None


def test_shards_that_are_not_merged_exchange_nothing(registry, report):
    writer = Writer()
    writer.learn(events(50, 3))
    commit(report, writer, [])
    assert exchanged(registry, "rows") == {"published": None, "folded": None}


def test_what_is_skipped_is_counted_once_committed(registry, report):
    writer = Writer(learning_of().model_copy(update={"events": Events(id="item", keep_negatives=0.5)}))

    def skipped(reason: str) -> float | None:
        return registry.get_sample_value("headrace_skipped_total", {"shard": "0", "reason": reason})

    # Given a shard of which another worker has told already what it skipped
    writer.learn(events(300, 3))
    writer.commit()
    report.began(writer.state, 0.0)
    before = dict(writer.state.skipped)
    assert before.keys() == {"duplicate", "negative"}
    # When the same events come once more
    writer.learn(events(300, 3))
    sealed = writer.seal()
    assert skipped("duplicate") is None, "not committed yet"
    sealed.close(0, 0)
    version = Outgoing(owned=Owned.restored(writer.state, []), sealed=sealed, offset=0, dead_letters=[])
    report.committed([version], [sealed.settle()], 0.0)
    # Then all of them count as duplicates, and none as left out
    assert (skipped("duplicate"), skipped("negative")) == (300, None)


def test_a_peer_that_nobody_here_can_be_behind_is_told_no_more(registry, report):
    def told(peer: str) -> tuple[float | None, float | None]:
        return tuple(
            registry.get_sample_value(f"headrace_peer_{what}_behind", {"peer": peer}) for what in ("events", "seconds")
        )

    report.behind({0: Behind(events=3, seconds=0.5), 1: Behind(events=0, seconds=0)})
    assert (told("0"), told("1")) == ((3, 0.5), (0, 0))
    report.behind({1: Behind(events=2, seconds=1)})
    assert (told("0"), told("1")) == ((None, None), (2, 1))
    report.behind({})
    assert told("1") == (None, None)


def test_rows_that_were_let_in_and_values_that_were_held_back_are_counted_once(registry, report):
    writer = Writer(learning_of(admit_after=3, admission_counters=4_096))
    writer.advance(100)  # by an earlier life
    admission = writer.state.model.room.admission
    before = admission.admitted, admission.held_back
    for seed in range(3):
        if seed == 0:
            report.began(writer.state, 0.0)
        writer.learn(events(100, seed))
        commit(report, writer, [], first=False)
    told = [
        registry.get_sample_value(f"headrace_{name}_total", {"shard": "0"}) for name in ("admitted_rows", "held_back")
    ]
    assert told == [admission.admitted - before[0], admission.held_back - before[1]]
    assert min(told) > 0


class Record:
    """As much of a record of the event topic as is told of one that is rejected."""

    def __init__(self, offset: int, timestamp: tuple[int, int]) -> None:
        self._offset, self._timestamp = offset, timestamp

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp


def test_the_status_page_is_told_what_is_committed_and_no_more(report):
    writer = Writer()
    writer.advance(100)  # by another worker
    report.began(writer.state, 0.0)
    assert [(shard.version, shard.events) for shard in report.history.shards()] == [(1, 100)]
    before = writer.state.progress.sums.copy()
    # When a version holds 50 events and three bad records
    writer.learn([*events(50, 3), b"no json", b"[]", b"no json"])
    sealed = writer.seal()
    sealed.close(0, 0)
    bad = [
        (Record(7, (TIMESTAMP_CREATE_TIME, 1_500)), Rejected(index=0, reason=Reason.NOT_JSON, detail="")),
        (Record(8, (TIMESTAMP_NOT_AVAILABLE, 0)), Rejected(index=1, reason=Reason.NOT_OBJECT, detail="")),
        (Record(9, (TIMESTAMP_CREATE_TIME, 2_500)), Rejected(index=2, reason=Reason.NOT_JSON, detail="")),
    ]
    version = Outgoing(owned=Owned.restored(writer.state, []), sealed=sealed, offset=0, dead_letters=bad)
    assert len(report.history.curve(0)) == 0
    report.committed([version], [sealed.settle()], 0.0)
    # Then these count, and the last place of each reason is told
    (shard,) = report.history.shards()
    more = sealed.progress.sums - before
    assert (shard.version, shard.events, shard.rows) == (2, 150, len(writer.state.model.table))
    assert shard.loss == more[LOSS] / more[WEIGHT]
    assert shard.baseline == pytest.approx(sealed.progress.loss, rel=1e-12)
    told = {one.reason: (one.count, one.offset, one.time) for one in report.history.rejections()}
    assert told == {"not_json": (2, 9, 2.5), "not_object": (1, 8, None)}
    # and a shard that another worker has is not shown
    report.gave_up(0)
    assert report.history.shards() == []


def test_the_status_page_is_told_of_aborts(report):
    report.aborted()
    assert report.history.last_abort() is not None


def test_a_change_of_what_is_servable_is_told_and_logged_once(registry, report, caplog):
    # Given a shard whose calibration may not be more than a little wrong
    learning = learning_of()
    quality = learning.quality.model_copy(update={"window": 1_000, "gate_calibration": (0.99, 1.01)})
    writer = Writer(learning.model_copy(update={"quality": quality}))
    told = []

    def step(*, first: bool = False) -> None:
        commit(report, writer, [], first=first)
        told.append(registry.get_sample_value("headrace_servable", {"shard": "0"}))

    # When its first window is not calibrated, nor are the next ones
    writer.learn(events(100, 1))
    step(first=True)
    for seed in (2, 3):
        writer.learn([event.replace(b'"label":1', b'"label":0') for event in events(1_000, seed)])
        step()
    # Then that is told, by a line of the log at the change
    assert told == [1, 0, 0]
    (shard,) = report.history.shards()
    assert "calibration is" in shard.unservable
    (line,) = [record for record in caplog.records if record.action == "gate"]
    assert line.levelname == "WARNING"
    assert "shard 0: version 2 is not servable: calibration is" in line.getMessage()
    assert "Followers serve version 1 until" in line.getMessage()
    # And again where a worker that restarts finds it so, and it is servable again
    writer.learning = learning
    writer.learn(events(10, 4))
    step(first=True)
    assert told[-1] == 1
    assert [record.getMessage() for record in caplog.records if record.action == "gate"][1:] == [
        "shard 0: version 4 is servable again"
    ]
    # And who gives the shard up takes that with it
    report.metrics.forget_shard(0)
    assert registry.get_sample_value("headrace_servable", {"shard": "0"}) is None


def test_a_refused_block_is_told_by_its_reasons_and_logged_once(registry, report, caplog):
    writer = Writer(learning_of())
    report.began(writer.state, 0.0)

    def told() -> list[float | None]:
        return [registry.get_sample_value("headrace_frozen", {"shard": "0", "reason": reason}) for reason in REASONS]

    report.judged(0, None, frozen=False)
    assert (told(), caplog.records) == ([0, 0, 0], [])
    faults = [Fault(reason="base_rate", text="the mean label is 0")]
    refused = Refused(faults=faults, first_offset=500, last_offset=699)
    # A shard that is frozen says what was seen, and what to do
    report.judged(0, refused, frozen=True)
    assert told() == [1, 0, 0]
    assert [shard.refused for shard in report.history.shards()] == ["the mean label is 0"]
    (line,) = caplog.records
    assert (line.levelname, line.action, line.first_offset, line.last_offset) == ("ERROR", "freeze", 500, 699)
    assert "shard 0 is frozen at offset 500: the mean label is 0, at offsets up to 699" in line.getMessage()
    assert 'events.skip = ["0:<first>-<last>"], from offset 500 on' in line.getMessage()
    # One that passes over says so at the first block and at the last
    report.began(writer.state, 0.0)
    for some in (refused, replace(refused, last_offset=799), None, None):
        report.judged(0, some, frozen=False)
    assert told() == [0, 0, 0]
    assert [shard.refused for shard in report.history.shards()] == [None]
    assert [record.getMessage()[:60] for record in caplog.records[1:]] == [
        "shard 0: events are passed over from offset 500 on, until th",
        "shard 0: events are within bounds again, learning goes on",
    ]
    report.metrics.forget_shard(0)
    assert told() == [None, None, None]


def test_an_alarm_of_drift_is_counted_and_logged_with_the_version_that_holds_it_and_not_again(registry, report, caplog):
    # Given a shard whose labels turn around after 3,000 events
    learning = learning_of().model_copy(
        update={"quality": Quality(false_alarm_every=1_000, window=1_000, slices={"item": ("i1",)})}
    )
    writer = Writer(learning)
    writer.learn(events(3_000, 1, items=3, users=3))
    commit(report, writer, [])
    assert registry.get_sample_value("headrace_window_loss", {"shard": "0"}) > 0
    before = {d: writer.state.watch.alarm(n).alarms for n, d in enumerate(NAMES)}
    swapped = bytes.maketrans(b"01", b"10")
    turned = []
    for event in events(900, 2, items=3, users=3):
        before_label, label, after = event.partition(b'"label":')
        turned.append(before_label + label + after[:1].translate(swapped) + after[1:])
    # When it learns them, and its next version is committed
    writer.learn(turned)
    caplog.clear()
    commit(report, writer, [], first=False)
    # Then each alarm is told
    now = {d: writer.state.watch.alarm(n).alarms for n, d in enumerate(NAMES)}
    (line,) = [it for it in caplog.records if it.action == "drift" and it.detector == "baseline"]
    assert (line.levelname, line.shard, line.offset) == ("WARNING", 0, 3_900)
    assert 3_000 < line.event < 3_900
    assert line.statistic >= registry.get_sample_value("headrace_drift_threshold", {"detector": "baseline"})
    labels = {"shard": "0", "detector": "baseline"}
    assert registry.get_sample_value("headrace_drift_alarms_total", labels) == now["baseline"] > before["baseline"]
    assert registry.get_sample_value("headrace_drift_statistic", labels) >= line.statistic
    of_slices = [
        registry.get_sample_value("headrace_slice_weight_sum_total", {"shard": "0", "field": "item", "value": value})
        for value in ("i1", "other")
    ]
    assert sum(of_slices) == 900  # since this worker has the shard
    assert min(of_slices) > 0
    # And a worker that takes the shard over does not tell it again
    caplog.clear()
    report.began(writer.state, 0.0)
    writer.learn(turned[:1])
    commit(report, writer, [], first=False)
    assert not [it for it in caplog.records if it.action == "drift"]


def labelled(n: int, turned: int) -> list[bytes]:
    """Labels that follow the item, or its opposite."""
    return [b'{"user":"u%d","item":"i%d","label":%d}' % (k % 50, k % 7, (k % 7 & 1) ^ turned) for k in range(n)]


def test_an_answered_alarm_is_counted_and_logged_once(registry, report, caplog):
    quality = Quality(false_alarm_every=100_000, window=1_000, response="loosen")
    writer = Writer(learning_of().model_copy(update={"quality": quality}))

    def told() -> float | None:
        return registry.get_sample_value("headrace_loosened_total", {"shard": "0"})

    writer.learn(labelled(8_192, 0))
    commit(report, writer, [])
    assert told() == 0, "known before it rises"
    # When labels turn around, and enough events come for the alarm to be answered
    writer.learn(labelled(8_192, 1))
    commit(report, writer, [], first=False)
    commit(report, writer, [], first=False)
    # Then it is told with the version that holds the answer, and not again
    state = writer.state.loosening
    (line,) = [it for it in caplog.records if it.action == "loosen"]
    assert (line.levelname, line.event, line.shard) == ("WARNING", state.event, 0)
    assert told() == state.times == 1
