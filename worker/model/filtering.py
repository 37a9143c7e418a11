"""The kernel of the Gaussian: events are scored, and learned, one after the other (the equations are in `gaussian`).

The pairs of fields that take part come as a list, by rising field numbers. Where they are many, the pairs of an event
are taken all at once (`products`); else one after the other, and the factors of a field that is in none of them are
left alone. Both ways do the same additions in the same order, so not a bit depends on the way.

Some events are sampled where only some pairs take part: they are predicted by these, and learned with all pairs. What
each pair then adds to the logit is summed up, in nats, for whoever decides which pairs take part (`pairs`).
"""

import numpy as np
from numba import njit

from worker.model.arithmetic import log, sigmoid
from worker.model.forgetting import NEVER, advance, fade_pairs, fade_row, left, tick_of
from worker.model.labels import evidence as evidence_of
from worker.model.lanes import LANES, load, spread, store, total
from worker.model.prefetch import prefetch
from worker.model.products import (
    gather_pairs,
    hide_pairs,
    move_pairs,
    pack_pairs,
    pack_sums,
    place,
    scatter_pairs,
    score_pairs,
    swap_pairs,
    unpack_pairs,
    unpack_sums,
    witness,
)
from worker.model.rows import FACTOR_PRECISION, FACTORS, WEIGHT, WEIGHT_PRECISION

# Beyond these the arithmetic of single precision would overflow: the event is scored, and not learned.
_LARGEST_LOGIT = np.float32(1e6)
_LARGEST_VARIANCE = np.float32(1e12)
_LARGEST_PRECISION = np.float32(1e30)
# How far past 0 an event that was predicted all wrong moves its logit. Where p is nearly 0 or 1, h vanishes, and a step
# of g alone is as long as the variance: with many numbers it goes so far to the other side that the next is longer yet.
# A logit of 16 is as sure as single precision tells, and no event of the streams of `make bench` has ever come so far.
_FURTHEST = np.float32(16)
LEAST_FIELDS = 10  # with fewer, pairs are taken one by one: lanes would mostly be empty. Measured; no bit depends on it
FEW_OF = 3  # where less than one in so many pairs takes part, they are taken one by one. Measured
_AHEAD = 2  # events whose rows are asked for before they are needed: a batch has more rows than a cache holds
_SURE = np.float64(1e-7)  # no probability counts as nearer to 0 or 1, so that its loss is finite

# What `evidence` begins with: the sums, over sampled events, of their weights; of losses by the pairs that take part;
# of what these, but for those with the bias, have saved of the loss, and of the squares of that; of what leaving the
# others out has cost, and of its squares. Then come, for every pair in the order of the upper triangle, with its share
# c of the logit, the sums of -g c and of h c^2 / 2.
WEIGHTS, LOSSES, SAVINGS, SAVINGS_SQUARED, COSTS, COSTS_SQUARED, HEAD = range(7)


@njit(cache=True, nogil=True)
def _loss(f, label, logistic, noise_precision, flips, kept):
    """Give the negative log likelihood of a label (see `labels`), for squared loss up to a constant."""
    y = np.float64(label)
    if not logistic:
        return 0.5 * np.float64(noise_precision) * (np.float64(f) - y) * (np.float64(f) - y)
    q = flips + (1.0 - 2.0 * flips) * sigmoid(np.float64(f))
    p = min(max(q / (q + kept * (1.0 - q)), _SURE), 1.0 - _SURE)
    return -(y * log(p) + (1.0 - y) * log(1.0 - p))


