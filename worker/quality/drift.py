"""Three sequential tests of whether a shard's predictions went wrong, O(1) an event.

Each is a Shiryaev-Roberts procedure over a few alternatives i with weights w_i (Shiryaev 1963; Roberts 1966; Pollak
1985; with e-values in place of likelihood ratios: Shin, Ramdas, Rinaldo, *E-detectors*, 2022):

    R_i <- (1 + R_i) L_i,    alarm where sum_i w_i R_i >= A, and then R_i = 0,

where L_i >= 0 has mean 1 given all before, as long as nothing went wrong. Then R - n has mean 0, so that a false alarm
takes at least A events in the mean, whatever the events are; and not much more, since R overshoots A by little.

**residual**, **calibration** (logistic loss). L is the likelihood ratio of a label for odds that are s times lower:

    L = (y + (1 - y) s) / (s (1 - p) + p),    of mean 1 where y is 1 with probability p.

calibration has s = e^-b, for shifts b of all logits. residual has s = e^(lambda (f - c)), with c the logit of the base
rate: the scores say more than they know, by a share lambda. Its logarithm is the residual of the loss, loss - H(p), as
far as it is beyond that of the constant c, for small lambda; a lambda of 2 is scores turned upside down. Taken around c
it finds items that changed far sooner than around 0, where it would also have to explain a shift.

That p is right is not taken for granted. What the learner knows little of is not as sure as its mean (`variance`;
MacKay, *The Evidence Framework Applied to Classification Networks*, 1992), and no model is calibrated for ever:

    z = f / sqrt(1 + pi variance / 8),    logit p = z + b + a (z - centre),

where a and b follow the labels by Newton steps over about `SLOW` windows, always from the events before. So an alarm
says that something changed, not that a model never was calibrated: that is what the windowed calibration tells.

**baseline**. L = 1 + eta (loss / mean loss - 1), the payoff of a fair bet on a loss above its own slow mean. Losses are
cut at 16 times the mean. It needs no probabilities, so it is the test that squared loss has too.

An alarm makes its test begin anew after a window, and what it takes for normal follow faster: one change, one alarm, or
a few if it goes on. All operations are exactly rounded and in event order.
"""

from typing import Final

import numpy as np
from numba import njit

from worker.quality.layout import (
    ALARMS,
    AT_EVENT,
    AT_STATISTIC,
    AT_TIME,
    BASELINE,
    BETS,
    CALIBRATION,
    CENTRE,
    CONSTANT,
    CURVATURE,
    DETECTORS,
    EACH,
    EVENTS,
    FACTOR,
    FROM_EVENT,
    LOSS_EVENTS,
    LOSS_MEAN,
    NULL_EVENTS,
    ODDS,
    PEAK,
    PER_CURVATURE,
    PER_MEAN,
    PER_SPREAD,
    RATE,
    RESIDUAL,
    SHIFT,
    SHIFTS,
    SLOPE,
    SPREAD,
    TILTS,
)
from worker.quality.odds import BLOCK, weigh

