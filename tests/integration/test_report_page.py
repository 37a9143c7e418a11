"""The report in a real browser: what a person sees, with and without a script, at every width and on paper."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.support.browser import chromium
from tests.support.runs import HOSTILE, hostile_run, run_of
from worker.evaluation.runlog import Compared
from worker.report.page import write_report
from worker.report.words import value

BUILD = Path(__file__).parents[2] / "build"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def open_page(browser: Browser, path: Path, size: str = "desktop", **context: object) -> tuple[Page, list[str]]:
    """Open the file; gives the page, and the list that its errors and requests are added to."""
    width, height = SIZES[size]
    page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        found.append(f"{message.type}: {message.text}")

    page.on("console", note)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: None if request.url == path.as_uri() else found.append(request.url))
    page.goto(path.as_uri())
    return page, found


@pytest.fixture(scope="module")
def runs():
    return [run_of("half-life off", 100_000, noise=1.0, alarms=3), run_of("half-life 7d", 100_000, noise=0.2)]


@pytest.fixture
def report(runs, tmp_path):
    path = tmp_path / "report.html"
    comparison = [
        Compared(name="half-life 7d", log_loss=0.40, auc=0.8),
        Compared(name="half-life off", log_loss=0.45, difference=0.05, low=0.04, high=0.06, against="half-life 7d"),
    ]
    write_report(path, runs, comparison)
    return path


@pytest.mark.parametrize("events", [100, 100_000, 10_000_000])
def test_it_fits_every_width_and_asks_for_nothing(browser, events, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, [run_of("one", events, alarms=2), run_of("two", events, noise=1.0)])
    BUILD.mkdir(exist_ok=True)
    for size in SIZES:
        page, found = open_page(browser, path, size)
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
        expect(page.locator("[data-chart=loss] .area .run path")).not_to_have_count(0)
        page.screenshot(path=BUILD / f"report-{events}-{size}.png", full_page=True)
        assert found == []


def test_a_pointer_and_keys_tell_the_values_of_all_runs(browser, report, runs):
    page, found = open_page(browser, report)
    area = page.locator("[data-chart=loss] .area")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    # When a pointer rests at the left end of the chart
    page.mouse.move(box["x"] + 1, box["y"] + 100)
    # Then it says the first window's values
    tip = page.locator("[data-chart=loss] .tip")
    expect(tip).to_contain_text(runs[0].name)
    assert tip.locator("b").all_inner_texts() == [value(run.windows[0].loss) for run in runs]
    assert page.locator("[data-chart=auc] .cursor").count() == 1, "and the other charts show where that is"
    # and that of an alarm, where there is one
    place = (runs[0].marks[1].time - runs[0].windows[0].begin) / (runs[0].windows[-1].end - runs[0].windows[0].begin)
    page.mouse.move(box["x"] + place * box["width"], box["y"] + 100)
    expect(tip).to_contain_text("Drift: half-life off: residual, shard 1")
    # When it leaves
    page.mouse.move(0, 0)
    expect(tip).to_have_count(0)
    # By keys the same
    page.locator("[data-chart=auc]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    told = page.locator("[data-chart=auc] .tip b").all_inner_texts()
    assert told == [value(run.windows[2].auc) for run in runs]
    page.keyboard.press("Escape")
    expect(page.locator(".tip")).to_have_count(0)
    assert found == []


@pytest.mark.parametrize("scripted", [True, False], ids=["script", "no script"])
def test_the_legend_hides_a_run_everywhere(browser, report, scripted):
    page, found = open_page(browser, report, java_script_enabled=scripted)
    lines, cells = page.locator(".area .run.s0 .line"), page.locator("table .run.s0")
    expect(lines).to_have_count(6)
    expect(lines.first).to_be_visible()
    page.get_by_label("half-life off").uncheck()
    assert not any(line.is_visible() for line in lines.all())
    assert not any(cell.is_visible() for cell in cells.all())
    expect(page.locator(".area .run.s1 .line").first).to_be_visible()
    page.get_by_label("half-life off").check()
    expect(lines.first).to_be_visible()
    assert found == []


def test_it_can_be_read_without_a_script(browser, report, runs):
    page, found = open_page(browser, report, "phone", java_script_enabled=False)
    expect(page.locator("#summary")).to_contain_text("half-life 7d predicts best")
    page.locator("details summary").first.click()
    table = page.get_by_role("region", name="Log loss by window")
    expect(table).to_be_visible()
    first = table.locator("tbody tr").first.locator("td").all_inner_texts()
    assert first == [value(run.windows[0].loss) for run in runs]
    assert found == []


def test_nothing_that_a_run_says_is_run(browser, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, [hostile_run(), run_of("good", 5_000)])
    page, found = open_page(browser, path)
    expect(page.get_by_label(HOSTILE)).to_be_checked()
    area = page.locator("[data-chart=loss] .area")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 100)  # there is an alarm, with a hostile name too
    expect(page.locator(".tip")).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert page.title() == "2 runs · Headrace report"
    assert found == []
    # The policy holds where a mistake of the page would let something in
    page.evaluate(
        "() => { const script = document.createElement('script'); script.textContent = 'document.title = 1';"
        " document.body.append(script); }"
    )
    assert page.title() != "1"


def test_it_prints_on_paper_in_the_colours_of_paper(browser, report):
    page, found = open_page(browser, report, color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" != dark
    assert not page.locator("input").first.is_visible()
    BUILD.mkdir(exist_ok=True)
    page.pdf(path=BUILD / "report.pdf", prefer_css_page_size=True)
    assert (BUILD / "report.pdf").read_bytes().startswith(b"%PDF")
    assert found == []
