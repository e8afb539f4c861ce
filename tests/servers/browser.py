"""Chromium, as it is installed on the machine, driven by Playwright. Its own downloads are not used."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, WebError

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# A browser for tests asks nobody for updates; a container gives it neither a sandbox nor much shared memory.
_SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")
_SWITCHES += ("--disable-component-update", "--disable-sync", "--no-first-run", "--force-color-profile=srgb")

# With SLOW_BROWSER set whatever a page waits for comes late, and never at the same moment twice. A test that looks at a
# page before it is finished passes on a quick machine, and fails so.
_LATER = """(() => {
    const later = window.setTimeout.bind(window), ask = window.fetch.bind(window), Watcher = window.ResizeObserver;
    window.ResizeObserver = class extends Watcher {
        constructor(call) { super((...told) => later(() => call(...told), 800)); }
    };
    window.fetch = async (...asked) => {
        const answer = await ask(...asked);
        await new Promise((go) => later(go, 300 + 900 * Math.random()));
        return answer;
    };
})()"""


def program() -> str:
    """The path of the machine's Chromium, or an empty text."""
    return next((found for name in _PROGRAMS if (found := shutil.which(name))), "")


def unavailable() -> str:
    """Why there is no browser here; empty when there is one."""
    if find_spec("playwright") is None:
        return "playwright is not installed: pip install -e '.[test]'"
    return "" if program() else "there is no Chromium: make browser (Debian, as root: apt-get install chromium)"


@contextmanager
def chromium() -> "Iterator[Browser]":
    """A running browser. Where there is none the test is skipped, saying why, or fails when CI is set."""
    if reason := unavailable():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(_SWITCHES))
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One person at a browser of their own: nothing is shared with other visitors. Notes every error of the pages'
    scripts, everything that a Content-Security-Policy refused, and every request that goes to another server.
    """

    def __init__(self, browser: "Browser", address: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self._host = urlsplit(address).netloc
        self._left: list[Page] = []
        self._context: BrowserContext = browser.new_context(**options)
        self._context.set_default_timeout(120_000)
        self._context.on("console", self._said)
        self._context.on("weberror", self._failed)
        self._context.on("request", self._requested)

    def page(self) -> "Page":
        """A new tab."""
        page = self._context.new_page()
        if os.environ.get("SLOW_BROWSER"):
            page.add_init_script(_LATER)
        return page

    def tab(self) -> "Page":
        """The tab that was left behind by `clear`, else a new one: to open one takes longer than most tests."""
        return self._left.pop() if self._left else self.page()

    def clear(self, page: "Page") -> None:
        """Leave a tab as a new one is."""
        page.unroute_all()
        page.goto("about:blank")
        page.emulate_media(color_scheme="null", reduced_motion="null")
        page.set_viewport_size({"width": 1280, "height": 720})
        self._left.append(page)

    def _said(self, message: "ConsoleMessage") -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _failed(self, error: "WebError") -> None:
        self.complaints.append(f"script: {error.error}")

    def _requested(self, request: "Request") -> None:
        place = urlsplit(request.url)
        if place.scheme in ("http", "https", "ws", "wss") and place.netloc != self._host:
            self.complaints.append(f"request to another server: {request.url}")

    def excuse(self, pattern: str) -> None:
        """Take back the complaints that a test provoked on purpose. Raises AssertionError when there are none."""
        kept = [one for one in self.complaints if not re.search(pattern, one)]
        assert len(kept) < len(self.complaints), f"no complaint matches {pattern!r}: {self.complaints}"
        self.complaints = kept

    def leave(self) -> None:
        """Close the browser's windows. Raises AssertionError with all complaints."""
        self._context.close()
        self.answer_for_complaints()

    def answer_for_complaints(self) -> None:
        """Forget all complaints. Raises AssertionError with them when there are any."""
        complaints, self.complaints = self.complaints, []
        assert not complaints, "\n".join(complaints)
