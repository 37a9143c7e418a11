"""River, event by event: FTRL-Proximal on logistic loss, or a factorization machine with AdaGrad; orjson decodes."""

import time

import orjson
from job import categories, report, task
from river import facto, linear_model, optim


def main() -> None:
    """Do the task."""
    it = task()
    if it.learner == "ftrl":
        model = linear_model.LogisticRegression(optim.FTRLProximal(**it.settings))
    else:
        rate = it.settings["rate"]
        model = facto.FMClassifier(
            n_factors=8,
            weight_optimizer=optim.AdaGrad(rate),
            latent_optimizer=optim.AdaGrad(rate),
            latent_initializer=optim.initializers.Normal(sigma=0.05, seed=1),
            seed=1,
        )
    lines, fields = it.lines(), it.fields
    labels, predictions = [], []
    began = time.perf_counter()
    for line in lines:
        event = orjson.loads(line)
        x, y = dict.fromkeys(categories(event, fields), 1.0), bool(event["label"])
        predictions.append(model.predict_proba_one(x)[True])
        model.learn_one(x, y)
        labels.append(y)
    report(time.perf_counter() - began, labels, predictions)


main()
