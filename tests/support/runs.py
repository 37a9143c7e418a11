"""Logs of runs as a replay would write them: planted events, scored by models that are wrong in a known way."""

from itertools import count
from typing import Any

import numpy as np

from worker.evaluation.evaluation import Evaluation
from worker.evaluation.measures import Mark
from worker.evaluation.runlog import Example, RunLog
from worker.quality.slices import OTHER, Slices
from worker.simulate.planted import Planted

NOW = 1_735_689_600_000
_BLOCK = 100_000
HOSTILE = """</script><script>document.title='taken'</script><img src=x onerror="document.title='taken'">'&amp;"""


def run_of(
    name: str, events: int, *, noise: float = 0.3, events_per_second: float = 1_000.0, alarms: int = 0, **more: Any
) -> RunLog:
    """A run over so many events; the same planted block again and again where they are many.

    The scores are the true logits and normal noise of this deviation: more of it, and the loss is higher.
    """
    planted = Planted(events=min(events, _BLOCK), users=500, items=200, drift_at=None)
    batch = next(planted.batches(_BLOCK))
    logits = np.log(batch.truth / (1 - batch.truth)) + np.random.default_rng(1).normal(0, noise, len(batch))
    scores, labels = (1 / (1 + np.exp(-logits))).astype(np.float32), batch.labels.astype(np.float32)
    steps = (np.arange(len(batch)) * (1_000 / events_per_second)).astype(np.int64)
    ticks = count()
    evaluation = Evaluation(logistic=True, slices=_slices(), clock=lambda: next(ticks) / 10)
    for start in range(0, events, _BLOCK):
        size = min(_BLOCK, events - start)
        times = NOW + int(start * 1_000 / events_per_second) + steps[:size]
        evaluation.add(times, scores[:size], labels[:size])
    evaluation.slice_sums[:] = [[40.0, 100.0, 30.0, 31.0], [55.0, 200.0, 60.0, 50.0]]
    last = NOW + int(events * 1_000 / events_per_second)
    evaluation.noted += [
        Mark(time=NOW + (last - NOW) * (number + 1) // (alarms + 1), shard=number, signal="residual", event=number + 1,
             size=21.5, threshold=19.5)
        for number in range(alarms)
    ]  # fmt: skip
    evaluation.alarms = alarms
    told = {
        "mode": "replay", "when": NOW, "seconds": 2.0, "source": "recording", "digests": {0: "a1b2"},
        "rejected": {"not_json": 3},
        "examples": {"not_json": [Example(shard=0, offset=17, detail="no JSON", value="{nope")]},
    }  # fmt: skip
    return RunLog.of(evaluation, name=name, **(told | more))


def hostile_run() -> RunLog:
    """A run that would be markup wherever a text is put into the page as it stands."""
    run = run_of(
        HOSTILE, 5_000, alarms=2, mode=HOSTILE[:60], source=HOSTILE, configuration={HOSTILE: HOSTILE, "a": [HOSTILE]},
        rejected={HOSTILE: 1}, examples={HOSTILE: [Example(shard=0, offset=1, detail=HOSTILE, value=HOSTILE)]},
        skipped={HOSTILE: 1}, digests={0: HOSTILE},
    )  # fmt: skip
    slices = [one.model_copy(update={"field": HOSTILE, "value": HOSTILE}) for one in run.slices]
    marks = [one.model_copy(update={"signal": HOSTILE}) for one in run.marks]
    return run.model_copy(update={"slices": slices, "marks": marks, "headrace": HOSTILE})


def _slices() -> Slices:
    return Slices(names=(("device", "ios"), ("device", OTHER)))
