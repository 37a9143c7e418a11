"""When an alarm is answered: at events that a count names, once, and not while the answer still shows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.batches import batch_of, entries_of, stream
from worker.quality import layout
from worker.quality.loosening import EVERY, REST, Loosening
from worker.quality.watch import Watch, Watching

WINDOW = 1_000


def watch_of() -> Watch:
    return Watch.fresh(Watching(logistic=True, window_events=WINDOW, false_alarm_every_events=1_000_000))


def alarm(watch: Watch, detector: int, event: int) -> None:
    at = layout.DETECTORS + detector * layout.EACH
    watch.words[at + layout.ALARMS] += 1
    watch.words[at + layout.AT_EVENT] = event
    watch.words[layout.EVENTS] = max(watch.words[layout.EVENTS], event)


@given(st.lists(st.integers(0, 3 * EVERY), max_size=6), st.integers(0, 5 * EVERY))
def test_batches_are_cut_at_the_same_events_however_they_come(sizes, before):
    loosening, at, ends = Loosening(limit=1.0), before, []
    for size in sizes:
        batch = batch_of([[[(1, 1.0)]]] * (size + 1), np.zeros(size + 1)).part(0, size)
        for part in loosening.parts(batch, at):
            assert len(part) > 0
            at += len(part)
            ends.append(at)
    assert at == before + sum(sizes)
    named = {event for event in range(before + 1, at + 1) if event % EVERY == 0}
    assert named <= set(ends)
    assert len(ends) <= len(named) + len(sizes)


def test_the_parts_of_a_batch_are_its_events():
    events, labels = stream(50)
    batch = batch_of(events, labels, times=range(50))
    part = batch.part(20, 30)
    expected = entries_of(events[20:30])
    for name in ("keys", "values", "starts"):
        assert getattr(part.entries, name).tolist() == getattr(expected, name).tolist()
    assert part.labels.tolist() == labels[20:30].tolist()
    assert part.times.tolist() == list(range(20, 30))


def test_without_a_response_batches_stay_whole_and_alarms_change_nothing():
    loosening, watch = Loosening(limit=None), watch_of()
    batch = batch_of([[[(1, 1.0)]]] * (2 * EVERY), np.zeros(2 * EVERY))
    alarm(watch, layout.RESIDUAL, 10)
    (part,) = loosening.parts(batch, 7)
    assert part is batch
    assert loosening.answer(watch, EVERY) is None
    assert (loosening.times, loosening.event) == (0, 0)


@pytest.mark.parametrize("detector", [layout.RESIDUAL, layout.CALIBRATION, layout.BASELINE])
def test_an_alarm_is_answered_once_at_the_next_named_event(detector):
    loosening, watch = Loosening(limit=7.0), watch_of()
    assert loosening.answer(watch, EVERY) is None
    alarm(watch, detector, EVERY + 5)
    assert loosening.answer(watch, EVERY + 10) is None, "not there yet"
    watch.words[layout.EVENTS] = 2 * EVERY
    assert loosening.answer(watch, 2 * EVERY) == 7.0
    assert (loosening.times, loosening.event) == (1, 2 * EVERY)
    assert loosening.answer(watch, 3 * EVERY) is None


@pytest.mark.parametrize("detector", [layout.SCORES, layout.LABELS])
def test_that_scores_or_labels_are_others_is_not_answered(detector):
    loosening, watch = Loosening(limit=7.0), watch_of()
    alarm(watch, detector, 5)
    assert loosening.answer(watch, EVERY) is None


def test_alarms_of_the_windows_after_an_answer_are_part_of_the_same_change():
    loosening, watch = Loosening(limit=7.0), watch_of()
    alarm(watch, layout.RESIDUAL, EVERY)
    assert loosening.answer(watch, EVERY) == 7.0
    alarm(watch, layout.BASELINE, EVERY + REST * WINDOW)
    assert loosening.answer(watch, 4 * EVERY) is None
    alarm(watch, layout.RESIDUAL, EVERY + REST * WINDOW + 1)
    assert loosening.answer(watch, 5 * EVERY) == 7.0
    assert loosening.times == 2
