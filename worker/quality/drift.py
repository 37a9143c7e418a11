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
it finds a change of 30 % of the items some 10 times as fast as around 0, where it competes with a shift.

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

import math
from typing import Final

import numpy as np
from numba import njit

from worker.model.arithmetic import exp
from worker.quality.layout import (
    ALARMS,
    AT_EVENT,
    AT_STATISTIC,
    AT_TIME,
    BASELINE,
    BET,
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
    ODDS_RATIOS,
    PEAK,
    RATE,
    RESIDUAL,
    SHIFT,
    SHIFTS,
    SLOPE,
    SPREAD,
    TILTS,
)

SLOW = 15  # windows: 300,000 events by default. Longer, and a model that still learns leaves its own past behind
WARM = 2  # windows before the tests begin: a model that knows nothing learns fastest
# Of shifts of the logit b = -1, -0.3, -0.1, 0.1, 0.3, 1. Those of `residual` are 1/16, 1/8, 1/4, 1/2, 1, 2: roots.
LOWER: Final = (
    2.718281828459045,
    1.3498588075760032,
    1.1051709180756477,
    0.9048374180359595,
    0.7408182206817179,
    0.36787944117144233,
)  # e^-b of them, written down: the C library's may differ in the last bit
ETAS: Final = (0.02, 0.05, 0.12, 0.3)
_CUT = 16.0
_LIMIT = 16.0  # of a logit
_EVERY = 64.0  # events the correction is put in force: were it at each, no event could begin before the last had ended
_PI_EIGHTH = 0.39269908169872414
_LEAST = 1e-300
_LEAST_CURVATURE = 1e-6


@njit(cache=True, nogil=True, error_model="numpy")
def test(
    logits, losses, variances, labels, weights, times, logistic, offset, threshold, window, lower, etas, words
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
        lower: [SHIFTS] e^-b.
        etas: [BETS].
        words: laid out as `layout` says; they change.
    """
    s = np.empty(TILTS + SHIFTS)
    s[TILTS:] = lower
    ratios, bets = words[ODDS_RATIOS : ODDS_RATIOS + TILTS + SHIFTS].copy(), words[BET : BET + BETS].copy()
    slow, first = float(SLOW * window), float(window)
    # In variables of their own: numba would write each to memory for every event.
    events, null_events, loss_events, mean = words[EVENTS], words[NULL_EVENTS], words[LOSS_EVENTS], words[LOSS_MEAN]
    shift, slope, centre, rate_of_labels = words[SHIFT], words[SLOPE], words[CENTRE], words[RATE]
    curvature, spread, of_base = words[CURVATURE], words[SPREAD], words[ODDS]
    constant, factor = words[CONSTANT], words[FACTOR]
    begun = words[DETECTORS + FROM_EVENT : DETECTORS + (BASELINE + 1) * EACH : EACH].copy()
    peaks = words[DETECTORS + PEAK : DETECTORS + (BASELINE + 1) * EACH : EACH].copy()
    for n in range(len(logits)):
        if weights[n] == np.float32(0):
            continue
        events += 1.0
        if logistic:
            y = np.float64(labels[n])
            z = logits[n] + offset
            variance = np.float64(variances[n])
            if variance > 0.0:
                z /= math.sqrt(1.0 + _PI_EIGHTH * variance)
            odds = exp(min(max(constant + factor * z, -_LIMIT), _LIMIT))
            q = 1.0 / (1.0 + odds)
            p = odds * q
            odds *= of_base
            s[4] = odds
            s[3] = math.sqrt(odds)
            s[2] = math.sqrt(s[3])
            s[1] = math.sqrt(s[2])
            s[0] = math.sqrt(s[1])
            s[5] = odds * odds
            miss = 1.0 - y
            for i in range(TILTS + SHIFTS):
                ratios[i] = (1.0 + ratios[i]) * ((y + miss * s[i]) / (s[i] * q + p))
            of_tilts = of_shifts = 0.0
            for i in range(TILTS):
                of_tilts += ratios[i]
            for i in range(TILTS, TILTS + SHIFTS):
                of_shifts += ratios[i]
            of_tilts /= TILTS
            of_shifts /= SHIFTS
            if events <= begun[RESIDUAL]:
                ratios[:TILTS] = 0.0
            else:
                peaks[RESIDUAL] = max(peaks[RESIDUAL], of_tilts)
                if of_tilts >= threshold:
                    begun[RESIDUAL] = alarm(RESIDUAL, of_tilts, events, times[n], window, words)
                    ratios[:TILTS] = 0.0
                    null_events = min(null_events, first)
            if events <= begun[CALIBRATION]:
                ratios[TILTS:] = 0.0
            else:
                peaks[CALIBRATION] = max(peaks[CALIBRATION], of_shifts)
                if of_shifts >= threshold:
                    begun[CALIBRATION] = alarm(CALIBRATION, of_shifts, events, times[n], window, words)
                    ratios[TILTS:] = 0.0
                    null_events = min(null_events, first)
            # What is taken for right follows the label.
            null_events += 1.0
            rate = max(1.0 / (null_events + first), 1.0 / slow)
            centre += rate * (z - centre)
            away = z - centre
            h = p * q
            curvature += rate * (h - curvature)
            spread += rate * (h * away * away - spread)
            step = rate * (p - y)
            shift -= step / max(curvature, _LEAST_CURVATURE)
            slope -= step * away / max(spread, _LEAST_CURVATURE)
            rate_of_labels += rate * (y - rate_of_labels)
            if events % _EVERY == 0.0:
                constant, factor = shift - slope * centre, 1.0 + slope
        loss = losses[n]
        if loss_events > first:
            loss = min(loss, _CUT * mean)
        if mean > 0.0:
            excess = min(loss / mean, _CUT) - 1.0
            of_bets = 0.0
            for i in range(BETS):
                bets[i] = (1.0 + bets[i]) * (1.0 + etas[i] * excess)
                of_bets += bets[i]
            of_bets /= BETS
            if events <= begun[BASELINE]:
                bets[:] = 0.0
            else:
                peaks[BASELINE] = max(peaks[BASELINE], of_bets)
                if of_bets >= threshold:
                    begun[BASELINE] = alarm(BASELINE, of_bets, events, times[n], window, words)
                    bets[:] = 0.0
                    loss_events = min(loss_events, first)
        loss_events += 1.0
        mean = max(mean + max(1.0 / loss_events, 1.0 / slow) * (loss - mean), _LEAST)
    words[ODDS_RATIOS : ODDS_RATIOS + TILTS + SHIFTS] = ratios
    words[BET : BET + BETS] = bets
    words[EVENTS], words[NULL_EVENTS], words[LOSS_EVENTS], words[LOSS_MEAN] = events, null_events, loss_events, mean
    words[SHIFT], words[SLOPE], words[CENTRE], words[RATE] = shift, slope, centre, rate_of_labels
    words[CURVATURE], words[SPREAD], words[CONSTANT], words[FACTOR] = curvature, spread, constant, factor
    words[DETECTORS + FROM_EVENT : DETECTORS + (BASELINE + 1) * EACH : EACH] = begun
    words[DETECTORS + PEAK : DETECTORS + (BASELINE + 1) * EACH : EACH] = peaks


@njit(cache=True, nogil=True)
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
