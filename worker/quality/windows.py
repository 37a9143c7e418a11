"""What is told of every window of events: how good, how calibrated, and how far scores and labels have moved.

The distance of a window from the slow mean of those before it is the population stability index,

    PSI = sum_bins (a - b) ln(a / b),    a, b the shares of a bin, half an event added to each,

which for bins of the same law is about chi^2 (bins - 1) (1 / n + 1 / n_reference). With 1,000 events and 32 bins that
lies above 0.1, where the industry begins to speak of a shift, about once in 10^7 windows; so 0.1 is the threshold.
"""

from typing import Final

import numpy as np
from numba import njit

from worker.model.arithmetic import log
from worker.quality.drift import SLOW, WARM, alarm, pivot
from worker.quality.layout import (
    BINS,
    DETECTORS,
    EACH,
    EVENTS,
    IN_WINDOW,
    LABEL,
    LABEL_BINS,
    LABEL_COUNTS,
    LABEL_EVENTS,
    LABEL_MEAN,
    LABEL_SHARES,
    LABEL_VARIANCE,
    LABELS,
    LAST_AUC,
    LAST_AUC_ERROR,
    LAST_BASELINE,
    LAST_CALIBRATION,
    LAST_CALIBRATION_ERROR,
    LAST_ENTROPY,
    LAST_LOSS,
    LAST_PEAK,
    LOSS,
    LOSS_MEAN,
    NEGATIVES,
    PEAK,
    POSITIVES,
    REFERENCES,
    SCORE,
    SCORE_BINS,
    SCORE_SHARES,
    SCORE_SUMS,
    SCORES,
    WEIGHT,
    WINDOWS,
)

STABILITY: Final = 0.1
LEAST_EVENTS: Final = 1_000  # of a window, see above
_LIMIT = 8.0
_A_SCORE_BIN = BINS // SCORE_BINS
_DEVIATIONS = 5.0  # from the mean label, where the bins of squared loss end


@njit(cache=True, nogil=True, error_model="numpy")
def gather(logits, losses, predictions, labels, weights, logistic, first, words) -> None:
    """Add n events to the window that is open.

    With squared loss scores and labels are measured by mean and deviation of the `first` labels.
    """
    for n in range(len(logits)):
        weight = np.float64(weights[n])
        if weight == 0.0:
            continue
        p, y = np.float64(predictions[n]), np.float64(labels[n])
        words[IN_WINDOW] += 1.0
        words[WEIGHT] += weight
        words[LOSS] += weight * losses[n]
        words[LABEL] += weight * y
        words[SCORE] += weight * p
        if logistic:
            at, of_label, positive = (logits[n] + _LIMIT) / (2.0 * _LIMIT), y, weight * y
        else:
            spread = 2.0 * _DEVIATIONS * np.sqrt(words[LABEL_VARIANCE])
            at, of_label, positive = np.float64(0.5), np.float64(0.5), np.float64(0.0)
            if spread > 0.0:
                at += (p - words[LABEL_MEAN]) / spread
                of_label += (y - words[LABEL_MEAN]) / spread
            if words[LABEL_EVENTS] < first:  # then it stays: were it to follow, every window would be another's
                words[LABEL_EVENTS] += 1.0
                away = y - words[LABEL_MEAN]
                words[LABEL_MEAN] += away / words[LABEL_EVENTS]
                away *= y - words[LABEL_MEAN]
                words[LABEL_VARIANCE] += (away - words[LABEL_VARIANCE]) / words[LABEL_EVENTS]
        place = int(min(max(at * BINS, 0.0), BINS - 1.0))
        words[NEGATIVES + place] += weight - positive
        words[POSITIVES + place] += positive
        words[SCORE_SUMS + place // _A_SCORE_BIN] += weight * p
        words[LABEL_COUNTS + int(min(max(of_label * LABEL_BINS, 0.0), LABEL_BINS - 1.0))] += weight


@njit(cache=True, nogil=True, error_model="numpy")
def close(time, logistic, detect, words) -> None:
    """End the window that is open: tell of it, hold it against those before, and begin another one.

    `time` is the event time of its last event; `detect` whether it may alarm.
    """
    words[WINDOWS] += 1.0
    weight = words[WEIGHT]
    words[LAST_LOSS] = words[LOSS] / weight
    words[LAST_BASELINE] = words[LOSS_MEAN]
    if logistic:
        _evaluate(weight, words)
        pivot(words)
    for detector in range(LABELS + 1):
        words[DETECTORS + detector * EACH + LAST_PEAK] = words[DETECTORS + detector * EACH + PEAK]
        words[DETECTORS + detector * EACH + PEAK] = 0.0
    if detect and words[WINDOWS] > WARM:
        scores = np.zeros(SCORE_BINS)
        for place in range(BINS):
            scores[place // _A_SCORE_BIN] += words[NEGATIVES + place] + words[POSITIVES + place]
        _compare(SCORES, scores, REFERENCES, SCORE_SHARES, time, words)
        labels = words[LABEL_COUNTS : LABEL_COUNTS + LABEL_BINS].copy()
        _compare(LABELS, labels, REFERENCES + 1, LABEL_SHARES, time, words)
    words[IN_WINDOW] = 0.0
    words[WEIGHT : LABEL_COUNTS + LABEL_BINS] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _evaluate(weight, words):
    """Give what is told of probabilities; NaN where all labels are the same."""
    rate = words[LABEL] / weight
    entropy = 0.0
    if 0.0 < rate < 1.0:
        entropy = -rate * log(rate) - (1.0 - rate) * log(1.0 - rate)
    words[LAST_ENTROPY] = words[LAST_LOSS] / entropy if entropy > 0.0 else np.nan
    words[LAST_CALIBRATION] = words[SCORE] / words[LABEL] if words[LABEL] > 0.0 else np.nan
    error = below = ordered = tied = 0.0
    for part in range(SCORE_BINS):
        observed = 0.0
        for place in range(part * _A_SCORE_BIN, (part + 1) * _A_SCORE_BIN):
            negative, positive = words[NEGATIVES + place], words[POSITIVES + place]
            ordered += positive * (below + negative / 2.0)
            tied += positive * negative / 2.0
            below += negative
            observed += positive
        error += abs(words[SCORE_SUMS + part] - observed)
    pairs = below * (weight - below)
    words[LAST_CALIBRATION_ERROR] = error / weight
    words[LAST_AUC] = ordered / pairs if entropy > 0.0 else np.nan
    words[LAST_AUC_ERROR] = tied / pairs if entropy > 0.0 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(detector, counts, references, shares, time, words):
    """Hold the counts of a window against the shares of those before, and let these follow."""
    bins, events, total = len(counts), words[IN_WINDOW], 0.0
    for i in range(bins):
        total += counts[i]
    known = words[references]
    distance = 0.0
    for i in range(bins):
        share = counts[i] / total
        if known > 0.0:
            now = (share * events + 0.5) / (events + 0.5 * bins)
            before = (words[shares + i] * events + 0.5) / (events + 0.5 * bins)
            distance += (now - before) * log(now / before)
    at = DETECTORS + detector * EACH
    words[at + PEAK] = words[at + LAST_PEAK] = distance
    if distance >= STABILITY:
        alarm(detector, distance, words[EVENTS], time, 0, words)
        known = 0.0
    known = min(known + 1.0, float(SLOW))
    words[references] = known
    for i in range(bins):
        words[shares + i] += (counts[i] / total - words[shares + i]) / known
