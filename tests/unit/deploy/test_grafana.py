"""The dashboards that are committed: made by the code, complete, and understood by Grafana's own types."""

import json

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.__main__ import FOLDER, written
from tests.support.shown import DASHBOARDS, dashboards, panels

UNITS = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
PANELS = [(uid, panel) for uid, dashboard in dashboards().items() for panel in panels(dashboard)]


def test_what_is_committed_is_what_the_code_makes_now():
    made = {path.name: text for path, text in written().items()}
    assert {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS} == made, (
        "run `python -m deploy.grafana`"
    )
    assert {path.parent for path in written()} == {FOLDER}


@pytest.mark.parametrize("uid", dashboards())
def test_grafana_s_types_know_every_field(uid):
    committed = dashboards()[uid]
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(committed)))
    assert again == committed


@pytest.mark.parametrize(
    ("uid", "panel"), PANELS, ids=lambda value: value if isinstance(value, str) else value["title"]
)
def test_every_panel_has_a_unit_a_description_and_a_way_on(uid, panel):
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    assert panel["description"].endswith(".")
    (link,) = defaults["links"]
    target = link["url"].removeprefix("/d/").split("?")[0]
    assert target in dashboards().keys() - {uid}
    # The series of a shard leads to that shard; what is no shard's leads to those that were chosen.
    of_shard = all("{{shard}}" in target["legendFormat"] for target in panel["targets"])
    assert ("${__field.labels.shard}" in link["url"]) == of_shard
    assert "${job:queryparam}" in link["url"]


@pytest.mark.parametrize("uid", dashboards())
def test_panels_have_ids_of_their_own_and_do_not_overlap(uid):
    every = dashboards()[uid]["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    cells = [
        (place["x"] + column, place["y"] + line)
        for panel in every
        for place in [panel["gridPos"]]
        for column in range(place["w"])
        for line in range(place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < 24