@njit(cache=True, nogil=True)
def filter_events(
    F, rows, values, starts, labels, weights, times, learn,
    parameters, seen, pair_means, pair_precisions, lefts, rights, least_fields, few_of, sampled, evidence,
    keys, as_of, clock, tick_ms, pairs_as_of,
    seed, init_deviation, weight_precision, factor_precision, pair_precision,
    logistic, noise_precision, flips, kept, predictions, variances,
) -> int:  # fmt: skip
    """Score, and if asked learn, events one after the other. Gives the number too unstable to learn from."""
    zero, one = np.float32(0), np.float32(1)
    zeros = spread(zero)
    C = parameters.shape[1]
    K = C - FACTORS
    pairs = len(lefts) if K > 0 else 0
    whole_row = K // LANES * LANES
    padded = (K + LANES - 1) // LANES * LANES
    blocks = (F + LANES - 1) // LANES
    width = blocks * LANES
    size = width * width
    listed = K == 0 or least_fields > F or pairs * few_of < F * (F - 1) // 2
    e = np.zeros(width * padded, np.float32)  # by number among the fields present: the sum of its vectors
    d = np.zeros(width * padded, np.float32)  # df/de_i = sum_j r_ij e_j
    dd = np.zeros(width, np.float32)  # |d_i|^2
    present = np.zeros(F, np.int64)  # the fields that the event has
    number = np.zeros(F, np.int64)  # of a field among them; -1 where the event does not have it
    used = np.zeros(F, np.bool_)  # fields that are in some pair
    places, dots = np.zeros(pairs, np.int64), np.zeros(pairs, np.float32)
    for q in range(pairs):
        used[lefts[q]] = used[rights[q]] = True
        places[q] = place(lefts[q], rights[q], blocks)
    # Weights of all fields, then, where an event lacks some, of those that it has.
    means, precisions = np.zeros(2 * size, np.float32), np.ones(2 * size, np.float32)
    columns, products = np.zeros(F, np.int64), np.zeros(size, np.float32)
    turned, scratch = np.zeros(width * padded, np.float32), np.zeros(2 * width, np.float32)
    signs = np.zeros(size if len(sampled) else 0, np.float32)  # the pairs' two sums of the evidence
    sizes = np.zeros(size if len(sampled) else 0, np.float32)
    pack_pairs(pair_means, pair_precisions, blocks, means, precisions)
    if len(sampled):
        pack_sums(evidence, HEAD, F, blocks, signs, sizes)
    # Taken all at once, the pairs that take no part weigh surely nothing; what they would weigh is kept here.
    hidden, hidden_means, hidden_precisions = hide_pairs(F, blocks, places, means, precisions, not listed)
    unstable = next_sampled = 0
    parameters_at = parameters.ctypes.data
    tick = tick_of(clock[0], tick_ms)
    for n in range(len(predictions)):
        if learn and tick_ms:
            advance(clock, times[n])
            tick = tick_of(clock[0], tick_ms)
            if tick > pairs_as_of:
                if pairs_as_of != NEVER:
                    swap_pairs(hidden, hidden_means, hidden_precisions, means, precisions)
                    unpack_pairs(pair_means, pair_precisions, blocks, means, precisions)
                    fade_pairs(pair_means, pair_precisions, left(tick - pairs_as_of), pair_precision)
                    pack_pairs(pair_means, pair_precisions, blocks, means, precisions)
                    swap_pairs(hidden, hidden_means, hidden_precisions, means, precisions)
                pairs_as_of = tick
            for a in range(starts[n * F], starts[(n + 1) * F]):
                row = rows[a]
                if as_of[row] < tick:
                    if as_of[row] != NEVER:
                        share = left(tick - as_of[row])
                        fade_row(
                            parameters[row], keys[row], share,
                            seed, init_deviation, weight_precision, factor_precision,
                        )  # fmt: skip
                    as_of[row] = tick
        if n + _AHEAD < len(predictions):
            for a in range(starts[(n + _AHEAD) * F], starts[(n + _AHEAD + 1) * F]):
                address = parameters_at + np.int64(rows[a]) * C * 4
                prefetch(address)
                prefetch(address + C * 4 - 4)
        full = K > 0 and next_sampled < len(sampled) and sampled[next_sampled] == n
        # f and its variance, from the weights
        f_weights = variance_weights = zero
        active = 0
        for i in range(F):
            lo, hi = starts[n * F + i], starts[n * F + i + 1]
            if lo == hi:
                number[i] = -1
                continue  # missing is not zero: the field takes no part
            present[active] = i
            number[i] = active
            at = active * padded
            active += 1
            for k in range(0, padded, LANES):
                store(e, at + k, zeros)
            for a in range(lo, hi):
                row, x = np.int64(rows[a]), values[a]
                f_weights += x * parameters[row, WEIGHT]
                variance_weights += x * x / parameters[row, WEIGHT_PRECISION]
                if used[i] or full:
                    xs, first = spread(x), row * C + FACTORS
                    for k in range(0, whole_row, LANES):
                        store(e, at + k, load(e, at + k) + xs * load(parameters, first + k))
                    for k in range(whole_row, K):
                        e[at + k] += x * parameters[row, FACTORS + k]
        # from the pairs: those that take part; of a sampled event then once more all of them
        some, compact = (active + LANES - 1) // LANES, size if active < F else 0
        f_of_set = f = variance = zero
        at_once = not listed
        for again in range(2 if full and (listed or pairs < F * (F - 1) // 2) else 1):
            if again:
                at_once = True
                swap_pairs(hidden, hidden_means, hidden_precisions, means, precisions)
            f, variance = f_weights, variance_weights
            if at_once:
                if compact:
                    gather_pairs(active, present, blocks, columns, means, precisions, size)
                f, variance = score_pairs(
                    active, some, padded, e, d, turned, means, precisions, compact, products, scratch, f, variance
                )
            elif pairs:
                for s in range(0, active * padded, LANES):
                    store(d, s, zeros)
                for q in range(pairs):
                    i, j = lefts[q], rights[q]
                    s, t = number[i] * padded, number[j] * padded
                    if s < 0 or t < 0:
                        continue
                    r = means[places[q]]
                    rs, sums = spread(r), zeros
                    for k in range(0, padded, LANES):
                        es, et = load(e, s + k), load(e, t + k)
                        sums = sums + es * et
                        store(d, s + k, load(d, s + k) + rs * et)
                        store(d, t + k, load(d, t + k) + rs * es)
                    dot = total(sums)
                    dots[q] = dot
                    f += r * dot
                    variance += dot * dot / precisions[places[q]]
            if pairs or at_once:
                for s in range(active):
                    i = present[s]
                    if used[i] or at_once:
                        sums = zeros
                        for k in range(0, padded, LANES):
                            ds = load(d, s * padded + k)
                            sums = sums + ds * ds
                        dd[s] = total(sums)
                        for a in range(starts[n * F + i], starts[n * F + i + 1]):
                            x = values[a]
                            variance += x * x * dd[s] / parameters[rows[a], FACTOR_PRECISION]
            if not again:
                f_of_set = f
                predictions[n] = np.float32(sigmoid(np.float64(f))) if logistic else f
                variances[n] = variance
        if full:
            next_sampled += 1
        if not learn:
            continue
        p = np.float32(sigmoid(np.float64(f))) if logistic else f
        weight = weights[n]
        if logistic:
            g, h = evidence_of(p, labels[n], flips, kept)
            g, h = weight * g, weight * h
        else:
            h = weight * noise_precision
            g = h * (p - labels[n])
        step = g / (one + h * variance)
        # Not a number fails all. No mean moves by more than |step| sqrt(variance / precision), so none overflows.
        if not (abs(f) < _LARGEST_LOGIT and variance < _LARGEST_VARIANCE and abs(step) < _LARGEST_LOGIT):
            unstable += 1
            continue
        if weight == zero:
            continue
        if logistic and abs(step) * variance > abs(f) + _FURTHEST:
            step = np.copysign((abs(f) + _FURTHEST) / variance, step)
        for s in range(active):
            i = present[s]
            for a in range(starts[n * F + i], starts[n * F + i + 1]):
                row, x = np.int64(rows[a]), values[a]
                move, hxx = step * x, min(h * x * x, _LARGEST_PRECISION)  # times zero, infinity is not a number
                parameters[row, WEIGHT] -= move / parameters[row, WEIGHT_PRECISION]
                parameters[row, WEIGHT_PRECISION] = min(parameters[row, WEIGHT_PRECISION] + hxx, _LARGEST_PRECISION)
                if (pairs and used[i]) or at_once:
                    move /= parameters[row, FACTOR_PRECISION]
                    moves, first = spread(move), row * C + FACTORS
                    for k in range(0, whole_row, LANES):
                        store(parameters, first + k, load(parameters, first + k) - moves * load(d, s * padded + k))
                    for k in range(whole_row, K):
                        parameters[row, FACTORS + k] -= move * d[s * padded + k]
                    more = parameters[row, FACTOR_PRECISION] + hxx * dd[s] / np.float32(K)
                    parameters[row, FACTOR_PRECISION] = min(more, _LARGEST_PRECISION)
                seen[row] = max(seen[row], times[n])
        if full and at_once:
            label = labels[n]
            of_bias = witness(active, some, present, columns, blocks, means, compact, products, g, h, signs, sizes)
            loss = _loss(f_of_set, label, logistic, noise_precision, flips, kept)
            saved = weight * np.float32(
                _loss(f_weights + of_bias, label, logistic, noise_precision, flips, kept) - loss
            )
            cost = weight * np.float32(loss - _loss(f, label, logistic, noise_precision, flips, kept))
            evidence[WEIGHTS] += weight
            evidence[LOSSES] += weight * np.float32(loss)
            evidence[SAVINGS] += saved
            evidence[SAVINGS_SQUARED] += saved * saved
            evidence[COSTS] += cost
            evidence[COSTS_SQUARED] += cost * cost
        if at_once:
            move_pairs(active, some, means, precisions, compact, products, step, h, _LARGEST_PRECISION)
            if compact:
                scatter_pairs(active, present, blocks, columns, means, precisions, size)
            if again:
                swap_pairs(hidden, hidden_means, hidden_precisions, means, precisions)
        else:
            for q in range(pairs):
                i, j = lefts[q], rights[q]
                if number[i] >= 0 and number[j] >= 0:
                    dot, at = dots[q], places[q]
                    means[at] -= step * dot / precisions[at]
                    precisions[at] = min(precisions[at] + h * dot * dot, _LARGEST_PRECISION)
    if learn:
        swap_pairs(hidden, hidden_means, hidden_precisions, means, precisions)
        unpack_pairs(pair_means, pair_precisions, blocks, means, precisions)
        if len(sampled):
            unpack_sums(evidence, HEAD, F, blocks, signs, sizes)
    return unstable
