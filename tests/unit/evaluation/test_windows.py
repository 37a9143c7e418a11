"""Windows of event time: sums that are those of one pass over their events, however many there are and whenever."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.evaluation.spans import WIDTHS_MS, wider
from worker.evaluation.windows import MOST, Windows
from worker.quality.progress import EVENTS, WEIGHT, Progress

NOW = 1_735_689_600_000


def some(n: int, seed: int = 0, span_ms: int = 3_600_000):
    """Times, predictions, labels and weights, in the order of time; weights are powers of two, so sums are exact."""
    rng = np.random.default_rng(seed)
    predictions = rng.uniform(0.01, 0.99, n).astype(np.float32)
    labels = (rng.random(n) < predictions).astype(np.float32)
    times = NOW + np.sort(rng.integers(0, span_ms, n))
    return times, predictions, labels, rng.choice([0.0, 0.5, 1.0, 2.0], n).astype(np.float32)


def windows_of(parts, *, logistic: bool = True) -> Windows:
    windows = Windows(logistic=logistic)
    for times, predictions, labels, weights in parts:
        windows.add(times, predictions, labels, weights, Progress(logistic=logistic).add(predictions, labels, weights))
    return windows


def bits(windows: Windows) -> tuple[object, ...]:
    count = len(windows)
    arrays = (windows.begins, *windows.arrays())
    return windows.width, count, windows.total.tobytes(), *(array[:count].tobytes() for array in arrays)


def test_each_width_is_a_whole_number_of_the_one_before():
    assert all(after % before == 0 for before, after in itertools.pairwise(WIDTHS_MS))
    assert wider(wider(WIDTHS_MS[-1])) % wider(WIDTHS_MS[-1]) == 0


@pytest.mark.parametrize("logistic", [True, False])
def test_a_window_holds_what_one_pass_over_its_events_gives(logistic):
    times, predictions, labels, weights = some(3_000)
    windows = windows_of([(times, predictions, labels, weights)], logistic=logistic)
    assert 1 < len(windows) <= MOST
    for at in range(len(windows)):
        inside = (times >= windows.begins[at]) & (times < windows.begins[at] + windows.width)
        own = Progress(logistic=logistic)
        own.add(predictions[inside], labels[inside], weights[inside])
        np.testing.assert_allclose(windows.sums[at], own.sums, rtol=1e-12)
        assert windows.histogram[at].tobytes() == own.histogram.tobytes()
    assert windows.sums[: len(windows), EVENTS].sum() == 3_000


def test_the_total_is_that_of_the_shard_to_the_bit():
    parts = [some(700, seed) for seed in range(5)]
    progress = Progress(logistic=True)
    for _, predictions, labels, weights in parts:
        progress.add(predictions, labels, weights)
    assert windows_of(parts).total.tobytes() == progress.sums.tobytes()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.sampled_from([10, 10_000, 10**12]))
def test_batches_do_not_change_a_bit(sizes, span_ms):
    columns = some(sum(sizes), len(sizes), span_ms)
    cuts = np.cumsum([0, *sizes])
    parts = [tuple(column[start:stop] for column in columns) for start, stop in itertools.pairwise(cuts)]
    assert bits(windows_of(parts)) == bits(windows_of([columns]))


def test_the_order_of_time_does_not_matter():
    columns = some(2_000)
    mixed = np.random.default_rng(1).permutation(2_000)
    one, other = windows_of([columns]), windows_of([tuple(column[mixed] for column in columns)])
    assert one.begins.tolist() == other.begins.tolist()
    assert one.histogram.tobytes() == other.histogram.tobytes()
    np.testing.assert_allclose(one.sums, other.sums, rtol=1e-12)


def test_a_clock_that_is_off_by_decades_costs_a_window_and_no_more():
    times, *others = some(2_000, span_ms=3_000_000)
    whole = windows_of([(times, *others)])
    times = times.copy()
    times[[5, 900]] = 0, 4_102_444_800_000  # 1970 and 2100
    windows = windows_of([(times, *others)])
    assert windows.width == whole.width
    assert len(windows) <= len(whole) + 2
    assert (windows.begins[0], windows.sums[0, EVENTS]) == (0, 1)


@pytest.mark.parametrize("span_ms", [1, 250, 86_400_000, 10**14])
def test_there_are_never_too_many(span_ms):
    windows = windows_of([some(5_000, seed, span_ms) for seed in range(3)])
    assert 1 <= len(windows) <= MOST
    begins = windows.begins[: len(windows)]
    assert (np.diff(begins) > 0).all()
    assert (begins % windows.width == 0).all()
    assert windows.sums[: len(windows), WEIGHT].sum() == windows.total[WEIGHT]
    assert not windows.sums[len(windows) :].any(), "what is not there is empty"


@given(st.sampled_from([50, 10_000, 10**9]), st.sampled_from([50, 10_000, 10**13]), st.booleans())
def test_two_that_are_merged_are_one_over_the_events_of_both(span, other_span, empty):
    one, other = some(400, 1, span), some(0 if empty else 300, 2, other_span)
    merged, both = windows_of([one]), windows_of([one, other])
    second = windows_of([other])
    before = bits(second)
    merged.merge(second)
    assert bits(second) == before, "the other stays as it is"
    assert merged.width >= both.width  # of a union that is just too large both sides are joined at once
    while both.width < merged.width:
        both.join()
    count = len(merged)
    assert merged.begins[:count].tolist() == both.begins[: len(both)].tolist()
    assert merged.histogram.tobytes() == both.histogram.tobytes()
    np.testing.assert_allclose(merged.sums, both.sums, rtol=1e-12)


def test_merging_gives_the_same_bits_whichever_comes_first():
    one, other = windows_of([some(500, 1)]), windows_of([some(500, 2, 10**10)])
    first, second = one.copy(), other.copy()
    first.merge(other)
    second.merge(one)
    assert bits(first) == bits(second)
