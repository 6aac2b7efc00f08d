"""What only a browser shows: sorting, searching, hovering, printing, and what is fetched."""

from __future__ import annotations

import base64
import re
import zlib
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from analysis.load import Runs, load_runs
from analysis.report.contents import make_page as make_report
from analysis.report.drawing import Drawing, Series, make_drawing
from analysis.report.page import Page, to_html
from tests.analysis.report.conftest import MakePage
from tests.browser.fixtures import Browser


@pytest.fixture
def show(browser: Browser, tmp_path: Path):
    """Opens a page in the browser."""

    def show(page: Page) -> Browser:
        path = tmp_path / "report.html"
        path.write_text(to_html(page), encoding="utf-8")
        browser.open(path)
        return browser

    return show


def click_heading(browser: Browser, table: str, column: int) -> None:
    heading(browser, table, column).find_element(By.TAG_NAME, "button").click()


def heading(browser: Browser, table: str, column: int) -> WebElement:
    return browser.driver.find_elements(By.CSS_SELECTOR, f"#{table} > thead th")[column]


def first_cells(browser: Browser, table: str) -> list[str]:
    """The names of the rows that can be seen, from top to bottom."""
    return browser.run(
        """
        const names = document.querySelectorAll(`#${arguments[0]} > tbody > tr:first-child > th`);
        return [...names].filter((name) => name.checkVisibility()).map((name) => name.innerText);
        """,
        table,
    )


def a_drawing() -> Drawing:
    figure = Figure(figsize=(6, 3))
    axes = figure.add_subplot()
    axes.set(xlim=(0, 10), ylim=(0, 100))
    said = ["epoch 2: 40.00 ± 1.50 (n = 3)", "epoch 8: 60.00 (n = 1)"]
    series = [
        Series("resnet18", [2, 8], [40, 60], said),
        Series("bam", [2, 8], [20, 90], ["epoch 2: 20.00", "epoch 8: 90.00"]),
    ]
    for one in series:
        axes.plot(one.x, one.y)
    return make_drawing("curves", "Accuracy", figure, series)


def test_the_page_fetches_nothing_and_breaks_no_rule_of_its_policy(show, make_page) -> None:
    browser = show(make_page(drawings=[a_drawing()]))
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert [url.rpartition("/")[2] for url in browser.requested_urls()] == ["report.html"]
    assert browser.said() == []


def test_a_column_sorts_up_and_down_and_back(show, make_page: MakePage) -> None:
    browser = show(make_page())
    as_written = ["resnet18", "resnet9", "bam"]
    for order, names in [
        ("ascending", ["bam", "resnet9", "resnet18"]),
        ("descending", ["resnet18", "resnet9", "bam"]),
        ("none", as_written),
    ]:
        click_heading(browser, "results", 0)
        assert heading(browser, "results", 0).get_attribute("aria-sort") == order
        assert first_cells(browser, "results") == names


def test_numbers_sort_by_value_and_what_is_missing_comes_last_either_way(show, make_page) -> None:
    browser = show(make_page())
    click_heading(browser, "results", 1)
    assert first_cells(browser, "results") == ["resnet18", "bam", "resnet9"]
    click_heading(browser, "results", 1)
    assert first_cells(browser, "results") == ["bam", "resnet18", "resnet9"]
    # 50 s, 2 h, 2 days: another column begins anew.
    click_heading(browser, "results", 2)
    assert first_cells(browser, "results") == ["resnet9", "resnet18", "bam"]
    assert heading(browser, "results", 1).get_attribute("aria-sort") == "none"


def test_a_table_is_sorted_by_keyboard(show, make_page: MakePage) -> None:
    browser = show(make_page())
    browser.driver.find_element(By.CSS_SELECTOR, "#results thead button").send_keys(Keys.ENTER)
    assert first_cells(browser, "results") == ["bam", "resnet9", "resnet18"]


