"""What Prometheus itself says of its configuration, of the rules and of the metrics."""

import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from tests.support.series import registries
from tests.support.shown import DEPLOY, RULES, rules

TESTS = Path(__file__).with_name("rules.yaml")


def promtool(programs, *arguments: object, given: bytes | None = None) -> str:
    answer = subprocess.run(
        [programs.promtool, *map(str, arguments)],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout.decode()
    return answer.stdout.decode()


def test_the_configuration_is_valid(prometheus):
    promtool(prometheus, "check", "config", DEPLOY / "prometheus/prometheus.yaml")


def test_the_rules_are_valid(prometheus):
    assert f"{len(rules('alert')) + len(rules('record'))} rules found" in promtool(prometheus, "check", "rules", RULES)


def test_each_alert_fires_when_it_should_and_no_other(prometheus):
    promtool(prometheus, "test", "rules", TESTS)


@pytest.mark.parametrize("registry", registries(), ids=["worker", "follower"])
def test_the_metrics_follow_prometheus_s_conventions(prometheus, registry):
    # What it says to a registry that is sound is nothing.
    assert promtool(prometheus, "check", "metrics", given=generate_latest(registry)) == ""


def test_every_alert_has_a_test_in_which_it_fires():
    cases = [check for test in yaml.safe_load(TESTS.read_text())["tests"] for check in test.get("promql_expr_test", ())]
    fired = {sample["labels"] for check in cases for sample in check["exp_samples"]}
    assert fired == {f'{{alertname="{rule["alert"]}"}}' for rule in rules("alert")}


def test_every_case_begins_without_an_alert():
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        if "promql_expr_test" in test:
            assert test["promql_expr_test"][0]["exp_samples"] == [], test["name"]
