"""Fixtures for tests of the page: real servers, a real browser, and runs for them to show."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboard.site import Site
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


@pytest.fixture
def browser_page(visit: Visit, site: Site) -> "Page":
    """Return a tab of a visitor to that server."""
    return visit(site.url).page()