def test_the_box_leaves_the_runs_that_have_all_words(show, make_page: MakePage) -> None:
    browser = show(make_page())
    box = browser.driver.find_element(By.ID, "filter")
    count = browser.driver.find_element(By.TAG_NAME, "output")
    assert count.text == "3 runs"
    box.send_keys("S0 resnet")
    assert first_cells(browser, "runs") == ["resnet18 s0", "resnet9 s0"]
    assert count.text == "2 of 3 runs"
    box.clear()
    box.send_keys("demo/2")  # stands in what a closed row holds
    assert first_cells(browser, "runs") == ["bam s0"]


def test_a_run_opens_where_it_stands_and_stays_with_its_row(show, make_page: MakePage) -> None:
    browser = show(make_page())
    inside = browser.driver.find_elements(By.CSS_SELECTOR, ".more")
    assert not any(row.is_displayed() for row in inside)
    toggle = browser.driver.find_element(By.CSS_SELECTOR, ".toggle")
    toggle.click()
    assert toggle.get_attribute("aria-expanded") == "true"
    assert "gpu07" in inside[0].text
    assert [row.is_displayed() for row in inside] == [True, False, False]
    click_heading(browser, "runs", 0)
    assert first_cells(browser, "runs") == ["bam s0", "resnet9 s0", "resnet18 s0"]
    last = browser.driver.find_elements(By.CSS_SELECTOR, "#runs > tbody")[-1]
    assert "gpu07" in last.text


def point_at(browser: Browser, x: float, y: float) -> str:
    """What is shown when the pointer is at a place of the figure, in units of its SVG."""
    browser.run(
        """
        const svg = document.querySelector(".drawing svg");
        const at = new DOMPoint(arguments[0], arguments[1]).matrixTransform(svg.getScreenCTM());
        const where = { clientX: at.x, clientY: at.y, bubbles: true };
        document.elementFromPoint(at.x, at.y).dispatchEvent(new PointerEvent("pointermove", where));
        """,
        x,
        y,
    )
    return shown_value(browser)


def shown_value(browser: Browser) -> str:
    return browser.driver.find_element(By.CSS_SELECTOR, ".tip").text


def test_the_pointer_shows_the_value_of_the_nearest_point(show, make_page: MakePage) -> None:
    drawing = a_drawing()
    browser = show(make_page(drawings=[drawing]))
    browser.run("document.querySelector('.drawing').scrollIntoView({block: 'center'})")
    (x, y), (last_x, last_y) = drawing.points[0]["at"]
    assert point_at(browser, x + 2, y - 3) == "resnet18\nepoch 2: 40.00 ± 1.50 (n = 3)"
    assert point_at(browser, last_x, last_y) == "resnet18\nepoch 8: 60.00 (n = 1)"
    assert point_at(browser, 5, 5) == ""


def test_the_arrow_keys_go_from_point_to_point(show, make_page: MakePage) -> None:
    browser = show(make_page(drawings=[a_drawing()]))
    drawing = browser.driver.find_element(By.CSS_SELECTOR, ".drawing")
    for key, said in [
        (Keys.ARROW_RIGHT, "resnet18\nepoch 2: 40.00 ± 1.50 (n = 3)"),
        (Keys.ARROW_RIGHT, "resnet18\nepoch 8: 60.00 (n = 1)"),
        (Keys.ARROW_RIGHT, "resnet18\nepoch 8: 60.00 (n = 1)"),
        (Keys.ARROW_DOWN, "bam\nepoch 8: 90.00"),
        (Keys.ESCAPE, ""),
    ]:
        drawing.send_keys(key)
        assert shown_value(browser) == said


def test_without_scripts_everything_can_be_read(show, make_page: MakePage, browser) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(make_page(drawings=[a_drawing()]))
        assert all(
            row.is_displayed() for row in browser.driver.find_elements(By.CSS_SELECTOR, ".more")
        )
        assert browser.driver.find_element(By.CSS_SELECTOR, ".drawing svg").is_displayed()
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)


