"""Events of many fields, of which two have to be known together: on these pairs are dropped, and taken up again."""

import numpy as np

from worker.learning import Learning
from worker.model.batch import SHARED, Batch, Entries

FIELDS = 13  # the bias among them
VALUES = 12
TOGETHER, THEN = (1, 2), (3, 4)  # the fields that count, before and after the drift


def learning_of(**model: object) -> Learning:
    features = {f"f{number}": {} for number in range(1, FIELDS)}
    model = {"factors": 8, "merge": False, "pairs": "auto"} | model
    return Learning.model_validate({"events": {"partition_key": "f1"}, "features": features, "model": model})


def stream(n: int, drift: int | None = None, seed: int = 1) -> Batch:
    """Make n events, after some of which other fields count. Rows of the bias and of the first feature are local."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, VALUES, (n, FIELDS))
    tables = rng.choice([-2.0, 2.0], (2, VALUES, VALUES))
    later = np.arange(n) >= (n if drift is None else drift)
    logit = np.where(later, tables[1][drawn[:, 3], drawn[:, 4]], tables[0][drawn[:, 1], drawn[:, 2]])
    drawn[:, 0] = 0
    keys = (drawn + 1_000 * np.arange(1, FIELDS + 1)).astype(np.uint64)
    keys[:, 2:] |= SHARED
    return Batch(
        entries=Entries(
            fields=FIELDS, keys=keys.ravel(), values=np.ones(keys.size, np.float32),
            starts=np.arange(keys.size + 1, dtype=np.int64),
        ),
        labels=(rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float32),
        weights=np.ones(n, np.float32), times=np.arange(n, dtype=np.int64),
    )  # fmt: skip
