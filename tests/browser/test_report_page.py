"""The report page in headless Chromium, opened from the disk as a user opens it.

Needs the programs chromium and chromedriver (Debian: chromium, chromium-driver); without them the tests are
skipped, unless HVG_BROWSER_TESTS=1 says that they must run. Screenshots go to HVG_TEST_ARTIFACTS, if set.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import CLASSES, evaluation_record, make_evaluation

from hvgcli.metrics.report import read_sources, write_report
from hvgcli.training.report import Scalars
from hvgcli.video import write_image

PROGRAMS = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
REQUIRED = os.environ.get("HVG_BROWSER_TESTS", "0") not in ("", "0")
if not all(PROGRAMS.values()) and not REQUIRED:
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)
if not REQUIRED:
    pytest.importorskip("selenium", reason="selenium is not installed: pip install 'hvgcli[test]'")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

PATIENCE = 60  # seconds until something that must happen counts as missing
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """A page in Chromium, and what the tests ask of it."""

    def __init__(self, profile: Path, page: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(PROGRAMS["chromium"])
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(PROGRAMS["chromedriver"])))
        self.page = page

    def open(self, width: int = 1280, height: int = 900, **media: str) -> None:
        """Open the page anew, in a window of this size. media: features like `prefers_color_scheme`."""
        features = [{"name": key.replace("_", "-"), "value": value} for key, value in media.items()]
        self.command("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.driver.get(self.page.as_uri())

    def command(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self.driver.execute_cdp_cmd(name, arguments)

    def ask(self, expression: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"return {expression}", *arguments)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, expression: str, *arguments: Any) -> None:
        """Until `expression` is true; `TimeoutException` where it never is."""
        WebDriverWait(self.driver, PATIENCE).until(lambda _: self.ask(expression, *arguments), expression)

    def colour(self, selector: str, name: str = "color") -> tuple[float, ...]:
        """Red, green and blue, 0..255, as drawn: a canvas reads any notation."""
        read = """(() => {
            const c = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
            c.fillStyle = getComputedStyle(document.querySelector(arguments[0]))[arguments[1]];
            c.fillRect(0, 0, 1, 1);
            return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3);
        })()"""
        return tuple(self.ask(read, selector, name))

    def picture(self, file: Path) -> None:
        """The whole page, from its head to its foot."""
        width, height = self.ask("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 16000), "scale": 1}
        taken = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(taken["data"]))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, make_clip) -> Path:
    """The page of two evaluations and a run."""
    root = tmp_path_factory.mktemp("report")
    folders = [
        make_evaluation(root / name, make_clip, evaluation_record(f"{name} against val", scale))
        for name, scale in (("small", 1.5), ("large", 1.0))
    ]
    rng = np.random.default_rng(0)
    (root / "run").mkdir()
    with Scalars(root / "run", 0) as scalars:
        for step in range(1, 301):
            losses = {"loss_d": 2 - step / 300 + rng.normal(0, 0.2), "loss_g": rng.normal(0, 0.3)}
            scalars.write(step, losses | {"seconds": 5.0 if step == 1 else 1.0, "data_seconds": 0.1})
    for step in (100, 200, 300):
        picture = rng.integers(0, 256, (64, 256, 3), dtype=np.uint8)
        write_image(root / "run" / "samples" / f"step-{step:08d}.png", picture)
    return write_report(read_sources([*folders, root / "run"]), root / "out", title="Small and large").index


@pytest.fixture(scope="module")
def browser(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Every test opens the page anew; starting Chromium takes longest."""
    browser = Browser(tmp_path_factory.mktemp("profile"), report)
    yield browser
    browser.driver.quit()


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("HVG_TEST_ARTIFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def classes(browser: Browser) -> list[str]:
    return [cell.text for cell in browser.find_all(".sortable tbody th")]


def test_opens_without_errors_and_without_a_network(browser: Browser) -> None:
    browser.driver.get_log("browser"), browser.driver.get_log("performance")  # of what was before
    browser.open()
    for video in browser.find_all("video"):
        browser.wait("arguments[0].readyState >= 2", video)
    assert browser.driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    asked = [one["request"]["url"] for one in sent if one["documentURL"] == browser.page.as_uri()]
    assert any(url.endswith(".mp4") for url in asked)
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert browser.driver.title == "Small and large"


def test_the_policy_stops_a_request(browser: Browser) -> None:
    browser.open()
    browser.driver.get_log("browser")
    browser.ask("document.body.append(Object.assign(new Image(), {src: 'http://localhost:9/x.png'}))")
    browser.wait("document.querySelector('body > img').complete")
    (entry,) = browser.driver.get_log("browser")
    assert "Content Security Policy" in entry["message"]


def test_videos_play_in_a_loop_and_silent(browser: Browser) -> None:
    browser.open()
    videos = browser.find_all("video")
    assert len(videos) == 5
    for video in videos:
        browser.ask("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", video)
        browser.wait("!arguments[0].paused && arguments[0].currentTime > 0", video)
        assert browser.ask("[arguments[0].muted, arguments[0].loop, arguments[0].videoWidth]", video) == [
            True,
            True,
            64,
        ]


def test_a_video_stops_and_goes_on_by_keyboard(browser: Browser) -> None:
    browser.open()
    browser.ask("document.querySelector('.card').scrollIntoView({behavior: 'instant'})")
    browser.wait("!document.querySelector('video').paused")
    button = browser.find(".play")
    assert button.accessible_name.startswith("Pause small against val, ")
    button.send_keys(Keys.SPACE)
    browser.wait("document.querySelector('video').paused")
    assert button.accessible_name.startswith("Play small against val, ")
    button.send_keys(Keys.ENTER)
    browser.wait("!document.querySelector('video').paused")
    every = browser.find("#pause-all")
    every.send_keys(Keys.ENTER)
    browser.wait("[...document.querySelectorAll('video')].every((video) => video.paused)")
    assert every.text == "Play all"


def test_nothing_moves_where_that_is_preferred(browser: Browser) -> None:
    browser.open(prefers_reduced_motion="reduce")
    browser.ask("document.querySelector('.card').scrollIntoView()")
    browser.wait("document.querySelector('video').readyState >= 2")
    assert browser.ask("[...document.querySelectorAll('video')].every((v) => v.paused && v.currentTime === 0)")
    browser.find(".play").send_keys(Keys.ENTER)
    browser.wait("!document.querySelector('video').paused")


def test_classes_are_sorted_by_keyboard(browser: Browser) -> None:
    browser.open()
    harmless = CLASSES[2]
    assert set(classes(browser)) == set(CLASSES)
    heads = browser.find_all(".sortable thead tr:last-child th")
    assert heads[0].get_attribute("aria-sort") == "ascending"
    distance = heads[3]
    assert "FID" in distance.text
    distance.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert classes(browser) == ["fire", "clouds", harmless], "the class without a value is last"
    distance.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert classes(browser) == ["clouds", "fire", harmless]
    assert [head.get_attribute("aria-sort") for head in heads].count(None) == len(heads) - 1
    assert distance.get_attribute("aria-sort") == "descending"
    heads[0].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert classes(browser) == [harmless, "clouds", "fire"]


def test_dark_and_light(browser: Browser) -> None:
    papers = {}
    for scheme in ("light", "dark"):
        browser.open(prefers_color_scheme=scheme)
        papers[scheme] = browser.colour("body", "backgroundColor")
        for selector in ("body", ".lead", ".note", "nav a", ".sort", "footer", ".warnings"):
            paper = papers[scheme] if selector != ".warnings" else browser.colour(selector, "backgroundColor")
            assert contrast(browser.colour(selector), paper) >= 4.5, (scheme, selector)
        strokes = [browser.colour(f".chart svg path:nth-of-type({n})", "stroke") for n in (1, 2)]
        assert all(contrast(stroke, papers[scheme]) >= 3 for stroke in strokes)
    assert sum(papers["light"]) > 600 > 150 > sum(papers["dark"])


def test_the_theme_can_be_chosen(browser: Browser) -> None:
    browser.open(prefers_color_scheme="dark")
    dark = browser.colour("body", "backgroundColor")
    button = browser.find("#theme")
    assert button.get_attribute("aria-pressed") == "true"
    button.send_keys(Keys.ENTER)
    light = browser.colour("body", "backgroundColor")
    assert button.get_attribute("aria-pressed") == "false"
    assert light != dark
    assert browser.ask("localStorage.getItem('hvg-theme')") == "light", "written"
    # What one page stores can get lost on a loaded machine when the browser leaves it, so the next one is given it.
    stored = "localStorage.setItem('hvg-theme', 'light')"
    script = browser.command("Page.addScriptToEvaluateOnNewDocument", source=stored)
    browser.open(prefers_color_scheme="dark")
    browser.command("Page.removeScriptToEvaluateOnNewDocument", **script)
    assert browser.colour("body", "backgroundColor") == light, "remembered"
    assert browser.find("#theme").get_attribute("aria-pressed") == "false"
    browser.ask("localStorage.clear()")


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance of sRGB (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("width", [320, 360, 768])
def test_no_sideways_scrolling(browser: Browser, width: int) -> None:
    browser.open(width=width, height=740)
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.documentElement.scrollWidth") <= width
    if width < 400:
        table = browser.find("#classes .scroll")
        assert browser.ask("arguments[0].scrollWidth > arguments[0].clientWidth", table), "it scrolls in itself"
        assert table.get_attribute("tabindex") == "0"


def test_the_skip_link(browser: Browser) -> None:
    browser.open()
    browser.find("body").send_keys(Keys.TAB)
    link = browser.driver.switch_to.active_element
    assert link.text == "Skip to the content"
    link.send_keys(Keys.ENTER)
    browser.wait("document.activeElement.id === 'main'")


def test_sheets_are_chosen_by_a_slider(browser: Browser) -> None:
    browser.open()
    slider = browser.find(".sheets input")
    shown = ".sheets figure.now"
    assert len(browser.find_all(shown)) == 1
    assert "Step 300" in browser.find(shown).text
    slider.send_keys(Keys.ARROW_LEFT)
    assert "Step 200" in browser.find(shown).text
    assert slider.get_attribute("aria-valuetext") == "step 200"
    browser.wait("document.querySelector(arguments[0]).naturalWidth === 256", f"{shown} img")


def test_it_can_be_read_without_scripts(browser: Browser) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open()
        assert browser.find("video").get_attribute("controls") is not None
        assert not browser.find(".play").is_displayed()
        assert not browser.find("#theme").is_displayed()
        assert all(figure.is_displayed() for figure in browser.find_all(".sheets figure"))
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)


def test_on_paper(browser: Browser) -> None:
    browser.open(prefers_color_scheme="dark")
    browser.command("Emulation.setEmulatedMedia", media="print", features=[])
    assert sum(browser.colour("body", "backgroundColor")) > 600, "no dark paper"
    assert not browser.find("nav").is_displayed()
    browser.command("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 360, "light")]
)
def test_pictures_of_the_page(browser: Browser, artifacts: Path, name: str, width: int, scheme: str) -> None:
    browser.open(width=width, prefers_color_scheme=scheme)
    browser.wait("[...document.querySelectorAll('video')].every((video) => video.readyState >= 2)")
    browser.picture(artifacts / f"report-{name}.png")
    assert (artifacts / f"report-{name}.png").read_bytes().startswith(b"\x89PNG")
