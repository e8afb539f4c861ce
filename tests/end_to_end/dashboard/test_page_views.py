"""The page's other views, with real runs: runs of a phase, comparison, money, recoverable; hostile names as text."""

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from simulation import GOOD

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.store import schema
from tests.end_to_end.dashboard.site import Site, settled
from tests.servers.process import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytestmark = pytest.mark.end_to_end
HOSTILE = "<img src=x onerror=alert(1)>"


def table(page: "Page", name: str) -> "Locator":
    return page.get_by_role("group", name=name, exact=True).locator("table")


def told(place: "Locator") -> str:
    return " ".join(place.inner_text().split())


def test_a_card_leads_to_the_runs_of_its_phase_and_two_of_them_to_their_comparison(
    site: Site, browser_page: "Page"
) -> None:
    demo = site.demo("comparing")
    demo.compute("collect")
    first = demo.compute("train", seconds=660.0)
    demo.edit("train.py", "print(2)", "# Twice.\nprint(22)")
    second = demo.compute("train", metrics={**GOOD, "fidelity": 0.97}, seconds=720.0, epochs=12)
    poor = demo.compute("train", metrics={**GOOD, "fidelity": 0.3}, epochs=1)
    page = site.opened(browser_page, demo)
    page.locator("a.card", has_text="train").press("Enter")
    page.get_by_role("heading", name="3 runs").wait_for()
    rows = table(page, "Runs").locator("tbody tr")
    assert [told(row)[:8] for row in rows.all()] == [poor[:8], second[:8], first[:8]]
    assert "poor" in told(rows.first)
    assert "fidelity of 3 runs over time" in (page.locator(".plot [role=img]").get_attribute("aria-label") or "")
    assert page.locator(".plot canvas").count() == 1
    page.get_by_role("button", name="Quality").click()
    assert told(rows.first).startswith(second[:8])
    page.get_by_label(f"Compare {second[:8]}").check()
    page.get_by_label(f"Compare {first[:8]}").check()
    stock = page.get_by_role("link", name="in MLflow").get_attribute("href") or ""
    assert stock.startswith("./#/compare-runs?runs=%5B%22")
    page.get_by_role("link", name="Compare the two").click()
    page.get_by_role("heading", name="Effects").wait_for()
    assert first[:8] in told(page.locator(".side").first)
    effects = told(table(page, "Effects"))
    assert "fidelity 0.9 better 0.97 +0.07" in effects
    assert "duration better 11 min 12 min +1 min" in effects
    assert "epochs 10 12" in told(table(page, "Parameters that differ"))
    diff = page.get_by_role("group", name="Changes of train.py")
    assert diff.locator(".removed", has_text="-print(2)").count() == 1
    assert diff.locator(".added", has_text="+print(22)").count() == 1


def test_a_cosmetic_edit_is_folded_away_and_called_so(site: Site, browser_page: "Page") -> None:
    demo = site.demo("cosmetic")
    first = demo.compute("collect", "one")
    demo.edit("collect.py", "print(1)", "# A remark.\nprint(1)")
    second = demo.compute("collect", "two")
    page = site.opened(browser_page, demo, "compare", first, second)
    file = page.locator("details.file", has_text="collect.py")
    assert "changes no result" in told(file.locator("summary"))
    assert file.get_attribute("open") is None
    file.locator("summary").press("Enter")
    file.get_by_text("+# A remark.").wait_for()


def test_an_address_that_names_only_a_run_finds_its_phase(site: Site, visit: Any) -> None:
    visitor = visit(site.url)
    browser_page = visitor.page()
    demo = site.demo("finding")
    run_id = demo.compute("collect")
    browser_page.goto(f"{site.url}/phases#/run/{run_id}")
    browser_page.locator("tr.sought", has_text=run_id[:8]).wait_for()
    assert f"#/{demo.experiment_id}/demo/phase/collect/{run_id}" in browser_page.url
    browser_page.goto(f"{site.url}/phases#/run/{'0' * 32}")
    browser_page.get_by_role("alert").wait_for()
    visitor.excuse("404")


def test_a_run_links_to_its_page_in_mlflow(site: Site, browser_page: "Page") -> None:
    demo = site.demo("linking")
    run_id = demo.compute("collect")
    page = site.opened(browser_page, demo, "phase", "collect")
    page.get_by_role("link", name=run_id[:8]).click()
    page.wait_for_url(f"{site.url}/#/experiments/**")
    assert f"/#/experiments/{demo.experiment_id}/runs/{run_id}" in page.url


