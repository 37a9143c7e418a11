"""A real Prometheus scrapes two workers and a follower: whatever is shown or watched has data."""

import time
from pathlib import Path

import pytest

from deploy.broker import Broker
from deploy.prometheus.programs import Programs
from tests.support import promql
from tests.support.crew import Crew
from tests.support.feed import Feed
from tests.support.patience import await_
from tests.support.scraper import Prometheus
from tests.support.shown import rules, shown
from tests.support.stage import set_stage
from worker.follow import Follower
from worker.observe.health import Health
from worker.observe.metrics import FollowerMetrics, new_registry
from worker.observe.server import Server

EVENTS_PER_SECOND = 1_000
# Rejected records come with every feed; that events are skipped and shards exchange rows has to be asked for.
SKIPPED, EXCHANGED = {"keep_negatives": 0.5}, {"merge": True}
# The breaker is there, and nothing trips it.
WATCHED = {
    "window": 1_000, "slices": {"device": ["d0", "d1"]}, "freeze_events": 200, "freeze_rejected_share": 0.9,
}  # fmt: skip
VARIABLES = {"$job": "headrace", "$shard": ".*", "$__rate_interval": "30s"}


def test_every_expression_of_dashboards_and_alerts_has_data(
    kafka: Broker, unique: str, tmp_path: Path, prometheus: Programs
) -> None:
    stage = set_stage(kafka, unique, tmp_path, events=SKIPPED, model=EXCHANGED, quality=WATCHED)
    registry = new_registry()
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        feed.begin(EVENTS_PER_SECOND)
        first = crew.start()
        with (
            Follower(stage.config.kafka, stage.config.model.topic, metrics=FollowerMetrics(registry)),
            Server("127.0.0.1", 0, registry, Health(60, time.monotonic)) as server,
        ):
            # Given a Prometheus that sees a follower, a worker, and another one that joins it
            urls = [first.metrics_url(), crew.start().metrics_url(), f"http://127.0.0.1:{server.port}/metrics"]
            with Prometheus(prometheus, tmp_path, urls) as scraper:
                await_("all of them to be scraped", lambda: scraper.query("up") == [1, 1, 1])
                crew.start().leave()  # its shards are restored by the others

                # Then all that is shown and watched has data, and nothing is alarming
                require_data(scraper)
                require_peace(scraper)

                # When the labels turn around, then somebody is woken, and was not before
                feed.turned = True
                await_("the drift to be told", lambda: "HeadraceDrift" in firing(scraper))


def require_data(scraper: Prometheus) -> None:
    """Require that every expression comes to have finite values, without an error."""
    lacking = expressions()
    assert lacking

    def all_have_data() -> bool:
        for where in [where for where, expression in lacking.items() if scraper.query(expression)]:
            del lacking[where]
        return not lacking

    try:
        await_("every expression to have data", all_have_data)
    except AssertionError:
        pytest.fail(f"without data: {lacking}")


def require_peace(scraper: Prometheus) -> None:
    """Require that all rules are evaluated without an error, and that no alert fires."""
    states = {rule["name"]: rule for rule in scraper.rules()}
    assert states.keys() == {rule.get("alert") or rule["record"] for rule in (*rules("alert"), *rules("record"))}
    assert {name: rule.get("lastError") for name, rule in states.items() if rule["health"] != "ok"} == {}
    assert firing(scraper) == set()


def firing(scraper: Prometheus) -> set[str]:
    """Name the alerts that fire."""
    return {rule["name"] for rule in scraper.rules() if rule.get("state") == "firing"}


def expressions() -> dict[str, str]:
    """Give what must have data, by where it stands: of alerts, what they compare."""
    found = {}
    for one in shown():
        expression = one.expression
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        found[f"{one.where}: {one.expression}"] = expression
    for rule in rules("alert"):
        for place, operand in enumerate(promql.operands(promql.parse(rule["expr"]))):
            found[f"{rule['alert']} {place}"] = operand.prettify()
    return found
