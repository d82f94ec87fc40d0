"""A real browser on a real platform: Debian's Chromium, driven by Playwright; without one these tests are skipped."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

from infra.local import page as page_of_stack
from infra.local.distribution import ALERTMANAGER, PROMETHEUS, ToolMissing, fetch
from infra.local.harness import own_stack
from infra.local.settings import ROOT
from infra.local.stack import LocalStack

SCREENSHOTS = Path(os.environ.get("HOLDFAST_ARTEFACTS") or ROOT / ".local" / "artefacts") / "screenshots"
"""Kept for those who read the results of CI."""
SIZE: ViewportSize = {"width": 1600, "height": 1000}
_ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-gpu", "--force-color-profile=srgb")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Future[LocalStack]"]:
    """A platform that is coming up while the browser starts; it ends with the module."""
    if _chromium() is None:
        pytest.skip("there is no chromium; Debian's will do: apt-get install chromium")
    try:
        for tool in (PROMETHEUS, ALERTMANAGER):
            fetch(tool, lambda _line: None)
    except ToolMissing as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("room") / ".local"
    stack = own_stack(directory, prometheus="on", traces="on", page="on", scrape_seconds=1)

    def up() -> LocalStack:
        stack.up()
        return stack

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(up)
        try:
            yield coming
        finally:
            coming.exception()  # what has begun is waited for, so that it can be ended
            stack.down()


@pytest.fixture(scope="module")
def browser(begun: "Future[LocalStack]") -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium(), args=list(_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stack(begun: "Future[LocalStack]", browser: Browser) -> Iterator[LocalStack]:
    """A platform with its page, a Prometheus that scrapes each second, and a few orders a second."""
    running = begun.result()
    urls = ["--url", running.url("order"), "--inventory-url", running.url("inventory")]
    command = [sys.executable, "-m", "infra.load", "--rate", "6", "--seconds", "280", *urls]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as customers:
        try:
            yield running
        finally:
            customers.terminate()


@pytest.fixture(scope="module")
def room(stack: LocalStack, browser: Browser) -> Iterator[Page]:
    """The page, logged in by the link that `make up` prints. Whatever it complains about fails the tests."""
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text}")

    context = browser.new_context(viewport=SIZE, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(page_of_stack.link(stack.settings, stack.state))
    page.locator("body.operator").wait_for()
    yield page
    assert complaints == []
    context.close()


def screenshot(page: Page, name: str, *, size: tuple[int, int] | None = None) -> None:
    """Keep what the page looks like, for those who read the results of CI: all of it, or what fits into a size."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.evaluate("scrollTo(0, 0)")
    if size:
        page.set_viewport_size({"width": size[0], "height": size[1]})
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=size is None)
    if size:
        page.set_viewport_size(SIZE)


def _chromium() -> str | None:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found and str(Path(found))
