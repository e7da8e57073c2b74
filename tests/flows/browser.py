"""Prefect's pages in a real browser: Debian's Chromium, driven by Selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from PIL import Image

from tests.flows.stack import ROOT, Stack

FLAGS = (
    "--headless",
    "--no-sandbox",  # containers run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,1500",
)
SCREENSHOTS = "SCREENSHOTS"
"""Environment variable: `docs` to write the pictures of the docs anew."""


@dataclass(frozen=True, slots=True)
class Browser:
    driver: Any
    pictures: Path

    def open(self, address: str) -> None:
        self.driver.get(address)

    def find(self, xpath: str, *, seconds: float = 60) -> Any:
        """The first element that can be seen, scrolled to the middle."""
        found = self._until(
            lambda: next((each for each in self.driver.find_elements("xpath", xpath) if each.is_displayed()), None), seconds
        )
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        return found

    def write(self, xpath: str, text: str) -> None:
        """In place of what stands there."""
        from selenium.webdriver.common.keys import Keys

        element = self.find(xpath)
        element.send_keys(Keys.CONTROL, "a")
        element.send_keys(text)

    def shows(self, text: str, *, seconds: float = 60) -> str:
        """The text of the page once `text` stands in it."""
        return self._until(lambda: (page := self.driver.find_element("tag name", "body").text) and text in page and page, seconds)

    def picture(self, name: str, *, height: int) -> None:
        """Of the upper part of the page, in few colours: small enough for the docs."""
        self.driver.set_window_size(1100, height)
        self.driver.execute_script("window.scrollTo(0, 0)")
        shot = Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("RGB").quantize(48)
        assert len(shot.getcolors() or ()) > 10
        shot.save(self.pictures / f"{name}.png", optimize=True)

    def _until(self, condition: Callable[[], Any], seconds: float) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            return WebDriverWait(self.driver, seconds, 0.2, [StaleElementReferenceException]).until(lambda _: condition())
        except TimeoutException:
            pytest.fail(f"waited {seconds} s; the page says:\n{self.driver.find_element('tag name', 'body').text[:3000]}")


@contextmanager
def opened_browser(pictures: Path) -> Generator[Browser]:
    webdriver = pytest.importorskip("selenium.webdriver")
    driver_path = shutil.which("chromedriver")
    if driver_path is None:
        pytest.skip("no chromium-driver on this machine")
    with TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
        try:
            yield Browser(driver, ROOT / "docs/images" if os.environ.get(SCREENSHOTS) == "docs" else pictures)
        finally:
            driver.quit()


def logged_in(browser: Browser, stack: Stack) -> None:
    """As a person does it: the password of the API once."""
    browser.open(f"{stack.ui}/v2/dashboard")
    browser.write("//input[@type='password']", stack.env["PREFECT_API_AUTH_STRING"] + "\n")
    browser.shows("Dashboard")


def fill_in(browser: Browser, *, last_day: str, east: str) -> None:
    """The last day by its date picker, and one side of the area."""
    from selenium.webdriver.common.keys import Keys

    browser.find("//*[text()[contains(., 'Last day')]]/following::button[contains(., '20')][1]").click()
    picker = "//*[@role='dialog' or @data-radix-popper-content-wrapper]//input"
    browser.write(picker, last_day)
    browser.find(picker).send_keys(Keys.ENTER)
    browser.driver.find_element("tag name", "body").send_keys(Keys.ESCAPE)
    browser.write("//*[text()[contains(., 'East')]]/following::input[@type='number'][1]", east)
