"""Vowpal Wabbit: through Python, event by event, or by its own driver, which reads text; orjson decodes in both cases.

Each field is a namespace, named by a letter in the order of the fields. Through Python the prediction is the one that
`learn` returns for the label, made before the update: `get_partial_prediction` after it knows the label with `--lrq`.
The driver is `vw` where it is on the PATH, else the same loop in the wheel's library, entered once for the whole file.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import orjson
from job import report, task
from vowpalwabbit import pyvw

_COMMON = "--loss_function logistic --link logistic --quiet -b 22"


def main() -> None:
    """Do the task."""
    it = task()
    lines, arguments = it.lines(), f"{_COMMON} {it.settings['arguments']}"
    if it.learner == "python":
        _python(lines, it.fields, arguments)
    else:
        _driver(lines, it.fields, arguments)


def _text(event: dict, letters: list[tuple[str, str]]) -> str:
    """Write an event as Vowpal Wabbit's text."""
    parts = ["1" if event["label"] else "-1"]
    for letter, field in letters:
        value = event.get(field)
        if isinstance(value, list):
            parts.append(f"|{letter} " + " ".join(str(one).replace(" ", "_") for one in value))
        elif value is not None:
            parts.append(f"|{letter} {value}".replace(":", "_") if isinstance(value, str) else f"|{letter} v{value}")
    return " ".join(parts)


def _letters(fields: list[str]) -> list[tuple[str, str]]:
    return [("abcdefghijklmnopqrstuvwxyz"[at], field) for at, field in enumerate(fields)]


def _python(lines: list[bytes], fields: list[str], arguments: str) -> None:
    letters, model = _letters(fields), pyvw.Workspace(arguments)
    labels, predictions = [], []
    began = time.perf_counter()
    for line in lines:
        event = orjson.loads(line)
        example = model.parse(_text(event, letters))
        model.learn(example)
        predictions.append(example.get_simplelabel_prediction())
        labels.append(event["label"])
        model.finish_example(example)
    seconds = time.perf_counter() - began
    report(seconds, labels, predictions)


def _driver(lines: list[bytes], fields: list[str], arguments: str) -> None:
    letters, labels = _letters(fields), []
    with tempfile.TemporaryDirectory() as folder:
        text, predicted = Path(folder) / "text", Path(folder) / "predicted"
        began = time.perf_counter()
        with text.open("w") as file:
            for line in lines:
                event = orjson.loads(line)
                labels.append(event["label"])
                file.write(_text(event, letters) + "\n")
        written = time.perf_counter()
        command = f"{arguments} --no_stdin -d {text} -p {predicted}"
        if shutil.which("vw"):
            subprocess.run(["vw", *command.split()], check=True)
        else:
            model = pyvw.Workspace(command)
            model.run_parser()
            model.finish()
        ended = time.perf_counter()
        predictions = [float(line.split()[0]) for line in predicted.read_text().splitlines()]
    by = "vw" if shutil.which("vw") else "the library of the wheel: there is no `vw` on the PATH"
    report(ended - began, labels, predictions, text_given_eps=len(lines) / (ended - written), driver=by)


main()
