"""Why an event is scored as it is: shares of the logit, the rows behind them, and who moved these last."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import sqrt
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from worker.events.spelling import spell
from worker.follow.moved import Moved, moved_of
from worker.learning import Learning
from worker.model.arithmetic import sigmoid
from worker.model.batch import SHARED, Entries
from worker.model.explain import explain
from worker.model.forgetting import NEVER
from worker.model.learner import Scores
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION

_BIAS: Final = "bias"
_NINETY_PERCENT: Final = 1.6448536269514722  # standard deviations around the mean of a normal distribution


@dataclass(frozen=True, kw_only=True)
class Behind:
    """What stands behind the score of one event, copied while nothing else moved it."""

    version: int  # of the shard; 0 before the first
    entries: Entries  # the event as it was scored: its numbers on the shard's scale, rare values as such
    rare: NDArray[np.bool_]  # [entries] which stand for a value that has no row yet, because it was seen too seldom
    scores: Scores
    parameters: NDArray[np.float32]  # [entries, 3 + K] of each entry's row
    seen: NDArray[np.int64]  # [entries]
    marks: NDArray[np.int64]  # [entries], see `moved`
    pair_means: NDArray[np.float32]  # [F, F]
    pair_precisions: NDArray[np.float32]  # [F, F]
    pairs: NDArray[np.bool_]  # [F, F] which of them take part


@dataclass(frozen=True, kw_only=True)
class Row:
    """The parameters of one feature value that an event has."""

    feature: str
    value: str  # as in the event; empty for the bias
    key: str  # 16 hexadecimal digits
    # Whether the value was seen too seldom to have a row (`admit_after`): this is the one of all such values of the
    # feature. Where an event has several of them, the first has the sum of their multipliers, the others have 0.
    rare: bool = False
    scope: str  # "local": learned by one shard; "shared": by all
    multiplier: float  # x: 1 for a category; a number as it enters, transformed and scaled
    weight: float
    weight_deviation: float  # standard deviation
    # Precision beyond that of the prior: what the events have told. An event adds its h x^2 to the weight's, where h is
    # p (1 - p), a quarter at most, or 1 / noise variance; so for logistic loss 4 times as many events, or more.
    weight_information: float
    factor_precision: float  # of each of the row's factors
    factor_information: float
    seen: str | None  # event time of the last update, ISO 8601, UTC; None where there was none: the prior counts
    moved: Moved | None  # by which version last; None where it never was


@dataclass(frozen=True, kw_only=True)
class FieldShare:
    """What a field's weights add to the logit: the sum over its values."""

    field: str
    share: float
    deviation: float  # standard deviation
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class PairShare:
    """What two fields together add to the logit: the weight of the pair, times how well their factors agree."""

    left: str
    right: str
    share: float
    deviation: float  # standard deviation, to first order, by all parameters that the pair uses
    weight: float  # r
    weight_deviation: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One score, explained. Fields and pairs come with the largest absolute share first.

    `logit` is the sum of all shares. `variance` is the sum of the squares of all deviations, and `covariance`: pairs
    that have a field in common move with the same factors, so their variances alone do not add up
    (`worker.model.explain` has the formulas). A linear kind of model knows no deviations: they are NaN, as are the
    variance, the interval and what rows have been told.
    """

    shard: int
    version: int  # of that shard; 0 where it has none yet
    loss: str  # "logistic" or "squared"
    probability: float  # of a positive label, as `Follower.score` gives it; the value itself for squared loss
    low: float  # of the interval that holds the probability (before noise: the value) with 90 %, as the model sees it
    high: float
    logit: float  # f; the value itself for squared loss
    variance: float  # posterior variance of f, as `Follower.score` gives it
    covariance: float
    base: float  # the share of the bias, which is among the fields too
    fields: tuple[FieldShare, ...]  # those that the event has
    pairs: tuple[PairShare, ...]  # of fields that it has, as far as they take part
    missing: tuple[str, ...]  # features that the event does not have: they add nothing
    unseen: tuple[str, ...]  # features with a value that was never learned from: its prior counts

    @property
    def rows(self) -> tuple[Row, ...]:
        """Give all rows, in the order of the fields."""
        return tuple(row for field in self.fields for row in field.rows)


def explanation_of(learning: Learning, table: pa.Table, shard: int, behind: Behind) -> Explanation:
    """Explain the score of one event.

    Args:
        learning: how the model is learned.
        table: the event, one row as decoded.
        shard: whose event it is.
        behind: what the score was made of.
    """
    names = (_BIAS, *learning.features)
    if learning.model.kind != "gaussian":
        behind = replace(behind, parameters=_without_precisions(behind.parameters))
    shares = explain(behind.entries, behind.parameters, behind.pair_means, behind.pair_precisions, behind.pairs)
    rows = _rows(learning, names, spell(learning, table), behind)
    fields = [
        FieldShare(field=name, share=float(share), deviation=sqrt(variance), rows=of_field)
        for name, share, variance, of_field in zip(names, shares.fields, shares.field_variances, rows, strict=True)
        if of_field
    ]
    pairs = [
        PairShare(
            left=names[i], right=names[j], share=float(share), deviation=sqrt(variance),
            weight=float(behind.pair_means[i, j]), weight_deviation=float(behind.pair_precisions[i, j]) ** -0.5,
        )
        for (i, j), share, variance in zip(shares.pairs, shares.pair_shares, shares.pair_variances, strict=True)
    ]  # fmt: skip
    spread = _NINETY_PERCENT * sqrt(behind.scores.variances[0])
    logistic = learning.model.loss == "logistic"
    low, high = (sigmoid(end) if logistic else end for end in (shares.logit - spread, shares.logit + spread))
    return Explanation(
        shard=shard, version=behind.version, loss=learning.model.loss,
        probability=float(behind.scores.predictions[0]), low=low, high=high,
        logit=shares.logit, variance=float(behind.scores.variances[0]), covariance=shares.covariance,
        base=float(shares.fields[0]),
        fields=tuple(sorted(fields, key=lambda field: -abs(field.share))),
        pairs=tuple(sorted(pairs, key=lambda pair: -abs(pair.share))),
        missing=tuple(name for name, of_field in zip(names, rows, strict=True) if not of_field),
        unseen=tuple(
            name for name, of_field in zip(names, rows, strict=True) if any(row.seen is None for row in of_field)
        ),
    )  # fmt: skip


def _without_precisions(parameters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give rows of a linear kind as rows of a Gaussian without factors, of which nothing but the weight is known."""
    rows = np.full((len(parameters), FACTORS), np.nan, np.float32)
    rows[:, WEIGHT] = parameters[:, WEIGHT]
    return rows