SLOW = 15  # windows: 300,000 events by default. Longer, and a model that still learns leaves its own past behind
WARM = 2  # windows before the tests begin: a model that knows nothing learns fastest
ETAS: Final = (0.02, 0.05, 0.12, 0.3)
_CUT = 16.0
_EVERY = BLOCK - 1  # + 1 events the correction is put in force: at each, none could begin before the last had ended
_LEAST = 1e-300
_RESIDUAL, _CALIBRATION, _BASELINE = (DETECTORS + number * EACH for number in (RESIDUAL, CALIBRATION, BASELINE))
_LEAST_CURVATURE = 1e-6


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def test(
    logits,
    losses,
    variances,
    labels,
    weights,
    times,
    logistic,
    offset,
    threshold,
    window,
    odds,
    ratios,
    bets,
    etas,
    words,
) -> None:
    """Run the tests over n events, and let their normal follow.

    Args:
        logits: [n], or values for squared loss.
        losses: [n].
        variances: [n] of the logits; NaN where they are not known.
        labels: [n].
        weights: [n]: an event of weight 0 is passed over, any other is one observation.
        times: [n] event times, milliseconds since 1970.
        logistic: else there are no probabilities, and only `baseline` is tested.
        offset: what is added to logits before labels are expected: of negatives that are left out.
        threshold: A of each test.
        window: events.
        odds: room for the likelihood ratios of some events.
        ratios: [TILTS + SHIFTS] the statistics of odds ratios; they change, as do
        bets: [BETS], those of bets.
        etas: [BETS].
        words: laid out as `layout` says; they change.
    """
    first, slow = float(window), float(SLOW * window)
    slowest = 1.0 / slow
    # In variables of their own: numba would write each to memory for every event.
    events, null_events, loss_events, mean = words[EVENTS], words[NULL_EVENTS], words[LOSS_EVENTS], words[LOSS_MEAN]
    shift, slope, centre, rate_of_labels = words[SHIFT], words[SLOPE], words[CENTRE], words[RATE]
    curvature, spread, of_base = words[CURVATURE], words[SPREAD], words[ODDS]
    constant, factor = words[CONSTANT], words[FACTOR]
    per_curvature, per_spread, per_mean = words[PER_CURVATURE], words[PER_SPREAD], words[PER_MEAN]
    residual_from, calibration_from, baseline_from = (
        words[_RESIDUAL + FROM_EVENT], words[_CALIBRATION + FROM_EVENT], words[_BASELINE + FROM_EVENT],
    )  # fmt: skip
    residual_peak, calibration_peak, baseline_peak = (
        words[_RESIDUAL + PEAK], words[_CALIBRATION + PEAK], words[_BASELINE + PEAK],
    )  # fmt: skip
    begin = end = 0  # of the events whose likelihood ratios are known
    for n in range(len(logits)):
        if logistic and n == end:
            # No further than to where the correction is put in force next.
            begin, end = n, min(n + BLOCK - (int(events) & _EVERY), len(logits))
            weigh(
                logits[begin:end], variances[begin:end], labels[begin:end], offset, constant, factor, of_base, odds,
            )  # fmt: skip
        if weights[n] == np.float32(0):
            continue
        events += 1.0
        if logistic:
            at = n - begin
            y, z, p = np.float64(labels[n]), odds.logits[at], odds.positive[at]
            h = p * odds.negative[at]
            for i in range(TILTS + SHIFTS):
                ratios[i] = (1.0 + ratios[i]) * odds.ratios[i, at]
            of_tilts = of_shifts = 0.0
            for i in range(TILTS):
                of_tilts += ratios[i]
            for i in range(TILTS, TILTS + SHIFTS):
                of_shifts += ratios[i]
            of_tilts /= TILTS
            of_shifts /= SHIFTS
            if events <= residual_from:
                for i in range(TILTS):
                    ratios[i] = 0.0
            else:
                residual_peak = max(residual_peak, of_tilts)
                if of_tilts >= threshold:
                    residual_from = alarm(RESIDUAL, of_tilts, events, times[n], window, words)
                    for i in range(TILTS):
                        ratios[i] = 0.0
                    null_events = min(null_events, first)
            if events <= calibration_from:
                for i in range(TILTS, TILTS + SHIFTS):
                    ratios[i] = 0.0
            else:
                calibration_peak = max(calibration_peak, of_shifts)
                if of_shifts >= threshold:
                    calibration_from = alarm(CALIBRATION, of_shifts, events, times[n], window, words)
                    for i in range(TILTS, TILTS + SHIFTS):
                        ratios[i] = 0.0
                    null_events = min(null_events, first)
            # What is taken for right follows the label.
            null_events += 1.0
            rate = slowest if null_events + first >= slow else 1.0 / (null_events + first)
            centre += rate * (z - centre)
            away = z - centre
            curvature += rate * (h - curvature)
            spread += rate * (h * away * away - spread)
            step = rate * (p - y)
            shift -= step * per_curvature
            slope -= step * away * per_spread
            rate_of_labels += rate * (y - rate_of_labels)
        loss = losses[n]
        if loss_events > first:
            loss = min(loss, _CUT * mean)
        if per_mean > 0.0:
            excess = min(loss * per_mean, _CUT) - 1.0
            of_bets = 0.0
            for i in range(BETS):
                bets[i] = (1.0 + bets[i]) * (1.0 + etas[i] * excess)
                of_bets += bets[i]
            of_bets /= BETS
            if events <= baseline_from:
                for i in range(BETS):
                    bets[i] = 0.0
            else:
                baseline_peak = max(baseline_peak, of_bets)
                if of_bets >= threshold:
                    baseline_from = alarm(BASELINE, of_bets, events, times[n], window, words)
                    for i in range(BETS):
                        bets[i] = 0.0
                    loss_events = min(loss_events, first)
        loss_events += 1.0
        rate = slowest if loss_events >= slow else 1.0 / loss_events
        mean = max(mean + rate * (loss - mean), _LEAST)
        if int(events) & _EVERY == 0:
            constant, factor = shift - slope * centre, 1.0 + slope
            per_curvature = 1.0 / max(curvature, _LEAST_CURVATURE)
            per_spread, per_mean = 1.0 / max(spread, _LEAST_CURVATURE), 1.0 / mean
    words[EVENTS], words[NULL_EVENTS], words[LOSS_EVENTS], words[LOSS_MEAN] = events, null_events, loss_events, mean
    words[SHIFT], words[SLOPE], words[CENTRE], words[RATE] = shift, slope, centre, rate_of_labels
    words[CURVATURE], words[SPREAD], words[CONSTANT], words[FACTOR] = curvature, spread, constant, factor
    words[PER_CURVATURE], words[PER_SPREAD], words[PER_MEAN] = per_curvature, per_spread, per_mean
    words[_RESIDUAL + FROM_EVENT], words[_RESIDUAL + PEAK] = residual_from, residual_peak
    words[_CALIBRATION + FROM_EVENT], words[_CALIBRATION + PEAK] = calibration_from, calibration_peak
    words[_BASELINE + FROM_EVENT], words[_BASELINE + PEAK] = baseline_from, baseline_peak


@njit(cache=True, nogil=True, _nrt=False)
def alarm(detector, statistic, event, time, window, words) -> float:
    """Note an alarm; gives the event after which the test begins anew."""
    at = DETECTORS + detector * EACH
    words[at + ALARMS] += 1.0
    words[at + AT_EVENT] = event
    words[at + AT_TIME] = np.float64(time)
    words[at + AT_STATISTIC] = statistic
    return float(event + window)


@njit(cache=True, nogil=True, error_model="numpy")
def pivot(words) -> None:
    """Take the odds of the base rate as they are now; once a window, for it moves slowly and takes a division."""
    rate = min(max(words[RATE], 1e-6), 1.0 - 1e-6)
    words[ODDS] = (1.0 - rate) / rate
