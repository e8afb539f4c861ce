"""The page on a telephone and a wall, by keyboard alone, in dark and light, and for assistive technology."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from simulation import GOOD, Simulation

from mlflow_plugin.errors import NeedsAnswer
from mlflow_plugin.store import schema
from tests.end_to_end.dashboard.site import Site, settled
from tests.servers.process import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.end_to_end
PHONE, DESK, WALL = {"width": 400, "height": 800}, {"width": 1280, "height": 800}, {"width": 3840, "height": 2160}


@dataclass
class Full:
    """A project whose views all have something to show, and the addresses of these."""

    demo: Simulation
    views: dict[str, tuple[str, ...]]


@pytest.fixture(scope="module")
def full(site: Site) -> Full:
    """Return a project with runs of many states, a question, and superseded runs."""
    demo = site.demo("everything")
    demo.compute("collect", seconds=60.0, price_per_hour=1.0)
    first = demo.compute("train", seconds=660.0, price_per_hour=1.0)
    demo.settle("train")
    demo.compute("evaluate", seconds=720.0, price_per_hour=1.0)
    demo.edit("train.py", "print(2)", "print(22)")
    second = demo.compute("train", output="other", metrics={**GOOD, "fidelity": 0.8}, epochs=12)
    demo.records.quarantine(demo.compute("train", output="wrong", epochs=3), "trained on the wrong base")
    demo.compute("collect", "other")
    interrupted, _ = demo.start("evaluate")
    demo.client.set_tag(interrupted, schema.CHECKPOINT, "checkpoints/step-000080")
    demo.die(interrupted)
    with pytest.raises(NeedsAnswer):
        demo.settle("train", epochs=12)
    return Full(
        demo,
        {
            "pipeline": ("pipeline",),
            "questions": ("questions",),
            "money": ("money",),
            "recoverable": ("recoverable",),
            "runs": ("phase", "train"),
            "comparison": ("compare", first, second),
        },
    )


def opened(page: "Page", site: Site, full: Full, view: str) -> "Page":
    return site.opened(page, full.demo, *full.views[view])


VIEWS = ("pipeline", "questions", "money", "recoverable", "runs", "comparison")


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_breaks_the_rules_of_accessibility_in_light_or_dark(
    site: Site, full: Full, browser_page: "Page", view: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser_page
    page.set_viewport_size(DESK)
    opened(page, site, full, view)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page).response["violations"]
        faults = [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]
        assert not faults, f"{scheme}: {faults}"


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_has_to_be_scrolled_sideways_and_letters_are_larger_on_a_wall(
    site: Site, full: Full, browser_page: "Page", view: str
) -> None:
    page = browser_page
    page.set_viewport_size(WALL)
    opened(page, site, full, view)
    sizes = []
    for viewport in (WALL, DESK, PHONE):
        page.set_viewport_size(viewport)
        wait_until(lambda width=viewport["width"]: farthest_card(page) <= width, "all cards are on the screen")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{view} is {wide} px too wide for {viewport['width']} px"
        assert viewport is not PHONE or not cut_off(page)
        sizes.append(page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)"))
    assert sizes[0] > sizes[1] >= sizes[2] >= 14


def cut_off(page: "Page") -> list[str]:
    """The graphs and tables that show less than they hold."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('.graph, .scroll')].filter((one) => one.scrollWidth > one.clientWidth)"
        ".map((one) => one.ariaLabel)"
    )
    return found


