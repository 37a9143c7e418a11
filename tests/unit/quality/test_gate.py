"""The publish gate: which windows are out of bounds, and what is said of them."""

import math

import numpy as np
import pytest

from tests.unit.quality.test_watch import WINDOW, observe, watch_of
from worker.quality.gate import Gate

BOTH = Gate(highest_entropy=1.0, calibration=(0.8, 1.25))
LABELS = np.tile([1.0, 0.0, 0.0, 0.0], WINDOW // 4)


def after(predictions, labels=LABELS):
    watch = watch_of()
    observe(watch, np.broadcast_to(predictions, len(labels)), labels)
    return watch


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        (np.where(LABELS, 0.4, 0.2), []),
        (
            0.35,
            ["normalised entropy is 1.041 ", "calibration is 1.4 over the last window of 1000 events, outside 0.8 to"],
        ),
        (np.where(LABELS, 0.3, 0.15), ["calibration is 0.75 "]),
        (np.where(LABELS, 0.2, 0.25), ["normalised entropy is 1.099 "]),
    ],
)
def test_a_window_is_held_against_the_bounds(predictions, said):
    faults = BOTH.faults(after(predictions))
    assert len(faults) == len(said)
    for fault, begins in zip(faults, said, strict=True):
        assert fault.startswith(begins)


def test_bounds_themselves_are_within():
    watch = after(np.where(LABELS, 0.5, 0.25))
    told = watch.last_window()
    entropy, calibration = told["normalized_entropy"], told["calibration"]
    assert not Gate(highest_entropy=entropy, calibration=(0.1, calibration)).faults(watch)
    assert len(Gate(highest_entropy=math.nextafter(entropy, 0)).faults(watch)) == 1
    assert len(Gate(calibration=(0.1, math.nextafter(calibration, 0))).faults(watch)) == 1
    assert not Gate().faults(watch)


def test_labels_that_are_all_the_same_are_out_of_bounds():
    assert [fault.split(" over")[0].split(",")[0] for fault in BOTH.faults(after(0.01, np.zeros(WINDOW)))] == [
        "normalised entropy is without bound",
        "calibration is without bound",
    ]
    (fault,) = BOTH.faults(after(0.99, np.ones(WINDOW)))
    assert fault.startswith("normalised entropy is without bound")


def test_nothing_is_said_before_the_first_window_is_full_and_then_the_last_full_one_counts():
    assert BOTH.faults(after(0.01, np.zeros(WINDOW - 1))) == []
    good, bad = np.where(LABELS, 0.4, 0.2), np.full(WINDOW - 1, 0.9)
    watch = after(np.concatenate([good, bad]), np.concatenate([LABELS, np.zeros(WINDOW - 1)]))
    assert BOTH.faults(watch) == []
    observe(watch, [0.9], [0.0])
    assert len(BOTH.faults(watch)) == 2
