"""Where everything that is watched of a shard stands: one array of numbers, so that it is copied and digested as one.

All sums are over events whose weight is not 0. A detector's statistics stand at `DETECTORS + number * EACH`.

numba keeps these numbers inside cached kernels: after a change, remove `worker/quality/__pycache__`.
"""

from typing import Final

RESIDUAL, CALIBRATION, BASELINE, SCORES, LABELS = range(5)
NAMES: Final = ("residual", "calibration", "baseline", "scores", "labels")  # of the detectors, by their numbers

EVENTS = 0  # seen
IN_WINDOW = 1  # of them, in the window that is open
WINDOWS = 2  # closed

# The null: how the learner's scores are to be corrected so that they were right over the last million events or so.
NULL_EVENTS, SHIFT, SLOPE, CENTRE, CURVATURE, SPREAD, RATE, ODDS, CONSTANT, FACTOR = range(3, 13)
LOSS_EVENTS, LOSS_MEAN = 13, 14  # the slow baseline of the loss
PER_CURVATURE, PER_SPREAD, PER_MEAN = 18, 19, 20  # one over each, as the last 64th event left it
LABEL_EVENTS, LABEL_MEAN, LABEL_VARIANCE = 15, 16, 17  # of squared loss: what scores and labels are measured by

DETECTORS = 21
ALARMS, AT_EVENT, AT_TIME, AT_STATISTIC, FROM_EVENT, PEAK, LAST_PEAK = range(7)  # of a detector
EACH = 7

TILTS, SHIFTS, BETS = 6, 6, 4  # alternatives of the three sequential tests
ODDS_RATIOS = DETECTORS + len(NAMES) * EACH  # the Shiryaev-Roberts statistics [TILTS + SHIFTS] of odds ratios
BET = ODDS_RATIOS + TILTS + SHIFTS  # and those of bets

# The window that is open.
WEIGHT, LOSS, LABEL, SCORE = range(BET + BETS, BET + BETS + 4)
BINS = 256  # of the logit, from -8 to 8
NEGATIVES = SCORE + 1  # weight of negatives and of positives by bin
POSITIVES = NEGATIVES + BINS
SCORE_BINS, LABEL_BINS = 32, 20
SCORE_SUMS = POSITIVES + BINS  # by bin of scores, that is, of 8 bins of the logit
LABEL_COUNTS = SCORE_SUMS + SCORE_BINS

# What windows are held against: the shares of their slow mean.
REFERENCES = LABEL_COUNTS + LABEL_BINS  # how many windows of scores, and of labels, it is made of
SCORE_SHARES = REFERENCES + 2
LABEL_SHARES = SCORE_SHARES + SCORE_BINS

# Of the last window that was closed.
LAST = LABEL_SHARES + LABEL_BINS
LAST_LOSS, LAST_BASELINE, LAST_ENTROPY, LAST_CALIBRATION, LAST_CALIBRATION_ERROR, LAST_AUC, LAST_AUC_ERROR = range(
    LAST, LAST + 7
)
SIZE = LAST + 7
