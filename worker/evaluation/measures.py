"""What sums say: the values that are told of a run, of a window of it, and of a slice. None where there is no value."""

from math import isfinite

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from worker.quality import slices
from worker.quality.layout import SCORE_BINS
from worker.quality.progress import BINS, LABEL, LOGIT_LIMIT, LOSS, PREDICTION, WEIGHT, Progress

_A_SCORE_BIN = BINS // SCORE_BINS


class Part(BaseModel):
    """A part of a run log: immutable, closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measures(Part):
    """How well some events were predicted, before they were learned."""

    events: int
    weight: float = Field(description="their sum; an event of weight 0 is counted and not measured")
    loss: float | None = Field(description="mean log loss in nats, or mean half squared error")
    base_rate: float | None = Field(description="mean label")
    mean_score: float | None
    squared_error: float | None = Field(description="mean; of probabilities, the Brier score")
    # Of the logistic loss:
    baseline: float | None = Field(None, description="log loss of always predicting the base rate of these very events")
    normalized_entropy: float | None = Field(
        None, description="loss over baseline: below 1 is better than the base rate alone"
    )
    calibration: float | None = Field(None, description="sum of scores over sum of labels: 1 is calibrated")
    calibration_error: float | None = Field(
        None, description="expected calibration error: mean distance of score and label over bins"
    )
    auc: float | None = None
    auc_error: float | None = Field(None, description="a bound: the exact area is within so much of `auc`")


class Window(Measures):
    """The same of a window of event time."""

    begin: int = Field(description="milliseconds since 1970")
    end: int = Field(description="where the next one begins")


class Slice(Part):
    """The same of the events whose field has this value; `other` stands for all values that were not configured."""

    field: str
    value: str
    weight: float
    loss: float | None
    base_rate: float | None
    mean_score: float | None
    baseline: float | None = None
    normalized_entropy: float | None = None
    calibration: float | None = None


class Bin(Part):
    """Events whose score lies in a bin: how often was the label positive that was said to be so likely?"""

    low: float
    high: float
    weight: float
    score: float = Field(description="mean")
    label: float = Field(description="mean")


class Mark(Part):
    """An alarm of a drift detector."""

    time: int = Field(description="event time, milliseconds since 1970")
    shard: int
    signal: str = Field(description="the detector, see `worker.quality.layout.NAMES`")
    event: int = Field(description="its number in the shard, from 1, among those whose weight is not 0")
    size: float = Field(description="the statistic that alarmed")
    threshold: float = Field(description="where it alarms")
    alarms: int = Field(
        1, description="that this one stands for: of several of a detector in one batch only the last is known"
    )

    @property
    def order(self) -> tuple[int, int, str, int]:
        """What to sort by: the same order, whichever shard was looked at first."""
        return self.time, self.shard, self.signal, self.event


def measures(progress: Progress, scores: NDArray[np.float64] | None = None) -> Measures:
    """Tell of sums; `scores` [SCORE_BINS] are the weighted sums of predictions by bins of them."""
    of_logistic = {}
    if progress.logistic:
        of_logistic = {
            "baseline": _known(progress.constant_loss),
            "normalized_entropy": _known(progress.normalized_entropy),
            "calibration": _known(progress.calibration),
            "calibration_error": None if scores is None else _known(calibration_error(progress, scores)),
            "auc": _known(progress.auc),
            "auc_error": _known(progress.auc_error),
        }
    return Measures(
        events=progress.events,
        weight=float(progress.sums[WEIGHT]),
        loss=_known(progress.loss),
        base_rate=_known(progress.base_rate),
        mean_score=_known(progress.mean_prediction),
        squared_error=_known(progress.squared_error),
        **of_logistic,
    )


def slice_measures(field: str, value: str, sums: NDArray[np.float64], *, logistic: bool) -> Slice:
    """Tell of a slice's sums [4], as `worker.quality.slices` has them."""
    progress = Progress(logistic=logistic)
    columns = [slices.LOSS, slices.WEIGHT, slices.LABEL, slices.SCORE]
    progress.sums[[LOSS, WEIGHT, LABEL, PREDICTION]] = sums[columns]
    told = measures(progress).model_dump(include=set(Slice.model_fields))
    return Slice(field=field, value=value, **told)


def calibration_error(progress: Progress, scores: NDArray[np.float64]) -> float:
    """Give the expected calibration error over bins of scores; `scores` [SCORE_BINS] as above."""
    weight = progress.sums[WEIGHT]
    return float(np.abs(scores - _by_score(progress.histogram[1])).sum() / weight) if weight else float("nan")


def reliability(progress: Progress, scores: NDArray[np.float64]) -> list[Bin]:
    """Give the bins of scores that have events, rising."""
    positive = _by_score(progress.histogram[1])
    weight = _by_score(progress.histogram[0]) + positive
    edges = 1 / (1 + np.exp(-np.linspace(-LOGIT_LIMIT, LOGIT_LIMIT, SCORE_BINS + 1)))
    edges[0], edges[-1] = 0.0, 1.0  # what lies beyond is in the outermost
    return [
        Bin(
            low=float(edges[place]), high=float(edges[place + 1]), weight=float(weight[place]),
            score=float(scores[place] / weight[place]), label=float(positive[place] / weight[place]),
        )
        for place in np.flatnonzero(weight)
    ]  # fmt: skip


def window(begin: int, width: int, progress: Progress, scores: NDArray[np.float64]) -> Window:
    """Tell of a window."""
    return Window(begin=begin, end=begin + width, **measures(progress, scores).model_dump())


def _by_score(histogram: NDArray[np.float64]) -> NDArray[np.float64]:
    added: NDArray[np.float64] = histogram.reshape(SCORE_BINS, _A_SCORE_BIN).sum(axis=1)
    return added


def _known(value: float) -> float | None:
    return float(value) if isfinite(value) else None
