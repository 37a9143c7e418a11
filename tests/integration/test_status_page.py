"""The status page in a real browser: of a live worker, and with what must not become markup."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from prometheus_client import CollectorRegistry

from tests.support.browser import chromium
from tests.support.crew import Crew
from tests.support.feed import Feed
from tests.support.lineage import Writer, events
from tests.support.patience import SECONDS, await_
from tests.support.publisher import Publisher
from tests.support.stage import set_stage
from worker.observe.health import Health
from worker.observe.history import History
from worker.observe.server import Server
from worker.observe.status import About, Status

BUILD = Path(__file__).parents[2] / "build"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
MILLISECONDS = 1_000 * SECONDS


@pytest.fixture
def browser():
    with chromium() as started:
        yield started


def open_page(browser: Browser, url: str, size: str, **context: object) -> tuple[Page, list[str]]:
    """Open the page; gives it, and the list that its errors are added to, refusals of its policy among them."""
    width, height = SIZES[size]
    page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
    page.set_default_timeout(MILLISECONDS)
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    return page, errors


def number(page: Page, place: str) -> float:
    """Read the number at the beginning of a text."""
    found = re.match(r"[\d,.]+", page.locator(place).inner_text())
    return float(found[0].replace(",", "")) if found else 0.0


def test_it_shows_a_live_worker_at_every_width(kafka, unique, tmp_path, browser):
    expect.set_options(timeout=MILLISECONDS)
    stage = set_stage(kafka, unique, tmp_path, partitions=2)
    with Crew(stage, tmp_path) as crew, Feed(stage) as feed:
        worker = crew.start()
        feed.send(20_000)  # some bad ones among them
        worker.await_log(r"serve: .*url=(\S+)")
        (address,) = set(re.findall(r"serve: .*url=(\S+)/metrics", worker.log))
        feed.begin(2_000)
        pages = {}
        for size in SIZES:
            # Given the page of a worker that learns
            page, errors = pages[size] = open_page(browser, f"{address}/", size)
            expect(page.locator("#state")).to_have_text("Learning")
            expect(page.get_by_role("heading", level=1)).to_have_text(unique)
            rows = page.locator("#shards tbody tr")
            expect(rows).to_have_count(2)
            # Then it shows both shards as they move, without being loaded again
            version = "#shards tbody tr:first-child td[data-label=Version]"
            before = number(page, version)
            page.wait_for_function(
                "([place, before]) => Number(document.querySelector(place).textContent.replace(/,/g, '')) > before",
                arg=[version, before],
            )
            assert number(page, "#total-rate") > 0
            assert 0 < number(page, "#total-loss") < 2
            assert {"not_json", "empty"} <= set(page.locator("#rejected tbody th").all_inner_texts())
            # and the loss curve, once there is more than a second of it
            chart = page.get_by_role("img", name="Progressive loss")
            expect(chart).to_be_visible()
            assert "L" in (chart.locator("path.loss").get_attribute("d") or "")
            # and fits
            assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
            BUILD.mkdir(exist_ok=True)
            page.screenshot(path=BUILD / f"status-{size}.png", full_page=True)
            assert errors == []
        # When the worker is gone
        feed.stop()
        worker.send(signal.SIGTERM)
        assert worker.exit_code() == 0
        # Then the page says so, and keeps what it last knew
        page, _ = pages["desktop"]
        expect(page.locator("#state")).to_have_text("No answer")
        expect(page.locator("#problems li")).to_contain_text("does not answer")
        assert page.locator("#shards tbody tr").count() > 0


def test_a_follower_has_the_page_too(kafka, unique, tmp_path, browser):
    expect.set_options(timeout=MILLISECONDS)
    with Publisher(kafka, unique) as publisher:
        writer = Writer()
        writer.learn(events(100, 0))
        publisher.publish(writer)
        environment = {
            "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "HEADRACE_MODEL__TOPIC": publisher.topic,
            "HEADRACE_MODEL__NAME": unique,
            "HEADRACE_FEATURES__USER__KIND": "categorical",
            "HEADRACE_METRICS__PORT": "0",
        }
        log = tmp_path / "follower.log"
        with log.open("wb") as output:
            follower = subprocess.Popen(
                [sys.executable, "-m", "worker", "follow", "--every", "0.1"],
                env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=output,
            )  # fmt: skip
        try:
            (address,) = await_(
                "the follower's address", lambda: set(re.findall(r"metrics: (\S+)/metrics", log.read_text()))
            )
            page, errors = open_page(browser, f"{address}/", "phone")
            expect(page.locator("#state")).to_have_text("Following")
            version = page.locator("#shards tbody td[data-label=Version]")
            expect(version).to_have_text("1")
            # When the next version is published
            writer.learn(events(100, 1))
            publisher.publish(writer)
            # Then it is shown
            expect(version).to_have_text("2")
            assert not page.locator("#total-loss").is_visible(), "a follower does not know it"
            assert errors == []
        finally:
            follower.kill()
            follower.wait()


@pytest.mark.parametrize("scripted", [True, False], ids=["script", "no script"])
def test_nothing_that_is_said_becomes_markup(browser, scripted):
    hostile = "</script><img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    health, history = Health(1e9, lambda: 0.0), History(lambda: 1_735_689_600.0)
    health.set_ready(False, hostile)
    history.served(0, 1, 1.0, hostile)
    history.alarmed(0, hostile)
    history.rejected(0, hostile, 1, 1, 1e300)
    status = Status(About(kind="worker", model=hostile, topics={"events": hostile}), health, history)
    with Server("127.0.0.1", 0, CollectorRegistry(), health, status) as server:
        page, errors = open_page(browser, f"http://127.0.0.1:{server.port}/", "phone", java_script_enabled=scripted)
        if scripted:
            expect(page.locator("#shards td.spark")).to_have_count(1)  # made by the script
        expect(page.locator("#rejected tbody th")).to_have_text(hostile)
        expect(page.locator("#problems li").first).to_contain_text(hostile)
        assert page.locator("img").count() == 0
        assert "taken'" in page.title(), "the model's name, as text"
        assert errors == []
        # The policy holds where a mistake of the page would let something in
        if scripted:
            page.evaluate(
                "() => { const script = document.createElement('script');"
                " try { script.text = 'document.title = 1'; document.body.append(script); } catch {} }"
            )
            assert page.title() != "1"
