"""The page's graph of a pipeline, with real runs: the state of each phase, and the updates."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from simulation import GOOD, Simulation

from mlflow_plugin.execution.set_records import MemberRun
from mlflow_plugin.format import describe_cost, describe_duration
from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.project.members import members_of
from mlflow_plugin.store import schema
from tests.end_to_end.dashboard.site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.end_to_end

BETWEEN, POOR, GATE = {**GOOD, "fidelity": 0.8}, {**GOOD, "fidelity": 0.4}, {**GOOD, "held_out": 0.1}


def card(page: "Page", phase: str) -> "Locator":
    return page.get_by_role("group", name="Pipeline").locator("a.card").filter(has=page.get_by_text(phase, exact=True))


def ask_now(page: "Page") -> None:
    """Has the page ask the server at once, as it does when its tab is looked at again."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def heartbeat(demo: Simulation, run_id: str, **told: Any) -> None:
    """The heartbeat of a living process; this one, unless `pid` names another."""
    pid = told.pop("pid", None)
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps(new_heartbeat(told.pop("step", 42), told, pid=pid)))


@pytest.fixture
def standing_still() -> Iterator[int]:
    """Return the number of a process that was stopped."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.kill(process.pid, signal.SIGSTOP)
    yield process.pid
    process.kill()
    process.wait()


def stale(demo: Simulation) -> None:
    demo.compute("train")
    demo.compute("collect", "other")


def invalidated(demo: Simulation) -> None:
    demo.compute("train")
    demo.compute("evaluate")
    demo.compute("collect", "other")


def quarantined(demo: Simulation) -> None:
    demo.records.quarantine(demo.compute("train"), "trained on the wrong base")


def interrupted(demo: Simulation) -> None:
    demo.die(demo.start("train")[0])


def failed(demo: Simulation) -> None:
    demo.client.set_terminated(demo.start("train")[0], "FAILED")


def running(demo: Simulation) -> None:
    heartbeat(demo, demo.start("train")[0], total=120)


def stuck(demo: Simulation) -> None:
    heartbeat(demo, demo.start("train")[0], total=120, since_step=4000, seconds_per_step=1, process_percent=0)


def computed(metrics: dict[str, float]) -> Callable[[Simulation], object]:
    return lambda demo: demo.compute("train", metrics=metrics)


STATES: dict[str, tuple[str, Callable[[Simulation], object]]] = {
    "up to date": ("train", computed(GOOD)),
    "stale": ("train", stale),
    "invalidated": ("evaluate", invalidated),
    "poor": ("train", computed(POOR)),
    "borderline": ("train", computed(BETWEEN)),
    "gate failed": ("train", computed(GATE)),
    "quality unknown": ("train", computed({"held_out": 0.8})),
    "running": ("train", running),
    "stuck": ("train", stuck),
    "interrupted": ("train", interrupted),
    "failed": ("train", failed),
    "quarantined": ("train", quarantined),
    "missing": ("train", lambda demo: None),
}


@pytest.mark.parametrize("state", STATES)
def test_a_card_names_the_state_of_its_phase_with_a_shape_of_its_own(
    site: Site, browser_page: "Page", state: str
) -> None:
    demo = site.demo(f"state {state}")
    demo.compute("collect")
    phase, make = STATES[state]
    make(demo)
    shown = card(site.opened(browser_page, demo), phase)
    shown.locator(".state", has_text=state).wait_for()
    assert shown.locator(".state svg").count() == 1


def test_one_card_stands_for_all_runs_of_a_matrix(site: Site, browser_page: "Page") -> None:
    demo = site.demo("matrix")
    demo.edit("MLproject", "phase: {}", "phase: {matrix: {seed: [0, 1, 2]}, at_least: 2}")
    request = demo.request("collect")
    members = members_of(request.phase, {})
    runs = [demo.run(demo.compute("collect", seed=member.values["seed"])) for member in members[:2]]
    good = [MemberRun(member, run, run) for member, run in zip(members, runs, strict=False)]
    demo.records.complete_set(demo.records.create_set(request, members), request, members, good, "")
    page = site.opened(browser_page, demo)
    shown = card(page, "collect")
    shown.get_by_text("2 of 3 runs").wait_for()
    assert "without seed=2" in page.inner_text("main")


def test_no_two_states_look_the_same(site: Site, browser_page: "Page") -> None:
    demo = site.demo("shapes")
    demo.compute("collect")
    site.opened(browser_page, demo)
    shapes = browser_page.evaluate(
        """async (states) => {
            const {html, render} = await import(new URL("phases/static/html.js", location.href));
            const {Icon} = await import(new URL("phases/static/states.js", location.href));
            return states.map((state) => {
                const place = document.createElement("div");
                render(html`<${Icon} state=${state} />`, place);
                return [...place.querySelectorAll("path")].map((path) => path.outerHTML).join();
            });
        }""",
        [*STATES, "stopped", "asking"],
    )
    assert len(set(shapes)) == len(STATES) + 2


def test_a_process_that_was_paused_is_shown_as_stopped(site: Site, browser_page: "Page", standing_still: int) -> None:
    demo = site.demo("stopped")
    demo.compute("collect")
    heartbeat(demo, demo.start("train")[0], pid=standing_still)
    shown = card(site.opened(browser_page, demo), "train")
    shown.get_by_text("stopped").wait_for()
    assert "running" not in shown.inner_text()


def test_the_first_view_shows_stale_phases_the_price_of_the_update_and_the_superseded_runs(
    site: Site, browser_page: "Page"
) -> None:
    demo = site.demo("update")
    first = demo.compute("collect")
    train = demo.compute("train", seconds=660.0, price_per_hour=1.0)
    evaluate = demo.compute("evaluate", seconds=120.0, price_per_hour=1.0)
    latest = demo.compute("collect", "other")
    page = site.opened(browser_page, demo)
    assert "train is stale; evaluate is invalidated" in page.locator(".summary p").inner_text()
    edge = page.locator(".edge-label").filter(has_text="used").inner_text()
    for run_id in (first, latest):
        completed = demo.run(run_id).completed_at
        assert completed is not None
        assert run_id[:8] in edge
        assert f"{completed:%Y-%m-%d %H:%M:%S}" in edge
    page.get_by_text("input train matches").wait_for(state="attached")
    update = page.locator(".update")
    text = update.inner_text()
    assert update.count() == 1
    assert "train → evaluate" in text.replace("\n", " ")
    assert "about 13 min" in text
    assert "$0.22" in text
    assert "2 good runs" in text
    for run_id in (train, evaluate):
        assert run_id[:8] in text
    assert "fidelity 0.9" in text
    assert "mlflow run" in update.get_by_role("group", name="Command that updates").inner_text()


def test_a_card_shows_quality_against_its_thresholds_and_what_the_run_took(site: Site, browser_page: "Page") -> None:
    demo = site.demo("figures")
    demo.compute("collect")
    run = demo.run(demo.compute("train", seconds=660.0, price_per_hour=1.0))
    shown = card(site.opened(browser_page, demo), "train")
    assert shown.get_by_role("img").get_attribute("aria-label") == "fidelity 0.9: good from 0.85, poor below 0.7"
    assert run.completed_at is not None
    for text in ("fidelity 0.9", f"{run.completed_at:%Y-%m-%d %H:%M:%S}", "11 min", "$0.18", "held_out > 0.5"):
        assert text in " ".join(shown.inner_text().split())


def test_a_run_that_was_interrupted_has_no_time_left(site: Site, browser_page: "Page") -> None:
    demo = site.demo("no time left")
    demo.compute("collect")
    run_id, _ = demo.start("train")
    last = new_heartbeat(42, {"total": 120, "seconds_per_step": 1.2})
    demo.client.set_tag(
        run_id, schema.HEARTBEAT, json.dumps({**last, "at": time.time() - 3600, "pid": 1, "began": -1e3})
    )
    shown = card(site.opened(browser_page, demo), "train")
    shown.get_by_text("ended at step 42 of 120").wait_for()
    assert "left" not in shown.inner_text()


def test_progress_moves_without_loading_the_page_again(site: Site, browser_page: "Page") -> None:
    demo = site.demo("progress")
    demo.compute("collect")
    run_id, _ = demo.start("train")
    heartbeat(
        demo, run_id, step=42, total=120, seconds_per_step=0.5, process_percent=187, cpu_percent=14, gpu_percent=93
    )
    page = site.opened(browser_page, demo)
    panel = page.locator(".running")
    panel.wait_for()
    told = " ".join(panel.inner_text().split())
    for text in ("step 42 of 120", "about 39 s left", "2 steps/s", "187% of a core", "14% CPU", "GPU 93%", "s ago"):
        assert text in told, told
    panel.locator("dd", has_text="2 s ago").wait_for()
    heartbeat(demo, run_id, step=60, total=120, seconds_per_step=0.5)
    ask_now(page)
    panel.get_by_text("step 60 of 120").first.wait_for()


def test_a_phase_that_completes_is_up_to_date_without_loading_the_page_again(site: Site, browser_page: "Page") -> None:
    demo = site.demo("completing")
    demo.compute("collect")
    run_id, decision = demo.start("train")
    heartbeat(demo, run_id)
    page = site.opened(browser_page, demo)
    card(page, "train").get_by_text("running").wait_for()
    demo.finish(run_id, decision, {"result.txt": "x"}, GOOD, 5.0)
    card(page, "train").get_by_text("up to date").wait_for(timeout=20_000)
    page.get_by_role("status").get_by_text("train is now up to date").wait_for(state="attached")
    assert "running" not in card(page, "train").inner_text()


def test_the_page_reports_a_server_that_is_away_and_resumes_once_it_is_back(
    site: Site, visit: Callable[..., Any]
) -> None:
    demo = site.demo("away")
    demo.compute("collect")
    visitor = visit(site.url)
    page = site.opened(visitor.page(), demo)
    page.route("**/phases/live*", lambda route: route.abort())
    ask_now(page)
    page.get_by_role("alert").get_by_text("The server does not answer.").wait_for()
    page.unroute("**/phases/live*")
    ask_now(page)
    page.get_by_role("alert").wait_for(state="detached")
    assert card(page, "collect").is_visible()
    visitor.excuse("ERR_FAILED")


def test_a_hidden_page_asks_for_nothing(site: Site, visit: Callable[..., Any]) -> None:
    demo = site.demo("hidden")
    demo.compute("collect")
    page = visit(site.url).page()
    page.clock.install()
    site.opened(page, demo)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.clock.run_for(300_000)
    assert asked == []
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    with page.expect_request("**/phases/live*"):
        ask_now(page)


def test_the_page_says_durations_and_sums_as_the_terminal_does(site: Site, browser_page: "Page") -> None:
    demo = site.demo("words")
    demo.compute("collect")
    site.opened(browser_page, demo)
    seconds = [0.0, 0.2, 1, 48, 59.6, 90, 600, 659, 660, 3599, 3601, 7500, 172_799, 200_000]
    sums = [0.0, 0.004, 0.0999, 0.43, 9.994, 9.996, 30, 1234.4, 1_234_567]
    said = browser_page.evaluate(
        """async ([seconds, sums]) => {
            const words = await import(new URL("phases/static/words.js", location.href));
            return [seconds.map(words.duration), sums.map(words.cost)];
        }""",
        [seconds, sums],
    )
    assert said == [[describe_duration(one) for one in seconds], [describe_cost(one) for one in sums]]
