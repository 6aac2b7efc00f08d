"""A real browser as a pytest fixture; tests/conftest.py imports it from here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

# Nothing but the page is to be loaded, and no window is to be seen.
_FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
)
WIDTH_PX, HEIGHT_PX = 1280, 1000


class Browser:
    """Debian's Chromium, without a window, and what it has asked for."""

    def __init__(self, profile: Path) -> None:
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # Named, so that selenium does not look for a driver in the net.
        self.driver = Chrome(options, Service(shutil.which("chromedriver")))
        self.resize(WIDTH_PX)

    def open(self, page: Path) -> None:
        """Load a file; what was asked for and said before is forgotten."""
        self.requested_urls()
        self.said()
        self.driver.get(page.resolve().as_uri())

    def resize(self, width_px: int, height_px: int = HEIGHT_PX) -> None:
        """The page's size; a window has a smallest width, and telephones are narrower."""
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript function body returns."""
        return self.driver.execute_script(script, *arguments)

    def command(self, name: str, **parameters: Any) -> Any:
        """One command of Chromium's DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def requested_urls(self) -> list[str]:
        """Every URL that was asked for since the last call."""
        entries = (
            json.loads(log["message"])["message"] for log in self.driver.get_log("performance")
        )
        return [
            entry["params"]["request"]["url"]
            for entry in entries
            if entry["method"] == "Network.requestWillBeSent"
        ]

    def said(self) -> list[str]:
        """What the console has said since the last call: errors, and what a policy has blocked."""
        return [log["message"] for log in self.driver.get_log("browser")]


def require_browser() -> None:
    """Skips the test without a browser, or fails it where SLURM_TESTS=required promises one."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        message = f"No browser: {' and '.join(missing)} not found; see tests/browser/install.sh"
        if os.environ.get("SLURM_TESTS") == "required":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def browser_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    require_browser()
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(browser_process: Browser) -> Iterator[Browser]:
    """One browser for the whole session, in its usual size and without emulations."""
    yield browser_process
    browser_process.resize(WIDTH_PX)
    browser_process.command("Emulation.setEmulatedMedia", media="", features=[])
