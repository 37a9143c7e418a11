"""`headrace report` as a person calls it."""

import json

from click.testing import CliRunner

from tests.support.runs import run_of
from worker.commands.report import report
from worker.errors import ConfigurationError, IncompatibleDataError


def invoke(*arguments: object):
    return CliRunner().invoke(report, [str(one) for one in arguments])


def test_it_writes_a_page_and_says_which_run_is_best(tmp_path):
    for name, noise in (("worse", 1.5), ("better", 0.1)):
        run_of(name, 5_000, noise=noise).write(tmp_path / f"{name}.json")
    logs, out = (tmp_path / "worse.json", tmp_path / "better.json"), tmp_path / "page.html"
    done = invoke(*logs, "--out", out)
    assert done.exit_code == 0, done.output
    assert "2 runs, of which better has the lowest loss" in done.output
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    told = json.loads(invoke(*logs, "--out", out, "--json").output)
    assert (told["report"], told["runs"], told["best"]) == (str(out), ["worse", "better"], "better")
    assert told["bytes"] == out.stat().st_size


def test_a_log_is_never_overwritten(tmp_path):
    log = tmp_path / "run.json"
    run_of("run", 500).write(log)
    before = log.read_bytes()
    done = invoke(log, "--out", log)
    assert isinstance(done.exception, ConfigurationError)
    assert log.read_bytes() == before


def test_what_is_no_run_log_is_refused_before_anything_is_written(tmp_path):
    log, out = tmp_path / "bad.json", tmp_path / "page.html"
    log.write_text("{}")
    done = invoke(log, "--out", out)
    assert isinstance(done.exception, IncompatibleDataError)
    assert not out.exists()
