"""The expressions that are shown and watched: those of the dashboards, and those of the rules."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support import promql, series
from tests.support.promql import Labels

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "prometheus/rules.yaml"
DASHBOARDS: Final = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An expression of a panel, with the name of its series."""

    where: str
    expression: str
    legend: str


def dashboards() -> dict[str, dict[str, Any]]:
    """Read the dashboards that are committed, by uid."""
    return {made["uid"]: made for path in DASHBOARDS for made in [json.loads(path.read_text(encoding="utf-8"))]}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the panels of a dashboard, without headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def shown() -> Iterator[Shown]:
    """Give all expressions of all panels."""
    for uid, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{uid}, {panel['title']} {target['refId']}"
                yield Shown(where=where, expression=target["expr"], legend=target["legendFormat"])


def rules(kind: str) -> list[dict[str, Any]]:
    """Give the rules of a kind, `alert` or `record`, in their order."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def known() -> dict[str, Labels]:
    """Give all series that Prometheus has: those that it scrapes, and those that it records of them."""
    found = series.scraped()
    for rule in rules("record"):
        found[rule["record"]] = promql.labels(promql.parse(rule["expr"]), found) or frozenset()
    return found
