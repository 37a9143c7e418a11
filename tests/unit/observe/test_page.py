"""The status page and its JSON: what they say, and that nothing that is said can become markup."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from worker.observe.curve import Sums
from worker.observe.health import Health
from worker.observe.history import Commit, History
from worker.observe.page import Page
from worker.observe.status import About, Status

HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert('2')">$model${state}"""
SUMS = Sums(events=100, weight=100, loss=60, label=20, score=21)


class Reader(HTMLParser):
    """Gathers elements, and the text of those that have an id."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.text: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        place = dict(attrs).get("id")
        if place is not None:
            assert place not in self.attributes, f"two elements have the id {place}"
            self.attributes[place] = dict(attrs)
            self.text[place] = ""
        if tag not in {"meta", "link", "path"}:
            self._open.append((tag, place))

    def handle_endtag(self, tag):
        if tag != "path":
            assert self._open.pop()[0] == tag

    def handle_data(self, data):
        for _, place in self._open:
            if place is not None:
                self.text[place] += data

    def hidden(self, place: str) -> bool:
        return "hidden" in self.attributes[place]


@pytest.fixture
def now():
    return [1_735_689_600.0]


@pytest.fixture
def history(now):
    return History(lambda: now[0])


@pytest.fixture
def health(now):
    return Health(120, lambda: now[0])


def page_of(health, history, **about: object) -> Page:
    told = {"kind": "worker", "model": "clicks", "topics": {"events": "views"}, "group": "g"} | about
    return Page(Status(About(**told), health, history))


def commit(shard: int = 0, **changes: object) -> Commit:
    told = {"version": 12, "created": 1_735_689_599.0, "events": 1_234_567, "more": SUMS, "baseline": 0.65} | changes
    return Commit(shard=shard, rows=77, bytes=2_097_152, offset_lag=40, event_time_lag=75, **told)


def test_the_json_holds_what_is_known(health, history, now):
    health.set_ready(True)
    history.began(0, 11, 1_234_467)
    now[0] += 1
    history.committed(commit())
    history.alarmed(0, "residual")
    history.rejected(0, "not_json", 2, 99, 5.5)
    told = json.loads(page_of(health, history).json())
    assert told["state"] == "ready"
    assert (told["format"], told["now"], told["started"]) == (1, now[0], now[0] - 1)
    assert told["about"] == {
        "kind": "worker", "model": "clicks", "topics": {"events": "views"}, "group": "g",
        "loss": "logistic", "baseline": "slow average",
    }  # fmt: skip
    assert told["build"]["version"]
    (shard,) = told["shards"]
    assert shard.pop("curve") == {"time": [now[0]], "events": [100], "loss": [0.6], "baseline": [0.65]}
    assert shard == {
        "shard": 0, "version": 12, "age_seconds": 2, "offset_lag": 40, "event_time_lag": 75, "events": 1_234_567,
        "events_per_second": 100, "rows": 77, "bytes": 2_097_152, "loss": 0.6, "baseline": 0.65, "calibration": 1.05,
        "alarms": 1,
    }  # fmt: skip
    assert told["total"].keys() == {
        "events_per_second", "offset_lag", "event_time_lag", "oldest_version_seconds", "loss", "baseline",
        "calibration", "alarms", "curve",
    }  # fmt: skip
    assert told["marks"] == [{"time": now[0], "shard": 0, "detector": "residual"}]
    assert told["rejected"] == [{"reason": "not_json", "count": 2, "shard": 0, "offset": 99, "time": 5.5}]
    assert [problem["severity"] for problem in told["problems"]] == ["warning"]


def test_what_is_not_known_is_null(health, history):
    history.began(0, 0, 0)
    told = json.loads(page_of(health, history).json())
    assert [told["shards"][0][name] for name in ("age_seconds", "offset_lag", "loss", "calibration")] == [None] * 4
    assert (told["total"]["offset_lag"], told["total"]["loss"]) == (None, None)
    # with no weight there is no loss either
    history.committed(commit(more=Sums(events=1, weight=0, loss=0, label=0, score=0)))
    assert json.loads(page_of(health, history).json())["shards"][0]["curve"]["loss"] == [None]


def test_the_curve_of_a_shard_is_thinned_and_loses_nothing(health, history, now):
    for _ in range(200):
        now[0] += 1
        history.committed(commit())
    told = json.loads(page_of(health, history).json())
    assert len(told["total"]["curve"]["time"]) == 200
    curve = told["shards"][0]["curve"]
    assert len(curve["time"]) <= 60
    assert sum(curve["events"]) == 200 * 100


def test_what_is_wrong_is_told_in_words_the_worst_first(health, history, now):
    def told() -> list[tuple[str, str]]:
        return [(one["severity"], one["text"]) for one in json.loads(page_of(health, history).json())["problems"]]

    assert told() == [("waiting", "starting")]
    health.set_ready(True)
    assert told() == []
    for shard in (2, 0):
        history.alarmed(shard, "residual")
    history.aborted()
    history.served(3, 7, 1.0, "a gap")
    assert [severity for severity, _ in told()] == ["error", "warning", "warning"]
    assert "Shard 3 serves version 7 and refuses newer ones: a gap" in told()[0][1]
    assert "aborted" in told()[1][1]
    assert "residual raised an alarm within the last hour, in shards 0, 2" in told()[2][1]
    history.served(1, 6, 1.0, None, "calibration is 2")
    history.judged(2, "the mean label is 0")
    assert [severity for severity, _ in told()] == ["error", "warning", "warning", "warning"]
    assert "Followers serve an older version of shard 1: calibration is 2" in told()[1][1]
    history.began(2, 1, 100)
    history.judged(2, "the mean label is 0")
    assert told()[0] == ("error", "Shard 2 does not learn what comes: the mean label is 0")
    history.began(2, 1, 100)  # restored, it begins anew
    assert "Shard 3" in told()[0][1]
    history.served(1, 7, 1.0, None)
    now[0] += 121
    assert "run.stall_seconds" in told()[0][1]
    now[0] += 3_600
    assert not any("Drift" in text for _, text in told())


def test_the_page_reads_without_its_script(health, history):
    history.committed(commit(shard=3))
    history.rejected(3, "label_missing", 1_200, 99, 1_735_689_600.0)
    page = Reader(page_of(health, history).html())
    assert page.text["state"] == "Not ready"
    assert "starting" in page.text["problems"]
    for value in ("12", "1,234,567", "1 min 15 s", "0.6000", "0.6500", "1.0500", "2.0 MiB"):
        assert value in page.text["shards"]
    for value in ("label_missing", "1,200", "99", "2025-01-01 00:00:00 UTC"):
        assert value in page.text["rejected"]
    assert page.text["total-offset-lag"] == "40"
    shown = {name: not page.hidden(name) for name in ("some-shards", "no-shards", "some-rejected", "none-rejected")}
    assert shown == {"some-shards": True, "no-shards": False, "some-rejected": True, "none-rejected": False}


def test_with_nothing_to_tell_it_says_so(health, history):
    health.set_ready(True)
    page = Reader(page_of(health, history).html())
    shown = {name: not page.hidden(name) for name in ("none-wrong", "some-shards", "no-shards", "none-rejected")}
    assert shown == {"none-wrong": True, "some-shards": False, "no-shards": True, "none-rejected": True}


@pytest.mark.parametrize("kind", ["worker", "follower"])
def test_nothing_that_is_said_becomes_markup(health, history, kind):
    harmless = Reader(page_of(health, History(history.clock), kind=kind).html())
    health.set_ready(False, HOSTILE)
    history.began(0, 1, 1)
    history.alarmed(0, HOSTILE)
    history.rejected(0, HOSTILE, 1, 1, 1e300)
    history.served(0, 1, 1.0, HOSTILE)
    html = page_of(
        health, history, kind=kind, model=HOSTILE, topics={HOSTILE: HOSTILE}, group=HOSTILE, baseline=HOSTILE
    ).html()
    page = Reader(html)
    for tag in ("script", "style", "img", "h1", "body"):
        assert page.tags.count(tag) == harmless.tags.count(tag), tag
    assert b'onerror="' not in html
    assert HOSTILE in page.text["problems"]
    assert HOSTILE in page.text["rejected"]


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(health, history):
    page = page_of(health, history)
    policy = dict(part.strip().split(" ", 1) for part in dict(page.headers)["Content-Security-Policy"].split(";"))
    html = page.html().decode()
    for tag in ("script", "style"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    # what would be refused is not there
    assert not re.search(r"\s(style|on\w+)=", html)
    assert not re.search(r"(src|href)=\"?(https?:)?//", html)
    assert "innerHTML" not in html


def test_script_and_page_know_the_same_columns(health, history):
    history.committed(commit())
    history.rejected(0, "empty", 1, 1, 1.0)
    html = page_of(health, history).html().decode()
    labels = set(re.findall(r'data-label="([^"]+)"', html))
    script = html[html.index("<script>") :]
    assert labels == set(re.findall(r'^      \["([A-Z][^"]+)", ', script, re.MULTILINE)) - {"Loss curve"}
    heads = set(re.findall(r'<th scope="col">([^<]+)</th>', html))
    assert heads == labels


def test_every_place_that_the_script_looks_for_is_there(health, history):
    html = page_of(health, history).html()
    page = Reader(html)
    wanted = set(re.findall(r'(?:get|say)\("([a-z-]+)"', html.decode()))
    assert len(wanted) > 15
    assert wanted <= page.attributes.keys()