def _rows(learning: Learning, names: tuple[str, ...], spelt: list[list[str]], behind: Behind) -> list[tuple[Row, ...]]:
    """Give the rows of each field."""
    prior, entries = learning.model, behind.entries
    found: list[tuple[Row, ...]] = []
    for field, (name, values) in enumerate(zip(names, spelt, strict=True)):
        some = range(entries.starts[field], entries.starts[field + 1])
        found.append(
            tuple(
                Row(
                    feature=name, value=value,
                    key=f"{entries.keys[at]:016x}", scope="shared" if entries.keys[at] & SHARED else "local",
                    rare=bool(behind.rare[at]),
                    multiplier=float(entries.values[at]),
                    weight=float(row[WEIGHT]), weight_deviation=float(row[WEIGHT_PRECISION]) ** -0.5,
                    weight_information=float(row[WEIGHT_PRECISION]) - prior.prior_weight_precision,
                    factor_precision=float(row[FACTOR_PRECISION]),
                    factor_information=float(row[FACTOR_PRECISION]) - prior.prior_factor_precision,
                    seen=_as_text(behind.seen[at]), moved=moved_of(int(behind.marks[at])),
                )
                for at, value, row in zip(some, values, behind.parameters[some.start : some.stop], strict=True)
            )
        )  # fmt: skip
    return found


def _as_text(seen: np.int64) -> str | None:
    if seen == NEVER:
        return None
    return datetime.fromtimestamp(int(seen) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
