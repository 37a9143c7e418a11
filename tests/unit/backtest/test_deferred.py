"""Labels that come late are learned late: never too early, and as if a model had been trained on what was known."""

import numpy as np
import orjson
import pyarrow as pa
import pytest

from tests.support.backtested import DAY, HOUR, LEARNING, MINUTE, START, clicks, predicted, task_of
from tests.support.lineage import learning_of
from tests.support.replayed import Memory as InMemory
from tests.support.replayed import config_of, event, records_of, stream
from worker.backtest.running import run
from worker.backtest.timing import Timing
from worker.events.pack import write
from worker.learning import Learning
from worker.pipeline import Pipeline
from worker.quality.progress import EVENTS, WEIGHT
from worker.replay import Replay
from worker.snapshot.state import ShardState

FADING = learning_of(merge=False, half_life="6h")


def of(**sections) -> Learning:
    return Learning.model_validate(learning_of(merge=False).model_dump() | sections)


def packed(values: list[bytes]) -> bytes:
    rows = [orjson.loads(value) for value in values]
    return write(pa.RecordBatch.from_pylist(rows))


def known_then(values, times, *, timing: Timing, learning: Learning) -> dict[int, float]:
    """Predict each event by a model that was trained anew, from nothing, on all that was known at its step."""
    told = {}
    steps = sorted({time // timing.step_ms for time in times})
    for step in steps:
        known = [at for at, time in enumerate(times) if timing.known_at(time // timing.tick_ms) <= timing.begins(step)]
        now = [at for at, time in enumerate(times) if time // timing.step_ms == step]
        state, pipeline = ShardState.fresh(0, learning), Pipeline(learning)
        pipeline.learn(state, [values[at] for at in known], np.array([times[at] for at in known], np.int64), len(known))
        some, when = [values[at] for at in now], np.array([times[at] for at in now], np.int64)
        batches = pipeline.prepare(some, when).batches
        found = [state.model.predict(state.standardiser.standardise(batch.entries)).predictions for batch in batches]
        told |= dict(zip([times[at] for at in now], np.concatenate(found).tolist(), strict=True))
    return told


@pytest.mark.parametrize("learning", [LEARNING, FADING], ids=["kept", "fading"])
@pytest.mark.parametrize(
    ("delay_ms", "batch_ms"), [(HOUR, 0), (0, 6 * HOUR), (HOUR, 6 * HOUR), (90 * MINUTE, 5 * HOUR)], ids=str
)
def test_what_is_predicted_is_what_a_model_trained_on_known_labels_says(delay_ms, batch_ms, learning):
    values, times = clicks(300, 5 * MINUTE)
    noted, _ = predicted(values, times, delay_ms=delay_ms, batch_ms=batch_ms, learning=learning)
    timing = Timing.of(delay_ms, batch_ms)
    assert noted.predictions == known_then(values, times, timing=timing, learning=learning)


@pytest.mark.parametrize(("delay_ms", "batch_ms"), [(HOUR, 0), (7 * MINUTE, 0), (0, DAY), (3 * HOUR, DAY)], ids=str)
def test_a_label_is_never_known_before_its_delay_and_soon_after(delay_ms, batch_ms):
    timing = Timing.of(delay_ms, batch_ms)
    for event_ms in range(START, START + 2 * DAY, 7 * MINUTE + 13):
        known_at = timing.known_at(event_ms // timing.tick_ms)
        assert known_at > event_ms + delay_ms
        # the first moment of a step at which it is learned
        learned = -(-known_at // timing.step_ms) * timing.step_ms
        assert learned <= event_ms + delay_ms + timing.tick_ms + timing.step_ms
    if delay_ms and not batch_ms:
        assert timing.tick_ms + timing.step_ms <= delay_ms / 8


def test_by_hand():
    # One event a minute, labels 1 1 0 1 0; a label is known two minutes and a tick of 5 s later, at steps of 5 s.
    labels = [1, 1, 0, 1, 0]
    times = [START + minute * MINUTE for minute in range(5)]
    values = [event(0, 0, label, time) for label, time in zip(labels, times, strict=True)]
    noted, state = predicted(values, times, delay_ms=2 * MINUTE, base_rate=True)
    # At minutes 0, 1 and 2 nothing is known; at 3 the label of minute 0 (1 + 1/2 of 2); at 4 those of 0 and 1.
    assert list(noted.predictions.values()) == np.float32([0.5, 0.5, 0.5, 1.5 / 2, 2.5 / 3]).tolist()
    assert state.progress.events == 2  # learned; the others are measured all the same


def test_by_hand_without_a_delay():
    labels = [1, 1, 0, 1]
    times = [START + minute * MINUTE for minute in range(4)]
    values = [event(0, 0, label, time) for label, time in zip(labels, times, strict=True)]
    noted, _ = predicted(values, times, base_rate=True)
    assert list(noted.predictions.values()) == np.float32([0.5, 1.5 / 2, 2.5 / 3, 2.5 / 4]).tolist()


def test_a_leak_would_show():
    """Each pair of events, half a minute apart, has an item of its own and one label: the first tells the second."""
    rng, values, times = np.random.default_rng(0), [], []
    for pair in range(1_500):
        label = int(rng.random() < 0.5)
        for second in (0, 30):
            times.append(START + pair * 2 * MINUTE + second * 1_000)
            values.append(event(0, pair, label, times[-1]))
    told, late = (predicted(values, times, delay_ms=delay)[0].predictions for delay in (0, MINUTE))
    labels = np.array([b'"label":1' in value for value in values])[1::2]

    def right(predictions: dict[int, float]) -> float:
        return float(np.mean((np.array([predictions[time] for time in times[1::2]]) > 0.5) == labels))

    assert right(told) > 0.9
    assert 0.4 < right(late) < 0.6


def test_a_leak_from_another_shard_would_show():
    """The same, the first of a pair in one shard and the second in another one: both add to the row of the item."""
    rng, values, times, labels = np.random.default_rng(0), ([], []), ([], []), []
    for pair in range(1_500):
        labels.append(int(rng.random() < 0.5))
        # The event in between, of something else, lets the second shard end a version: then it hears of the first.
        for shard, second, item, label in ((0, 0, pair, labels[-1]), (1, 10, -1, pair % 2), (1, 30, pair, labels[-1])):
            times[shard].append(START + pair * 2 * MINUTE + second * 1_000)
            values[shard].append(event(shard, item, label, times[shard][-1]))
    source = InMemory({shard: records_of(values[shard], times[shard], partition=shard) for shard in range(2)})
    log_losses = []
    for delay_ms in (0, MINUTE):
        log = run(task_of(learning_of(merge=True), delay_ms=delay_ms), source).log
        log_losses.append(log.totals.loss)
    # A third of the events is told by the others; late, nothing is told.
    assert log_losses[0] < 0.9 * np.log(2)
    assert log_losses[1] > 0.99 * np.log(2)


@pytest.mark.parametrize("delay_ms", [0, HOUR])
def test_the_size_of_batches_changes_no_bit(delay_ms):
    values, times = clicks(400, 5 * MINUTE)
    whole, state = predicted(values, times, delay_ms=delay_ms)
    for batch in (1, 7, 64):
        other, again = predicted(values, times, delay_ms=delay_ms, batch=batch)
        assert other.predictions == whole.predictions
        assert again.digest() == state.digest()


def test_a_clock_that_steps_back_does_not_make_labels_known():
    values, times = clicks(200, 5 * MINUTE)
    back = list(times)
    back[100] -= DAY  # counts as late as the one before it
    values[100] = event(1, 1, 1, back[100])
    noted, _ = predicted(values, back, delay_ms=HOUR)
    straight = list(times)
    straight[100] = straight[99]
    same, _ = predicted(values, straight, delay_ms=HOUR)
    assert noted.predictions == same.predictions


def test_events_that_are_left_out_are_left_out_when_they_come():
    learning = Learning.model_validate(
        LEARNING.model_dump() | {"events": {"id": "id", "duplicate_window": 100}, "model": {"merge": False}}
    )
    times = [START + number * 10 * MINUTE for number in range(60)]
    values = [
        b'{"user":"u%d","item":"i%d","label":%d,"time":%d,"id":"e%d"}' % (n % 5, n % 7, n % 2, time, n // 2)
        for n, time in enumerate(times)
    ]
    late, state = predicted(values, times, delay_ms=HOUR, learning=learning)
    assert len(late.found) == 30
    assert state.skipped["duplicate"] == 30
    assert sorted(late.predictions) == times[::2]


def test_blocks_of_time_are_those_of_the_log():
    values, times = clicks(100, 5 * MINUTE)
    edges = (times[20], times[50])
    for delay_ms in (0, HOUR):
        noted, _ = predicted(values, times, delay_ms=delay_ms, edges=edges)
        assert [block for _, _, block in sorted(noted.found)] == [-1] * 20 + [0] * 30 + [1] * 50


@pytest.mark.parametrize(
    "learning",
    [
        learning_of(merge=True),
        learning_of(merge=False),
        learning_of(merge=True, half_life="3s"),
        learning_of(merge=True, max_rows=60),
        of(events={"keep_negatives": 0.5, "id": "time", "duplicate_window": 200}),
    ],
    ids=["merged", "apart", "fading", "bounded", "sampled"],
)
def test_without_a_delay_it_is_the_fresh_replay(learning):
    source = stream(3_000, 3, seed=4)
    config = config_of(learning, commit={"interval_seconds": 0.5})
    fresh = Replay(config, source).run()
    edges = tuple(source.partitions[0].timestamps[::100].tolist())
    measured = run(task_of(learning, edges=(0, *edges)), source)
    assert measured.log.digests == fresh.digests
    assert measured.log.totals == fresh.log.totals
    assert measured.log.skipped == fresh.log.skipped
    late = [run(task_of(learning, delay_ms=400, poll_events=polled), source) for polled in (10_000, 17)]
    assert late[0].log.digests == late[1].log.digests
    assert late[0].log.digests != fresh.digests
    assert late[0].blocks.whole.sums[[EVENTS, WEIGHT]].tolist() == measured.blocks.whole.sums[[EVENTS, WEIGHT]].tolist()


def test_a_base_rate_of_sampled_negatives_is_that_of_all():
    learning = of(events={"keep_negatives": 0.25})
    n = 4_000
    times = [START + at * MINUTE for at in range(n)]
    values = [event(at % 7, at % 5, int(at % 10 == 0), times[at]) for at in range(n)]
    log = run(task_of(learning, kind="base rate"), InMemory({0: records_of(values, times)})).log
    assert log.totals.mean_score == pytest.approx(0.1, abs=0.02)
    assert log.totals.base_rate == pytest.approx(0.1, abs=0.01)


def test_alarms_are_answered_where_labels_are_known():
    learning = of(quality={"response": "loosen", "window": 1_000})
    values, times = clicks(16_000, 1_000)
    turned = [value.replace(b'"label":1', b'"label":2').replace(b'"label":0', b'"label":1') for value in values[8_000:]]
    values[8_000:] = [value.replace(b'"label":2', b'"label":0') for value in turned]
    source = InMemory({0: records_of(values, times)})
    fresh = Replay(config_of(learning), source).run()
    assert fresh.states[0].loosening.times > 0
    assert run(task_of(learning), source).log.digests == fresh.digests
    late = {batch: predicted(values, times, delay_ms=MINUTE, learning=learning, batch=batch) for batch in (16_000, 501)}
    assert late[16_000][1].loosening.times > 0
    assert late[16_000][1].digest() == late[501][1].digest()
    assert late[16_000][0].found == late[501][0].found


def test_packed_events_are_as_late_as_their_message():
    values, times = clicks(300, 2 * MINUTE)
    messages = [range(at, min(at + 7, len(values))) for at in range(0, len(values), 7)]
    of_message = [times[one[-1]] for one in messages]
    arrow = of(events={"format": "arrow"})
    noted, state = predicted(
        [packed([values[at] for at in one]) for one in messages], of_message, delay_ms=HOUR, learning=arrow
    )
    singly, same = predicted(
        values, [when for one, when in zip(messages, of_message, strict=True) for _ in one], delay_ms=HOUR
    )
    assert noted.predictions == singly.predictions
    assert state.model.digest() == same.model.digest()


@pytest.mark.parametrize("model", [{"merge": True}, {"merge": False}], ids=str)
def test_late_labels_of_merged_shards_change_no_bit_with_the_batch(model):
    learning, source = learning_of(**model), stream(3_000, 3, seed=4)
    once = run(task_of(learning, delay_ms=800), source)
    again = run(task_of(learning, delay_ms=800, poll_events=13), source)
    assert once.log.digests == again.log.digests
    assert (once.blocks.histogram == again.blocks.histogram).all()
    assert once.log.digests != run(task_of(learning), source).log.digests


def test_all_events_are_measured_though_their_labels_come_too_late_to_be_learned():
    values, times = clicks(100, MINUTE)
    source = InMemory({0: records_of(values, times)})
    measured = run(task_of(delay_ms=HOUR), source)
    assert measured.log.events == 100
    assert measured.blocks.whole.events == 100