def test_all_of_very_many_runs_are_counted_on_request(site: Site, browser_page: "Page") -> None:
    demo = site.demo("counting")
    demo.compute("collect")

    def some(route: "Route") -> None:
        found = route.fetch().json()
        few = {} if "all=1" in route.request.url else {"counted_runs": 0, "truncated": True}
        route.fulfill(json={**found, **few})

    browser_page.route("**/phases/accounts*", some)
    page = site.opened(browser_page, demo, "money")
    assert "0 runs counted. Older runs are not in these sums." in told(page.locator("main"))
    page.get_by_role("button", name="Count all").click()
    page.get_by_text("1 run counted.").wait_for()
    page.unroute("**/phases/accounts*")


def test_money_and_time_are_shown_by_phase_by_hardware_and_against_the_estimate(
    site: Site, browser_page: "Page"
) -> None:
    demo = site.demo("money")
    demo.compute("collect", seconds=60.0, price_per_hour=1.0)
    demo.compute("train", seconds=660.0, price_per_hour=1.0)
    demo.settle("train")  # reused
    demo.compute("evaluate", seconds=120.0, price_per_hour=1.0)
    demo.compute("train", metrics={**GOOD, "fidelity": 0.99}, output="better", seconds=600.0, price_per_hour=1.0)
    page = site.opened(browser_page, demo, "money")
    totals = page.locator(".totals")
    assert re.search(r"Spent \$\S+ 24 min", told(totals))
    assert "Saved by reuse $0.18 11 min" in told(totals)
    assert "train is the bottleneck" in told(page.locator(".hint"))
    phases = table(page, "Money and time by phase")
    assert "train 2 1" in told(phases.locator("tr", has_text="train"))
    assert told(phases.locator("tr", has_text="collect")).endswith("1 min – –")
    assert "24 min" in told(phases.locator("tfoot"))
    assert told(table(page, "Money and time by hardware").locator("tbody tr").first).endswith("24 min $0.40")
    assert "train" in told(table(page, "Baseline across model sizes"))
    assert "0.91 x" in told(table(page, "Estimated against actual"))


def test_superseded_quarantined_resumable_and_deleted_runs_are_listed(site: Site, browser_page: "Page") -> None:
    demo = site.demo("recoverable")
    collected = demo.compute("collect")
    train = demo.compute("train")
    demo.compute("train", output="other", metrics={**GOOD, "fidelity": 0.95})
    demo.records.quarantine(collected, "collected from the wrong prompts")
    interrupted, _ = demo.start("train", epochs=99)
    demo.client.set_tag(interrupted, schema.CHECKPOINT, "checkpoints/step-000080")
    demo.die(interrupted)
    demo.client.delete_run(demo.compute("evaluate"))
    page = site.opened(browser_page, demo, "recoverable")
    superseded = told(table(page, "Superseded"))
    assert train[:8] in superseded
    assert "0.9 1 min" in superseded
    assert "Superseded by" in superseded
    quarantined = told(table(page, "Quarantined"))
    assert collected[:8] in quarantined
    assert "collected from the wrong prompts" in quarantined
    assert train[:8] in quarantined
    found = page.locator(".resumable")
    assert told(found).count(interrupted[:8]) == 1
    assert found.get_by_role("link", name=interrupted[:8]).count() == 1
    assert "checkpoints/step-000080" in told(found)
    assert "mlflow run" in told(found.locator(".command"))
    assert "evaluate" in told(page.get_by_role("region", name="Deleted in MLflow"))


def test_the_name_of_a_person_is_not_broken_inside_a_word(site: Site, browser_page: "Page") -> None:
    demo = site.demo("by whom")
    demo.compute("collect")
    superseded = demo.compute("train", price_per_hour=1000.0)
    demo.compute("collect", "other")
    by = demo.run(superseded).invalidated_by
    demo.client.set_tag(by, schema.ANSWERED_BY, "root (decide=rerun)")
    page = site.opened(browser_page, demo, "recoverable")
    cell = table(page, "Superseded").locator("tbody tr").first.get_by_text("root")
    words = cell.evaluate(
        """cell => cell.textContent.split(" ").map((word) => {
            const range = document.createRange();
            const from = cell.textContent.indexOf(word);
            range.setStart(cell.firstChild, from);
            range.setEnd(cell.firstChild, from + word.length);
            return [word, range.getClientRects().length];
        })"""
    )
    assert words == [["root", 1], ["(decide=rerun)", 1]]