def test_it_prints_to_a_pdf_with_its_text(show, make_page: MakePage) -> None:
    browser = show(make_page(drawings=[a_drawing()], fairness=["the rows differ in lr"]))
    pdf = base64.b64decode(browser.command("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 1
    assert texts_drawn(pdf) > 20


def texts_drawn(pdf: bytes) -> int:
    """How often the pages of a PDF draw letters as text."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    drawn = 0
    for stream in streams:
        try:
            drawn += len(re.findall(rb"T[jJ]\b", zlib.decompress(stream)))
        except zlib.error:
            continue  # a font or a picture
    return drawn


def test_paper_shows_what_matters_and_hides_what_is_to_be_clicked(show, make_page) -> None:
    browser = show(make_page(drawings=[a_drawing()]))
    browser.command("Emulation.setEmulatedMedia", media="print")
    for hidden in ("nav", ".filter"):
        assert not browser.driver.find_element(By.CSS_SELECTOR, hidden).is_displayed()
    for shown in ("#results", ".drawing svg", "#runs", "dl.options"):
        assert browser.driver.find_element(By.CSS_SELECTOR, shown).is_displayed()
    arrow = "return getComputedStyle(document.querySelector('thead button'), '::after').display"
    assert browser.run(arrow) == "none"


@pytest.mark.parametrize("width_px", [360, 1280])
def test_no_page_is_wider_than_its_window(show, make_page: MakePage, browser, width_px) -> None:
    browser.resize(width_px)
    show(make_page(drawings=[a_drawing()]))
    assert browser.run("return document.documentElement.scrollWidth") <= width_px


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_scheme_of_the_reader(show, make_page, scheme, is_dark) -> None:
    browser = show(make_page())
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.command("Emulation.setEmulatedMedia", media="", features=features)
    colour = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", colour))) < 128) == is_dark


def test_a_whole_report_fetches_nothing_and_has_no_error(browser, half_finished, tmp_path) -> None:
    page = make_report(load_runs(half_finished), title="demo", folders=[half_finished.path])
    path = tmp_path / "report.html"
    path.write_text(to_html(page), encoding="utf-8")
    browser.open(path)
    assert browser.requested_urls() == [path.as_uri()]
    assert browser.said() == []
    names = [drawing.name for drawing in page.drawings]
    assert names == ["curves", "seeds", "size", "lr", "timeline"]
    for name in names:
        figure = browser.driver.find_element(By.CSS_SELECTOR, f"#figure-{name} .drawing")
        figure.send_keys(Keys.ARROW_RIGHT)
        assert shown_value(browser) != ""


def test_a_thousand_runs_are_sorted_and_searched(browser, half_finished, tmp_path) -> None:
    one = load_runs(half_finished)
    runs, epochs, attempts = (
        pd.concat(
            [
                frame.astype({"run_id": str}).assign(run_id=frame["run_id"].astype(str) + f"-{n}")
                for n in range(200)
            ],
            ignore_index=True,
        )
        for frame in (one.runs, one.epochs, one.attempts)
    )
    runs["seed"] = range(len(runs))
    runs["lr"] = [0.1 * (1 + n % 7) for n in range(len(runs))]
    many = Runs(runs=runs, epochs=epochs, attempts=attempts, problems=())
    path = tmp_path / "report.html"
    html = to_html(make_report(many, title="many", folders=[]))
    assert len(html) < 10e6
    path.write_text(html, encoding="utf-8")
    browser.open(path)
    assert browser.run("return document.querySelectorAll('#runs > tbody').length") == 1000
    click_heading(browser, "runs", 3)
    keys = browser.run(
        "return [...document.querySelectorAll('#runs > tbody')]"
        ".map((body) => body.rows[0].cells[3].dataset.key)"
    )
    numbers = [float(key) for key in keys if key]
    assert numbers == sorted(numbers)
    assert keys[len(numbers) :] == [""] * 200
    box = browser.driver.find_element(By.ID, "filter")
    box.send_keys("sresnet_small lr=0.2 unfinished")
    wanted = len(runs[(runs["state"] == "unfinished") & (runs["lr"] == 0.2)])
    count = browser.driver.find_element(By.TAG_NAME, "output")
    assert count.text == f"{wanted} of 1000 runs"
    assert len(first_cells(browser, "runs")) == wanted > 20
