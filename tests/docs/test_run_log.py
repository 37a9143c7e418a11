"""The schema of a run log is the one that the code has, and its example is one."""

import json

import jsonschema

from tests.docs.generate import ROOT, RUN_LOG, run_log_schema
from tests.support.runs import hostile_run, run_of
from worker.evaluation.runlog import RunLog

EXAMPLE = ROOT / "schemas" / "examples" / "run_log" / "two_windows.json"


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(RUN_LOG.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_is_the_one_that_the_code_has() -> None:
    assert RUN_LOG.read_text(encoding="utf-8") == run_log_schema(), "run `python -m tests.docs.generate`"


def test_the_example_is_a_run_log() -> None:
    told = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    validator().validate(told)
    run = RunLog.read(EXAMPLE)
    assert json.loads(run.model_dump_json()) == told, "with every value that a log may have"
    assert (len(run.windows), len(run.marks)) == (2, 1)
    assert sum(window.events for window in run.windows) == run.events


def test_what_is_written_is_what_the_schema_says() -> None:
    for run in (run_of("one", 3_000, alarms=2), hostile_run()):
        validator().validate(json.loads(run.model_dump_json()))
