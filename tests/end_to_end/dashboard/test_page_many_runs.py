"""The page with 10,000 runs."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.finished_store import add_other_runs
from tests.end_to_end.dashboard.site import Site
from tests.servers.tracking import TrackingServer

if TYPE_CHECKING:
    from tests.end_to_end.dashboard.conftest import Visit

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def crowded(tmp_path: Path, empty_database: Path) -> Iterator[Site]:
    """Return a server with a store of its own: what is in a store is multiplied."""
    server = TrackingServer(tmp_path / "site", empty_database, app_name="phases")
    server.start()
    yield Site(tmp_path / "site", server)
    server.stop()


def test_every_view_of_ten_thousand_runs_comes_within_seconds_and_turns_pages_at_once(
    crowded: Site, visit: "Visit"
) -> None:
    demo = crowded.demo("many")
    for phase in ("collect", "train", "evaluate"):
        demo.compute(phase)
    add_other_runs(crowded.folder / "mlflow.db", 10_000)
    page, began = visit(crowded.url).page(), time.monotonic()
    for parts in (("pipeline",), ("questions",), ("money",), ("recoverable",), ("phase", "train")):
        crowded.opened(page, demo, *parts)
    assert time.monotonic() - began < 25
    page.get_by_role("button", name="Show up to 5,000").click()
    page.get_by_role("heading", name="3,333 runs").wait_for()
    assert page.locator("tbody tr").count() == 50
    for press in ("Next", "Duration", "Quality", "Previous"):
        took = page.evaluate(
            """async (press) => {
                const found = [...document.querySelectorAll("button")].find((one) => one.innerText.startsWith(press));
                const began = performance.now();
                found.click();
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
                return performance.now() - began;
            }""",
            press,
        )
        assert took < 1000, f"{press} took {took:.0f} ms"
