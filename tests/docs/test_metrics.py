"""The contract of the metrics: what is served is documented and shown, and what is shown and watched is served."""

import re

import pytest

from tests.docs.test_readme import first_column, section
from tests.support import promql, series
from tests.support.shown import DEPLOY, Shown, known, rules, shown
from worker.observe.metrics import LABELS
from worker.setting_names import sections

SHOWN = list(shown())
ALERTS = rules("alert")
PARTS = re.compile(r"_(bucket|sum|count)$")  # of a histogram; counters end in _total


@pytest.fixture(scope="module")
def ours() -> dict[str, frozenset[str]]:
    """Give the metrics of the registries that are headrace's own; a histogram is one."""
    return {PARTS.sub("", name): labels for name, labels in series.served().items() if name.startswith("headrace_")}


def test_every_metric_is_documented_and_no_other(ours):
    table = re.findall(r"^\| `(headrace_\w+)` \|", section("### Metrics and health"), re.MULTILINE)
    assert sorted(table) == sorted(ours)


def test_every_metric_is_on_a_dashboard(ours):
    on_some = {PARTS.sub("", name) for one in SHOWN for name in promql.names(one.expression)}
    recorded = {rule["record"]: promql.names(rule["expr"]) for rule in rules("record")}
    for _ in recorded:  # one may be recorded of another
        on_some |= {name for used, names in recorded.items() if used in on_some for name in names}
    assert sorted(ours.keys() - on_some) == []


def test_labels_are_few_and_none_is_an_id(ours):
    used = {label for name, labels in ours.items() if name != "headrace_build_info" for label in labels}
    assert used - {"le"} <= LABELS.keys()
    assert LABELS.keys() <= used
    assert not LABELS.keys() & {"user", "item", "id", "key", "offset", "version", "topic", "message"}


@pytest.mark.parametrize("one", SHOWN, ids=lambda one: one.where)
def test_dashboards_use_series_and_labels_that_exist(one: Shown):
    found = promql.labels(promql.parse(one.expression), known())
    assert promql.in_template(one.legend) <= (found or frozenset())


@pytest.mark.parametrize("rule", rules("record"), ids=lambda rule: rule["record"])
def test_recorded_series_are_named_by_their_labels_and_used(rule):
    level, *_ = rule["record"].split(":")
    assert promql.labels(promql.parse(rule["expr"]), known()) == set(level.split("_"))
    others = [one.expression for one in SHOWN] + [other["expr"] for other in (*ALERTS, *rules("record"))]
    assert any(rule["record"] in promql.names(other) for other in others)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts_use_series_and_labels_that_exist_and_say_what_to_do(rule):
    found = promql.labels(promql.parse(rule["expr"]), known()) or frozenset()
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"deploy/runbook.md#{rule['alert'].lower()}"
    assert promql.in_template(" ".join(rule["annotations"].values())) <= found
    # Where one of several things is meant, the line that somebody reads at night says which.
    assert found - {"instance"} <= promql.in_template(rule["annotations"]["summary"])


def test_every_alert_has_its_section_in_the_runbook_and_no_other_is_there():
    text = (DEPLOY / "runbook.md").read_text(encoding="utf-8")
    sections = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert sorted(part.split("\n", 1)[0] for part in sections) == sorted(rule["alert"] for rule in ALERTS)
    for part in sections:
        assert [f"**{word}**" in part for word in ("Means.", "Look at.", "Do.")] == [True] * 3, part.split("\n")[0]


def test_the_runbook_names_metrics_settings_and_log_actions_that_exist():
    text = (DEPLOY / "runbook.md").read_text(encoding="utf-8")
    settings = {f"{name}.{field}" for name, kind in sections().items() for field in kind.model_fields}
    named = {name for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", text) if name.split(".")[0] in sections()}
    assert named
    assert sorted(named - settings) == []
    spoken = {
        word
        for line in re.findall(r"[Ll]og[^.]*?: ((?:`\w+`(?:,| and)?\s*)+)", text)
        for word in re.findall(r"\w+", line)
    }
    assert sorted(spoken - {"and", *first_column("### Log lines")}) == []
    assert set(re.findall(r"`(headrace_\w+)", text)) <= known().keys()


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("sum(headrace_evnts_total)", "there is no headrace_evnts_total"),
        ('headrace_events_total{user="1"}', "no label user"),
        ("sum by (kind) (headrace_events_total)", "no label kind"),
        ("sum by (job) (headrace_offset_lag) / headrace_offset_lag", "never match"),
        ("histogram_quantile(0.5, sum by (job) (headrace_commit_seconds_bucket))", "no label le"),
    ],
)
def test_what_does_not_exist_is_found(expression, complaint):
    with pytest.raises(promql.UnknownSeriesError, match=complaint):
        promql.labels(promql.parse(expression), known())
