"""Compiling every kernel before it is needed: numba takes seconds at first use, and keeps what it made in a cache."""

import numpy as np

from worker.config import Feature, Learning
from worker.pipeline import Pipeline
from worker.snapshot.state import ShardState

_EVENT = b'{"user": "u", "item": "i", "label": 1, "time": 1700000000000, "price": 1.5, "tags": ["a", "b"]}'
_EVERY_KIND = Learning(
    features={
        "user": Feature(),
        "item": Feature(),
        "price": Feature(kind="numeric", transform="log"),
        "price_band": Feature(kind="numeric", field="price", transform="buckets", edges=(1.0, 2.0)),
        "tags": Feature(kind="multi"),
        "user_x_item": Feature(kind="cross", of=("user", "item")),
    }
)


def compile_all(learning: Learning = _EVERY_KIND) -> None:
    """Run one event through all that a worker and a follower do."""
    state = ShardState.fresh(0, learning)
    Pipeline(learning).learn(state, [_EVENT], np.array([1_700_000_000_000]), 1)
    every = ShardState.fresh(0, _EVERY_KIND)
    Pipeline(_EVERY_KIND).learn(every, [_EVENT] * 2, np.array([1_700_000_000_000] * 2), 2)
    every.model.table.put(every.model.table.touched())
    every.digest()


if __name__ == "__main__":
    compile_all()
