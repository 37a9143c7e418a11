"""Quix Streams as the consumer of the real topic, its JSON decoder, and River's FTRL-Proximal inside."""

import logging
import os
import tempfile
import time
import uuid

os.chdir(tempfile.mkdtemp())  # it keeps its state there

from job import categories, report, task  # noqa: E402
from quixstreams import Application  # noqa: E402
from river import linear_model, optim  # noqa: E402


def main() -> None:
    """Do the task."""
    it = task()
    logging.disable(logging.CRITICAL)
    model = linear_model.LogisticRegression(optim.FTRLProximal(**it.settings))
    labels, predictions, clock = [], [], [0.0, 0.0]

    def learn(event: dict) -> None:
        if not labels:
            clock[0] = time.perf_counter()
        x, y = dict.fromkeys(categories(event, it.fields), 1.0), bool(event["label"])
        predictions.append(model.predict_proba_one(x)[True])
        model.learn_one(x, y)
        labels.append(y)
        clock[1] = time.perf_counter()

    application = Application(
        broker_address=it.bootstrap_servers,
        consumer_group=f"quix-{uuid.uuid4().hex[:8]}",
        auto_offset_reset="earliest",
        loglevel="CRITICAL",
    )
    frame = application.dataframe(application.topic(it.topic, value_deserializer="json"))
    frame.update(learn)
    application.run(count=it.limit, timeout=60)
    report(clock[1] - clock[0], labels, predictions)


main()
