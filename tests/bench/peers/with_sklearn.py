"""scikit-learn: FeatureHasher and SGDClassifier.partial_fit, 1,000 events at a time; orjson decodes."""

import time

import numpy as np
import orjson
from job import categories, report, task
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import SGDClassifier

_BATCH = 1_000


def main() -> None:
    """Do the task."""
    it = task()
    hasher = FeatureHasher(2**20, input_type="string", alternate_sign=False)
    model = SGDClassifier(loss="log_loss", learning_rate="constant", random_state=1, **it.settings)
    lines, fields = it.lines(), it.fields
    labels, predictions = [], []
    began = time.perf_counter()
    for start in range(0, len(lines), _BATCH):
        events = [orjson.loads(line) for line in lines[start : start + _BATCH]]
        x = hasher.transform([categories(event, fields) for event in events])
        y = np.array([event["label"] for event in events])
        predictions.append(model.predict_proba(x)[:, 1] if start else np.full(len(y), 0.5))
        model.partial_fit(x, y, classes=[0, 1])
        labels.append(y)
    report(time.perf_counter() - began, np.concatenate(labels), np.concatenate(predictions))


main()
