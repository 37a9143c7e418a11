"""The logit of one event, taken apart into what each field and each pair of fields adds to it.

    f = sum_i u_i + sum_{i<j} s_ij   with   u_i = sum_{a in i} x_a w_a   and   s_ij = r_ij <e_i, e_j>.

The variance of f is the sum of d^2 / precision over all parameters (see `gaussian`). Each part has its own by the same
first-order formula, over the parameters in it:

    var u_i  = sum_{a in i} x_a^2 / precision of w_a
    var s_ij = <e_i, e_j>^2 / precision of r_ij + r_ij^2 (|e_j|^2 V_i + |e_i|^2 V_j)
    V_i      = sum_{a in i} x_a^2 / precision of the factors of a

Weights are in one part only, factors in one for every other field: s_ij and s_ik both move with the factors of i, with
covariance r_ij r_ik <e_j, e_k> V_i. So the parts' variances do not add up to that of f; with twice the sum of these
covariances, which may be negative, they do.
"""

from dataclasses import dataclass
from itertools import combinations
from math import fsum

import numpy as np
from numpy.typing import NDArray

from worker.model.batch import Entries
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION


@dataclass(frozen=True, kw_only=True)
class Shares:
    """One event's logit in parts, in double precision; P pairs of fields that it has, none where K = 0."""

    logit: float  # the sum of all shares, correctly rounded
    variance: float  # of the logit: the sum of all variances, and the covariance
    covariance: float  # twice the sum of the covariances of pairs that share a field
    fields: NDArray[np.float64]  # [F] u_i, 0 where the field is missing
    field_variances: NDArray[np.float64]  # [F]
    pairs: list[tuple[int, int]]  # [P] numbers of the fields
    pair_shares: NDArray[np.float64]  # [P] s_ij
    pair_variances: NDArray[np.float64]  # [P]


def explain(
    entries: Entries,
    parameters: NDArray[np.float32],
    pair_means: NDArray[np.float32],
    pair_precisions: NDArray[np.float32],
    taking_part: NDArray[np.bool_] | None = None,
) -> Shares:
    """Take the logit of one event apart.

    Args:
        entries: of one event.
        parameters: [entries, 3 + K] of each entry's row.
        pair_means: [F, F] of which the upper triangle is used.
        pair_precisions: [F, F] likewise.
        taking_part: [F, F] likewise: which pairs of fields do; all unless given.
    """
    known, x = parameters.astype(np.float64), entries.values.astype(np.float64)
    of_field = [slice(*entries.starts[field : field + 2]) for field in range(entries.fields)]

    def by_field(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([values[some].sum(axis=0) for some in of_field])

    fields = by_field(x * known[:, WEIGHT])
    field_variances = by_field(x * x / known[:, WEIGHT_PRECISION])
    of_factors = by_field(x * x / known[:, FACTOR_PRECISION])  # V
    e = by_field(x[:, None] * known[:, FACTORS:])
    there = [field for field, some in enumerate(of_field) if some.stop > some.start]
    pairs = list(combinations(there, 2)) if known.shape[1] > FACTORS else []
    if taking_part is not None:
        pairs = [pair for pair in pairs if taking_part[pair]]

    dots, means, precisions = e @ e.T, pair_means.astype(np.float64), pair_precisions.astype(np.float64)
    i, j = np.array(pairs, np.intp).reshape(-1, 2).T
    shares = means[i, j] * dots[i, j]
    variances = dots[i, j] ** 2 / precisions[i, j] + means[i, j] ** 2 * (
        dots[j, j] * of_factors[i] + dots[i, i] * of_factors[j]
    )
    covariance = 0.0
    weights = np.zeros_like(means)
    weights[i, j] = weights[j, i] = means[i, j]
    for field in there if pairs else ():
        moves = (weights[field][:, None] * weights[field]) * dots  # r_ij r_ik <e_j, e_k>
        covariance += float(of_factors[field] * (moves.sum() - np.trace(moves)))
    return Shares(
        logit=fsum([*fields, *shares]),
        variance=fsum([*field_variances, *variances, covariance]),
        covariance=covariance,
        fields=fields, field_variances=field_variances,
        pairs=pairs, pair_shares=shares, pair_variances=variances,
    )  # fmt: skip