def test_a_graph_that_does_not_fit_is_a_list_of_phases_with_their_inputs(site: Site, browser_page: "Page") -> None:
    demo = site.demo("on a telephone")
    demo.edit("MLproject", "phase: {needs: [train]}", "phase: {needs: [collect, train]}")
    late = '  compare:\n    command: "python evaluate.py"\n    phase: {needs: [collect, train, evaluate]}\n'
    (demo.folder / "MLproject").write_text((demo.folder / "MLproject").read_text(encoding="utf-8") + late)
    phases = ["collect", "train", "evaluate", "compare"]
    for phase in phases:
        demo.compute(phase)
    demo.compute("collect", "other")
    page = browser_page
    page.set_viewport_size(PHONE)
    page.goto(site.address(demo.experiment_id))
    graph = page.locator(".graph.listed")
    graph.wait_for()
    assert not cut_off(page)
    shown = [" ".join(item.inner_text().split()) for item in graph.locator("li").all()]
    assert [item.split()[0] for item in shown] == phases
    assert "✗ input collect does not match: used" in shown[1]
    assert shown[3].endswith("✓ input train matches ✓ input evaluate matches")
    tops = [card.bounding_box()["y"] for card in graph.locator("a.card").all()]  # type: ignore[index]
    assert tops == sorted(tops)
    page.set_viewport_size(WALL)
    graph.wait_for(state="detached")
    assert page.locator(".wire").count() == 6
    page.set_viewport_size(PHONE)
    graph.wait_for()


def farthest_card(page: "Page") -> float:
    """How far to the right the graph's last card reaches (px); 0 without a graph."""
    far: float = page.evaluate(
        "Math.max(0, ...[...document.querySelectorAll('a.card')].map((card) => card.getBoundingClientRect().right))"
    )
    return far


def test_everything_is_reached_by_keyboard_and_nothing_holds_the_focus(
    site: Site, full: Full, browser_page: "Page"
) -> None:
    page = opened(browser_page, site, full, "pipeline")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.reload()
    settled(page)
    wanted = {"Questions 1", "Money and time", "Recoverable runs", "MLflow", "collect", "train", "evaluate", "Copy"}
    seen: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", focused(page)
        seen.append(focused(page))
    else:
        raise AssertionError(f"Tab never leaves the page: {seen}")
    assert not {name for name in wanted if not any(one.startswith(name) for one in seen)}, seen
    tab = page.get_by_role("link", name="Money and time")
    tab.focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="By phase").wait_for()
    assert page.evaluate("document.activeElement.innerText") == "Money and time"
    assert tab.get_attribute("aria-current") == "page"


def focused(page: "Page") -> str:
    text: str = page.evaluate(
        "document.activeElement.innerText || document.activeElement.getAttribute('aria-label') || ''"
    )
    return " ".join(text.split())


def test_the_colours_are_chosen_once_and_kept(site: Site, full: Full, visit: Any) -> None:
    page = opened(visit(site.url, color_scheme="light").page(), site, full, "pipeline")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_label("Colours").select_option("dark")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    settled(page)
    assert page.evaluate(background) == dark
    assert page.get_by_label("Colours").input_value() == "dark"
    page.get_by_label("Colours").select_option("")
    assert page.evaluate(background) == light


def test_a_command_is_copied_by_its_button(site: Site, full: Full, visit: Any) -> None:
    page = opened(visit(site.url, permissions=["clipboard-read", "clipboard-write"]).page(), site, full, "pipeline")
    command = page.locator(".update .command").first
    command.get_by_role("button").click()
    command.get_by_role("status").get_by_text("Copied").wait_for(state="attached")
    assert page.evaluate("navigator.clipboard.readText()") == command.locator("code").inner_text()


def test_the_pages_own_files_are_small_and_ask_for_no_other_host() -> None:
    from mlflow_plugin.dashboard.routes import STATIC

    files = [file for file in STATIC.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 300_000
    own = [file for file in files if file.parent == STATIC]
    assert len(own) > 10
    for file in own:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, f"{file.name} names another server"
        assert "innerHTML" not in text, f"{file.name} makes markup of text"


def test_each_part_by_others_is_named_with_its_version_and_has_its_licence_beside_it() -> None:
    from mlflow_plugin.dashboard.routes import STATIC

    vendor = STATIC / "vendor"
    notice = (vendor / "NOTICE").read_text(encoding="utf-8")
    parts = [file for file in vendor.iterdir() if file.suffix in (".js", ".css")]
    assert len(parts) >= 6
    for part in parts:
        (line,) = [line for line in notice.splitlines() if line.startswith(f"{part.name} ")]
        assert any(word.count(".") == 2 for word in line.split()), f"{part.name}: no version"
        licence = vendor / f"{part.stem.partition('-')[0]}.LICENSE"
        assert "Copyright" in licence.read_text(encoding="utf-8"), licence
