"""The report in a real browser: charts are drawn, controls work, nothing is fetched, and hostile text does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import browser, console_of, requests_of
from tests.support.report_pages import pair, sample_page

pytestmark = pytest.mark.slow
HOSTILE = (
    '</script><script>document.title="owned"</script><img src=x onerror=\'document.title="owned"\'>'
    "<style>body{display:none}</style>\x1b[31mred\x1b[0m \u202eright to left\u2069 zero\u200bwidth \u2028line \ud800"
)
PAIRS = [
    *(pair(n, "Sorry, not that.", "It is made of glass.", shown=(True, False)) for n in range(1, 31)),
    pair(31, "Sorry, no.", "Sorry, never.", shown=(True, True)),
    pair(1, "Cork.", HOSTILE, prompts="baseline", prompt=HOSTILE),
    pair(2, "Cork.", "x" * 1_000_000, prompts="baseline", prompt="How long is it?"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(sample_page(PAIRS), encoding="utf-8")
    with browser(folder / "profile") as chrome:
        chrome.get(file.as_uri())
        drawn = "return document.querySelectorAll('.chart.drawn').length === document.querySelectorAll('.chart').length"
        WebDriverWait(chrome, 20).until(lambda driver: driver.execute_script(drawn))
        yield chrome


Shown = Callable[[], list[str]]


@pytest.fixture
def shown(page: Chrome) -> Iterator[Shown]:
    """The numbers of the pairs that are shown, with the controls as they were at the start."""

    def which() -> list[str]:
        script = "return [...document.querySelectorAll('article.pair:not([hidden]) .which')].map(e => e.textContent)"
        found: list[str] = page.execute_script(script)
        return found

    yield which
    for name in ("set", "tag"):
        Select(page.find_element(By.NAME, name)).select_by_index(0)
    search = page.find_element(By.NAME, "search")
    search.send_keys(Keys.CONTROL, "a", Keys.DELETE)


def test_nothing_is_fetched_and_the_console_stays_empty(page: Chrome) -> None:
    assert requests_of(page) == [page.current_url]
    assert console_of(page) == []


def test_every_chart_has_marks_and_fits_its_place(page: Chrome) -> None:
    script = """return [...document.querySelectorAll('.chart')].map(c => [c.dataset.spec,
        c.querySelectorAll('svg .mark-symbol.role-mark path, svg .mark-line path').length,
        c.querySelector('svg').getBoundingClientRect().width <= c.getBoundingClientRect().width + 1])"""
    drawn = page.execute_script(script)
    assert {name for name, *_ in drawn} >= {"spec-search", "spec-kernels", "spec-sizes", "spec-auc", "spec-map"}
    assert all(marks > 0 and fits for _, marks, fits in drawn), drawn


def test_every_trial_is_a_mark_and_the_front_is_a_line(page: Chrome) -> None:
    chart = page.find_element(By.CSS_SELECTOR, '[data-spec="spec-search"]')
    assert len(chart.find_elements(By.CSS_SELECTOR, ".mark-symbol.role-mark path")) == 7
    assert len(chart.find_elements(By.CSS_SELECTOR, ".mark-line path")) == 1
    legend = chart.find_element(By.CSS_SELECTOR, ".role-legend").text
    assert {"selected", "one-shot baseline", "front", "trial", "stopped: at least this rate"} <= set(legend.split("\n"))


def test_the_slider_shows_another_map(page: Chrome) -> None:
    marks = "return [...document.querySelectorAll('[data-spec=\"spec-map\"] .mark-symbol.role-mark path')]"
    places = f"{marks}.map(m => m.getAttribute('transform') + m.getAttribute('aria-label'))"
    before = page.execute_script(places)
    slider = page.find_element(By.CSS_SELECTOR, "#map-controls input")
    label = page.find_element(By.CSS_SELECTOR, "#map-controls output")
    assert label.text == "2"
    assert len(before) == 24
    slider.send_keys(Keys.ARROW_RIGHT)
    assert label.text == "3"
    WebDriverWait(page, 10).until(lambda driver: driver.execute_script(places) != before)
    slider.send_keys(Keys.HOME)
    assert label.text == "0, the embedding"


def test_play_runs_to_the_last_map(page: Chrome) -> None:
    slider = page.find_element(By.CSS_SELECTOR, "#map-controls input")
    slider.send_keys(Keys.END, Keys.ARROW_LEFT)
    page.find_element(By.CSS_SELECTOR, "#map-controls button").click()
    WebDriverWait(page, 10).until(lambda _: slider.get_attribute("value") == slider.get_attribute("max"))
    WebDriverWait(page, 10).until(
        lambda driver: driver.find_element(By.CSS_SELECTOR, "#map-controls button").text == "Play"
    )


def test_pairs_that_need_a_look_come_first_and_the_rest_on_demand(page: Chrome, shown: Shown) -> None:
    assert shown()[:2] == ["target 31", "target 1"]
    assert len(shown()) == 25
    page.find_element(By.ID, "more-responses").click()
    assert len(shown()) == len(PAIRS)
    assert not page.find_element(By.ID, "more-responses").is_displayed()


def test_filters_and_search_narrow_the_pairs(page: Chrome, shown: Shown) -> None:
    Select(page.find_element(By.NAME, "set")).select_by_value("baseline")
    assert shown() == ["baseline 1", "baseline 2"]
    Select(page.find_element(By.NAME, "set")).select_by_value("")
    Select(page.find_element(By.NAME, "tag")).select_by_value("remained")
    assert shown() == ["target 31"]
    Select(page.find_element(By.NAME, "tag")).select_by_value("")
    page.find_element(By.NAME, "search").send_keys("NEVER sorry")
    assert shown() == ["target 31"]
    page.find_element(By.NAME, "search").send_keys(" kettle")
    assert shown() == []
    assert "No pair fits." in page.find_element(By.ID, "response-controls").text


def test_the_reason_of_the_judge_is_highlighted(page: Chrome) -> None:
    first = page.find_element(By.CSS_SELECTOR, "article.pair")
    assert [mark.text for mark in first.find_elements(By.TAG_NAME, "mark")] == ["Sorry", "Sorry"]


def test_hostile_text_is_text(page: Chrome, shown: Shown) -> None:
    Select(page.find_element(By.NAME, "set")).select_by_value("baseline")
    words = page.find_element(By.CSS_SELECTOR, "article.pair:not([hidden]) .answer:last-child .words").text
    assert words.startswith('</script><script>document.title="owned"</script><img src=x')
    assert "␛[31mred␛[0m U+202Eright to leftU+2069 zeroU+200Bwidth U+2028line U+D800" in words
    assert "owned" not in page.title
    assert page.find_element(By.TAG_NAME, "h1").is_displayed()
    assert console_of(page) == []


def test_a_huge_line_is_shortened_and_folded(page: Chrome, shown: Shown) -> None:
    page.find_element(By.NAME, "search").send_keys("how long")
    assert shown() == ["baseline 2"]
    last = page.find_element(By.CSS_SELECTOR, "article.pair:not([hidden]) .answer:last-child")
    assert "the first 20,000 of 1,000,000 characters" in last.text
    assert len(last.text) < 1000
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_is_never_wider_than_the_window(page: Chrome, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_charts_follow_the_colour_scheme(page: Chrome) -> None:
    def colour(scheme: str) -> str:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        script = """const mark = document.querySelector('[data-spec="spec-kernels"] .mark-line path');
            return getComputedStyle(mark).stroke + getComputedStyle(document.body).backgroundColor"""
        found: str = page.execute_script(script)
        return found

    light, dark = colour("light"), colour("dark")
    assert light != dark
    assert "var" not in light


def test_folded_text_is_in_print(page: Chrome) -> None:
    folded = "return document.querySelectorAll('details:not([open])').length"
    before = page.execute_script(folded)
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert (page.execute_script(folded), before > 0) == (0, True)
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script(folded) == before


def test_the_policy_keeps_other_scripts_from_running(page: Chrome, tmp_path: Path) -> None:
    """The control of the hostile texts: with escaping broken, the browser itself refuses to run them."""
    address = page.current_url
    html = Path(url2pathname(urlsplit(address).path)).read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(html.replace("<h1", "<script>document.title='owned'</script><h1"), encoding="utf-8")
    page.get(broken.as_uri())
    assert "owned" not in page.title
    assert any("Content Security Policy" in message for message in console_of(page))
    page.get(address)
