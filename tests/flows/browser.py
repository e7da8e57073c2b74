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
from tests.servers import free_port

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
SECONDS = 120.0
"""That a page may take."""
SCREENSHOTS = "SCREENSHOTS"
"""Environment variable: `docs` to write the pictures of the docs anew."""


@dataclass(frozen=True, slots=True)
class Browser:
    driver: Any
    pictures: Path

    def open(self, address: str) -> None:
        self.driver.get(address)

    def find(self, xpath: str) -> Any:
        """The first element that can be seen, scrolled to the middle."""
        return self._until(lambda: self._seen(xpath))

    def click(self, xpath: str) -> None:
        """As soon as nothing lies over it: menus close, and pages draw themselves anew."""

        def clicked() -> bool:
            if (element := self._seen(xpath)) is not None:
                element.click()
            return element is not None

        self._until(clicked)

    def write(self, xpath: str, text: str, *keys: str) -> None:
        """In place of what stands there, until it stands there: a page may still be about to fill in what it has asked for."""
        from selenium.webdriver.common.keys import Keys

        def written() -> bool:
            if (element := self._seen(xpath)) is None:
                return False
            element.send_keys(Keys.CONTROL, "a")
            element.send_keys(text)
            return element.get_attribute("value") == text

        self._until(written)
        if keys:
            self.find(xpath).send_keys(*keys)

    def _seen(self, xpath: str) -> Any:
        found = next((each for each in self.driver.find_elements("xpath", xpath) if each.is_displayed()), None)
        if found is not None:
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        return found

    def shows(self, *texts: str) -> str:
        """The text of the page once all of these stand in it."""

        def shown() -> str | None:
            page = self.driver.find_element("tag name", "body").text
            return page if all(text in page for text in texts) else None

        return self._until(shown)

    def picture(self, name: str, *, height: int) -> None:
        """Of the upper part of the page, in few colours: small enough for the docs."""
        self.driver.set_window_size(1100, height)
        self.driver.execute_script("window.scrollTo(0, 0)")
        shot = Image.open(BytesIO(self.driver.get_screenshot_as_png())).convert("RGB").quantize(48)
        assert len(shot.getcolors() or ()) > 10
        shot.save(self.pictures / f"{name}.png", optimize=True)

    def _until(self, condition: Callable[[], Any]) -> Any:
        from selenium.common import exceptions
        from selenium.webdriver.support.ui import WebDriverWait

        passing = [
            exceptions.StaleElementReferenceException,
            exceptions.ElementClickInterceptedException,
            exceptions.ElementNotInteractableException,
            exceptions.NoSuchElementException,
        ]
        try:
            return WebDriverWait(self.driver, SECONDS, 0.2, passing).until(lambda _: condition())
        except exceptions.TimeoutException:
            pytest.fail(f"waited {SECONDS} s; the page says:\n{self.driver.find_element('tag name', 'body').text[:3000]}")


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
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path, port=free_port()))
        try:
            yield Browser(driver, ROOT / "docs/images" if os.environ.get(SCREENSHOTS) == "docs" else pictures)
        finally:
            driver.quit()


def logged_in(browser: Browser, stack: Stack) -> None:
    """As a person does it: the password of the API once."""
    browser.open(f"{stack.ui}/v2/dashboard")
    browser.write("//input[@type='password']", stack.env["PREFECT_API_AUTH_STRING"], "\n")
    browser.shows("Dashboard")


def fill_in(browser: Browser, *, last_day: str, east: str) -> None:
    """The last day by its date picker, and one side of the area."""
    from selenium.webdriver.common.keys import Keys

    browser.click("//*[text()[contains(., 'Last day')]]/following::button[contains(., '20')][1]")
    browser.write("//*[@role='dialog' or @data-radix-popper-content-wrapper]//input", last_day, Keys.ENTER)
    browser.driver.find_element("tag name", "body").send_keys(Keys.ESCAPE)
    browser.write("//*[text()[contains(., 'East')]]/following::input[@type='number'][1]", east)
