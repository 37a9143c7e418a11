"""Draws dashboards: from `Board` to the JSON that Grafana reads, by the builders that Grafana publishes."""

import itertools
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, BigValueGraphMode, VisibilityMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    FieldColorModeId,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana.panels import TITLES, UNITS, Board, Panel

TAG: Final = "headrace"
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
LINES_HEIGHT, NUMBER_HEIGHT = 8, 4


def render(board: Board) -> str:
    """Give the JSON of a dashboard; the same bytes for the same board."""
    made = (
        dashboard.Dashboard(f"Headrace: {board.title}")
        .uid(board.uid)
        .description(board.about)
        .tags([TAG])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Headrace")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("job")
            .label("Model")
            .description("The Prometheus job that scrapes the workers and followers of one model")
            .datasource(SOURCE)
            .query("label_values(headrace_build_info, job)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
        )
        .with_variable(
            dashboard.QueryVariable("shard")
            .label("Shard")
            .datasource(SOURCE)
            .query('label_values(headrace_events_total{job="$job"}, shard)')
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.NUMERICAL_ASC)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    )
    ids = itertools.count(1)  # links to a panel name it by its id
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title).id(next(ids)))
        for panel in row.panels:
            drawn = _numbers(panel) if panel.shape == "number" else _lines(panel)
            made = made.with_panel(drawn.id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().title(panel.title).description(panel.about).datasource(SOURCE)
    made = made.unit(UNITS[panel.unit]).height(LINES_HEIGHT).span(panel.width).data_links([_drill(panel)])
    made = made.fill_opacity(0).show_points(VisibilityMode.NEVER)
    for query in _queries(panel):
        made = made.with_target(query)
    return made


def _numbers(panel: Panel) -> stat.Panel:
    made = stat.Panel().title(panel.title).description(panel.about).datasource(SOURCE)
    made = made.unit(UNITS[panel.unit]).height(NUMBER_HEIGHT).span(panel.width).data_links([_drill(panel)])
    # No thresholds: what is alarming is decided by the rules, in one place.
    made = made.graph_mode(BigValueGraphMode.AREA).color_mode(BigValueColorMode.VALUE)
    made = made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    made = made.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.FIXED).fixed_color("text"))
    for query in _queries(panel):
        made = made.with_target(query)
    return made


def _queries(panel: Panel) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().ref_id(chr(ord("A") + place)).expr(query.expression).legend_format(query.legend).range()
        for place, query in enumerate(panel.queries)
    ]


def _drill(panel: Panel) -> dashboard.DashboardLink:
    shard = "var-shard=${__field.labels.shard}" if panel.by_shard else "${shard:queryparam}"
    url = f"/d/{panel.drill}?${{datasource:queryparam}}&${{job:queryparam}}&{shard}&${{__url_time_range}}"
    return dashboard.DashboardLink(f"{TITLES[panel.drill]} of this" + (" shard" if panel.by_shard else " model")).url(
        url
    )
