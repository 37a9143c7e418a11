"""River's detectors of drift on losses of a file: the numbers of the events at which each alarms."""

import json
import sys

import numpy as np
from river import drift


def main() -> None:
    """Read {path, skip, detectors: [[kind, setting], ...]}; write the alarms of each."""
    task = json.loads(sys.argv[1])
    losses = np.load(task["path"])[task["skip"] :].astype(np.float64).tolist()
    found = []
    for kind, setting in task["detectors"]:
        detector = drift.ADWIN(delta=setting) if kind == "adwin" else drift.PageHinkley(threshold=setting, mode="up")
        alarms = []
        for number, loss in enumerate(losses, task["skip"] + 1):
            detector.update(loss)
            if detector.drift_detected:
                alarms.append(number)
        found.append(alarms)
    print(json.dumps(found))


main()
