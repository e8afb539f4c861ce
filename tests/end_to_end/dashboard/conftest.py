"""Fixtures for tests of the page: real servers, a real browser, and runs for them to show."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.end_to_end.dashboard.site import Site
from tests.servers.browser import Visitor, chromium
from tests.servers.tracking import TrackingServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Visit = Callable[..., Visitor]


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Site]:
    """Return the server of all modules here: to start one takes as long as several tests. The name of an experiment
    belongs to one test.
    """
    folder = tmp_path_factory.mktemp("site")
    server = TrackingServer(folder, empty_database, app_name="phases")
    server.start()
    yield Site(folder, server)
    server.stop()


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """Return Chromium. Not for the whole session: while Playwright runs, no other test could use asyncio."""
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Visit]:
    """Return a function that makes a visitor of the server at an address; options as of Playwright's `new_context`. At
    the end the test fails when a script failed, a policy was violated, or another server was asked for anything.
    """
    with ExitStack() as stack:

        def enter(address: str, **options: Any) -> Visitor:
            visitor = Visitor(browser, address, **options)
            stack.callback(visitor.leave)
            return visitor

        yield enter


@pytest.fixture(scope="package")
def regular(browser: "Browser", site: Site) -> Iterator[Visitor]:
    """Return a visitor who comes again and again, and whose browser has kept the page's files."""
    visitor = Visitor(browser, site.url)
    yield visitor
    visitor.leave()


@pytest.fixture
def browser_page(regular: Visitor) -> "Iterator[Page]":
    """Return a tab of a regular visitor. What belongs to the whole browser, such as what it stores, its clock and its
    permissions, is not changed in it: that needs a `visit`.
    """
    page = regular.tab()
    yield page
    regular.clear(page)
    regular.answer_for_complaints()
