"""The report: one file, whose values are those of the runs, and in which no text becomes markup."""

import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.support.runs import HOSTILE, NOW, hostile_run, run_of
from worker.errors import ConfigurationError
from worker.evaluation.evaluation import Evaluation
from worker.evaluation.runlog import Compared, RunLog
from worker.report import figures
from worker.report.page import MOST_SHOWN, report, write_report
from worker.report.words import UNKNOWN, count, value

MEGABYTE = 1_000_000
VOID = {"meta", "link", "input", "line", "path", "circle", "rect"}


class Reader(HTMLParser):
    """Gathers tags with their attributes, the text of all, and the cells of every table by its label."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if attributes.get("role") == "region":
            self._rows = self.tables.setdefault(attributes["aria-label"], [])
        if tag == "tr":
            self._rows.append([])
        if tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in {"script", "style"}:
            self.text += data
            if {"td", "th"} & set(self._open):
                self._rows[-1][-1] += data

    def data(self, page: str) -> dict:
        (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
        return json.loads(text)


def page_of(*runs: RunLog, comparison=None) -> tuple[str, Reader]:
    page = report(runs, comparison, now=NOW / 1_000)
    return page, Reader(page)


@pytest.fixture(scope="module")
def two() -> list[RunLog]:
    return [run_of("worse", 20_000, noise=1.0, alarms=3), run_of("better", 20_000, noise=0.2)]


def test_values_are_those_of_the_runs(two):
    page, read = page_of(*two)
    worse, better = two
    head, *rows = read.tables["Runs"]
    assert [row[0] for row in rows] == ["better", "worse"]
    columns = dict(zip(head, rows[1], strict=True))
    assert columns["Log loss"] == value(worse.totals.loss)
    assert columns["AUC"] == value(worse.totals.auc)
    assert columns["Calibration error"] == value(worse.totals.calibration_error)
    assert (columns["Events"], columns["Alarms"], columns["Rejected"]) == ("20,000", "3", "3")
    for label, of in (("Log loss", "loss"), ("AUC", "auc"), ("Calibration", "calibration")):
        told = [row[1:] for row in read.tables[f"{label} by window"][1:]]
        assert told == [
            [value(getattr(one, of)), value(getattr(other, of))]
            for one, other in zip(worse.windows, better.windows, strict=True)
        ]
    lines = read.data(page)["charts"]["loss"]["lines"]
    assert [line["y"] for line in lines] == [[window.loss for window in run.windows] for run in two]
    assert lines[0]["x"] == [(window.begin + window.end) / 2 for window in worse.windows]
    bins = read.tables["Positive labels by score"][1:]
    assert [row[2] for row in bins if row[2]] == [count(one.weight) for one in worse.reliability]
    assert len(read.tables["Alarms of drift"]) == 1 + 3
    assert read.tables["Loss by slice"][1] == ["device = ios", "0.5 %", "30 %", value(0.4), value(0.4)]
    assert read.tables["Calibration by slice"][2][3] == value(50 / 60)
    assert read.tables["Rejected because"][1] == ["not_json", "3", "3"]
    assert read.tables["Rejected records"][1][2:] == ["0", "17", "no JSON", "{nope"]
    assert "a1b2" in read.text


def test_every_chart_has_a_meaning_and_a_table(two):
    _, read = page_of(*two)
    charts = [attributes for tag, attributes in read.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(charts) == 6
    assert all("table below" in attributes["aria-label"] for attributes in charts)
    assert len([tag for tag, _ in read.tags if tag == "details"]) >= 6
    assert "In short" in read.text


def test_it_is_one_file_that_asks_for_nothing(two):
    page, read = page_of(*two, hostile_run())
    for tag, attributes in read.tags:
        assert not attributes.keys() & {"src", "srcset", "style", "xlink:href", "action"}, tag
        assert attributes.get("href", "data:,") == "data:,"
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policies = [one["content"] for _, one in read.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policies[0]


def test_nothing_that_a_run_says_becomes_markup(two):
    _, plain = page_of(*two)
    page, read = page_of(hostile_run())
    assert "<img" not in page
    assert len(re.findall(r"<script", page)) == 2, "the page's own"
    assert {tag for tag, _ in read.tags} <= {tag for tag, _ in plain.tags}
    assert not any(key.startswith("on") for _, attributes in read.tags for key in attributes)
    assert read.text.count(HOSTILE) > 8, "and all of it is told, as text"
    assert read.data(page)["runs"] == [HOSTILE]


def test_ten_million_events_and_many_runs_stay_small():
    runs = [run_of("one of ten million", 10_000_000, alarms=500)]
    page, _ = page_of(*runs)
    assert runs[0].events == 10_000_000
    assert len(page.encode()) < MEGABYTE / 4
    many = [runs[0].model_copy(update={"name": f"run {number:03} " + "x" * 150}) for number in range(300)]
    page, read = page_of(*many)
    assert len(page.encode()) < 2 * MEGABYTE
    assert f"the best {MOST_SHOWN} of 300" in read.text
    assert "And 200 more runs" in read.text


def test_a_hundred_events_are_told_with_a_warning():
    _, read = page_of(run_of("few", 100))
    assert "So few say little" in read.text
    assert read.tables["Runs"][1][0] == "few"


def test_nothing_measured_is_told_as_nothing():
    empty = RunLog.of(Evaluation(logistic=True), name="empty", mode="replay", when=NOW, seconds=0)
    _, read = page_of(empty)
    assert "No event was measured" in read.text
    assert read.tables["Runs"][1][2] == UNKNOWN
    assert "No drift detector raised an alarm" in read.text
    _, read = page_of(empty, run_of("some", 5_000))
    assert [row[0] for row in read.tables["Runs"][1:]] == ["some", "empty"]


def test_squared_loss_has_figures_of_its_own():
    evaluation = Evaluation(logistic=False)
    times = NOW + 1_000 * np.arange(5_000)
    labels = (times // 1_000 % 7).astype("float32")
    evaluation.add(times, labels + 0.5, labels)
    run = RunLog.of(evaluation, name="ratings", mode="replay", when=NOW, seconds=1)
    _, read = page_of(run)
    assert read.tables["Bias by window"][1][1] == value(0.5)
    assert read.tables["Loss by window"][1][1] == value(0.125)
    assert "Reliability" not in read.text
    assert "AUC" not in read.text
    with pytest.raises(ConfigurationError, match="do not compare: ratings squared, clicks logistic"):
        page_of(run, run_of("clicks", 100))


def test_every_chart_is_made_once(two, monkeypatch):
    made = Counter()

    def counted(make):
        def counting(*arguments):
            chart = make(*arguments)
            made[chart.key] += 1
            return chart

        return counting

    for name in ("chart_of", "reliability_chart", "throughput_chart"):
        monkeypatch.setattr(figures, name, counted(getattr(figures, name)))
    page, read = page_of(*two)
    assert set(made.values()) == {1}
    assert set(made) == set(read.data(page)["charts"]) >= {"loss", "reliability", "throughput"}


def test_a_comparison_is_shown_and_told_first(two):
    comparison = [
        Compared(name="worse", log_loss=0.6, difference=0.1, low=0.05, high=0.15, against="better"),
        Compared(name="better", log_loss=0.5, auc=0.8),
    ]
    _, read = page_of(*two, comparison=comparison)
    assert [row[0] for row in read.tables["Comparison of runs"][1:]] == ["better", "worse"]
    assert read.tables["Comparison of runs"][2][4] == "+0.0500 to +0.1500 (95 %)"
    assert "better predicts best: log loss 0.5000, 17 % lower than the next one, worse (0.6000)" in read.text
    assert "The difference is \N{MINUS SIGN}0.1000, between \N{MINUS SIGN}0.1500 and \N{MINUS SIGN}0.0500" in read.text
    close = [one.model_copy(update={"low": -0.01}) if one.low else one for one in comparison]
    _, read = page_of(*two, comparison=close)
    assert "better has the lowest loss" in read.text
    assert "it may be chance" in read.text
    assert "Comparison of runs" not in page_of(*two)[1].tables


def test_runs_of_one_name_are_told_apart(two):
    _, read = page_of(two[0], two[0], two[0])
    assert {row[0] for row in read.tables["Runs"][1:]} == {"worse", "worse (2)", "worse (3)"}


def test_it_is_written_whole(two, tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, two, now=NOW / 1_000)
    assert path.read_text(encoding="utf-8") == report(two, now=NOW / 1_000)
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(ConfigurationError, match="at least one run"):
        write_report(path, [])


def test_a_very_long_name_is_cut(two):
    long = [run.model_copy(update={"name": "x" * 5_000}) for run in two]
    page, read = page_of(*long)
    assert [row[0] for row in read.tables["Runs"][1:]] == ["x" * 160 + "… (2)", "x" * 160 + "…"]
    assert len(page) < MEGABYTE
