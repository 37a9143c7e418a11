"""The stream on which merging is measured: users, items and contexts with a planted logit.

Smaller than what `headrace simulate` sends (one context of 60 values, no fields that no model reads), so that a model
with the same three features can know all that there is to know.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tests.bench.lockstep import Stream

EVENTS, USERS, ITEMS, CONTEXTS, DIMENSIONS = 2_000_000, 200_000, 20_000, 60, 8
FEATURES = ("user", "item", "context")
_START = 1_735_689_600_000  # 2025-01-01
_EVENT = b'{"user":"u%d","item":"i%d","context":"c%d","label":%d,"time":%d}'


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Events in their order, as columns [n]."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    context: NDArray[np.int64]
    label: NDArray[np.int64]

    def stream(self) -> Stream:
        """Write them as JSON, with their users as keys, a millisecond of event time apart."""
        columns = (self.user, self.item, self.context, self.label, _START + np.arange(len(self.user)))
        return Stream(
            keys=pa.array([f"u{user}" for user in self.user.tolist()]),
            values=[_EVENT % event for event in zip(*(column.tolist() for column in columns), strict=True)],
        )


def draw(events: int = EVENTS, *, drift: bool = False, seed: int = 1) -> Drawn:
    """Draw events; with a drift, three in ten items get another bias at half time."""
    rng = np.random.default_rng(seed)
    user, item = _zipf(rng, events, USERS, 0.8), _zipf(rng, events, ITEMS, 1.0)
    context = rng.integers(0, CONTEXTS, events)
    of_user, of_item, of_context = rng.normal(0, 0.6, USERS), rng.normal(0, 0.8, ITEMS), rng.normal(0, 0.3, CONTEXTS)
    factors = rng.normal(0, 0.45, (USERS, DIMENSIONS)), rng.normal(0, 0.45, (ITEMS, DIMENSIONS))
    after = of_item.copy()
    if drift:
        moved = rng.permutation(ITEMS)[: ITEMS * 3 // 10]
        after[moved] = rng.normal(0, 0.8, len(moved))
    late = np.arange(events) >= events // 2
    logit = -1.8 + of_user[user] + np.where(late, after[item], of_item[item]) + of_context[context]
    logit += (factors[0][user] * factors[1][item]).sum(axis=1)
    label = rng.random(events) < 1 / (1 + np.exp(-logit))
    return Drawn(user=user, item=item, context=context, label=label.astype(np.int64))


def _zipf(rng: np.random.Generator, events: int, count: int, exponent: float) -> NDArray[np.int64]:
    weights = 1 / np.arange(1, count + 1) ** exponent
    return rng.choice(count, events, p=weights / weights.sum())
