"""Events as a learner gets them, written by hand or drawn."""

from collections.abc import Callable

import numpy as np

from worker.model.batch import Batch, Entries
from worker.model.learner import Learner

Event = list[list[tuple[int, float]]]  # by field: (key, multiplier); an empty field is missing


def entries_of(events: list[Event]) -> Entries:
    flat = [entry for event in events for place in event for entry in place]
    lengths = [len(place) for event in events for place in event]
    return Entries(
        fields=len(events[0]),
        keys=np.array([key for key, _ in flat], np.uint64),
        values=np.array([x for _, x in flat], np.float32),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def batch_of(events: list[Event], labels, weights=None, times=None) -> Batch:
    n = len(events)
    return Batch(
        entries=entries_of(events),
        labels=np.array(labels, np.float32),
        weights=np.ones(n, np.float32) if weights is None else np.array(weights, np.float32),
        times=np.arange(n) if times is None else np.array(times, np.int64),
    )


def learned_in_parts(
    model: Learner, events: list[Event], labels, sizes: list[int], settle: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Learn events in batches of these sizes, with a commit after each odd one; gives the predictions of all."""
    predictions, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        scores = model.learn(batch_of(events[part], labels[part], times=range(start, start + size)))
        predictions.append(scores.predictions)
        start += size
        if size % 2:
            model.digest()
            settle()
    return np.concatenate(predictions)


def stream(n: int, seed: int = 0, *, fields: int = 4, missing: bool = True) -> tuple[list[Event], np.ndarray]:
    """Events with a bias, single categories, a number and a list, some of them missing; keys differ by field."""
    rng = np.random.default_rng(seed)
    events = []
    for _ in range(n):
        event: Event = [[(1, 1.0)]]
        for i in range(1, fields):
            if missing and rng.random() < 0.2:
                event.append([])
            elif i == 2:
                event.append([(200, float(np.float32(rng.normal())))])
            elif i == 3:
                some = rng.choice(6, size=rng.integers(1, 4), replace=False)
                event.append([(300 + int(value), float(np.float32(1 / len(some)))) for value in some])
            else:
                event.append([(100 * i + int(rng.integers(5)), 1.0)])
        events.append(event)
    return events, rng.integers(0, 2, n).astype(np.float32)