@pytest.mark.parametrize(
    ("parts", "view"), [((), "Pipeline"), (("questions",), "Questions"), (("phase", "train"), "train")]
)
def test_the_browsers_tab_shows_the_place_and_the_number_of_open_questions(
    site: Site, browser_page: "Page", parts: tuple[str, ...], view: str
) -> None:
    demo = site.demo(f"title of {view}")
    site.demo(f"beside {view}").compute("collect")  # One experiment alone would be shown at once.
    demo.compute("collect")
    demo.compute("train", metrics={**GOOD, "fidelity": 0.8})
    page = site.opened(browser_page, demo, *parts)
    wait_until(lambda: page.title() == f"title of {view} · demo · {view} · Phases", "the title says where one is")
    with pytest.raises(PhaseError):
        demo.settle("train")
    page.reload()
    wait_until(lambda: page.title() == f"(1) title of {view} · demo · {view} · Phases", "the question is in the title")
    page.get_by_role("link", name="Phases", exact=True).click()
    wait_until(lambda: page.title() == "Phases", "the list of experiments has its own title")


def test_names_reasons_and_parameters_that_look_like_markup_stay_text(site: Site, browser_page: "Page") -> None:
    demo = site.demo(f"hostile {HOSTILE}")
    demo.compute("collect")
    run_id = demo.compute("train", device=HOSTILE, metrics={**GOOD, "fidelity": 0.8})
    for tag in (schema.REASON, schema.HARDWARE, "mlflow.user", "mlflow.runName"):
        demo.client.set_tag(run_id, tag, HOSTILE)
    demo.records.quarantine(run_id, HOSTILE)
    other = demo.compute("train", device="cpu", metrics={**GOOD, "fidelity": 0.9})
    browser_page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    for place, parts in (
        ("header", ()),
        ("main", ("phase", "train")),
        ("main", ("recoverable",)),
        ("main", ("money",)),
        ("main", ("compare", run_id, other)),
    ):
        page = site.opened(browser_page, demo, *parts)
        page.locator(place).get_by_text(HOSTILE).first.wait_for()
        assert page.locator("img").count() == 0


def test_a_phase_or_project_that_does_not_exist_is_explained(site: Site, visit: Any) -> None:
    visitor = visit(site.url)
    demo = site.demo("wrong")
    demo.compute("collect")
    page = visitor.page()
    page.goto(f"{site.url}/phases#/{demo.experiment_id}/demo/phase/{HOSTILE}")
    page.get_by_role("alert").get_by_text("has no phase").wait_for()
    page.goto(f"{site.url}/phases#/{demo.experiment_id}/other/pipeline")
    page.get_by_role("alert").get_by_text("has no project 'other'").wait_for()
    assert page.locator("a.card").count() == 0
    visitor.excuse("40[04]")


def test_without_an_experiment_the_page_lists_those_that_hold_phases(site: Site, browser_page: "Page") -> None:
    demo = site.demo("listed")
    demo.compute("collect")
    empty = site.demo("empty")
    page = browser_page
    page.goto(site.address())
    row = page.locator(".experiments li", has_text="listed")
    row.get_by_role("link", name="demo").click()
    page.wait_for_url(f"**/phases#/{demo.experiment_id}/demo/pipeline")
    page.goto(site.address())
    row.wait_for()
    assert page.locator(".experiments li", has_text="empty").count() == 0
    page.goto(f"{site.address()}#/{empty.experiment_id}")
    page.get_by_text(f"Experiment {empty.experiment_id} holds no phases that you may read.").wait_for()
    page.get_by_role("link", name="All experiments").last.click()
    row.wait_for()


def test_a_report_shows_the_same_views_without_a_server(site: Site, visit: Any, tmp_path: Any) -> None:
    from mlflow_plugin.reports.html_report import report_html

    demo = site.demo(f"report {HOSTILE}")
    demo.compute("collect")
    run_id = demo.compute("train")
    file = tmp_path / "report.html"
    file.write_text(report_html(demo.history()), encoding="utf-8")
    page = visit(site.url, offline=True).page()
    page.goto(file.as_uri())
    settled(page).get_by_text("A report of demo, made").wait_for()
    page.locator("a.card", has_text="train").press("Enter")
    page.locator("td", has_text=run_id[:8]).wait_for()
    assert page.locator(".plot canvas").count() == 1
    assert page.get_by_role("checkbox").count() == 0
    for name, heading in (
        ("Money and time", "By phase"),
        ("Recoverable runs", "Quarantined"),
        ("Questions", "Questions"),
    ):
        page.get_by_role("link", name=name).click()
        page.get_by_role("heading", name=heading).first.wait_for()
    assert json.loads(page.locator("#report-data").inner_text())["project"] == "demo"
