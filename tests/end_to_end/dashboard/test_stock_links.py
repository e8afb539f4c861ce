"""The way from MLflow's own pages to the page, in the real ones."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from simulation import Simulation

from tests.end_to_end.dashboard.site import Site, ask
from tests.servers.browser import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.end_to_end
LINK = "#mlflow-phases-link"


@pytest.fixture(scope="module")
def demo(site: Site) -> Simulation:
    """Return a project with two runs of train."""
    made = site.demo("linked")
    made.compute("collect")
    made.compute("train")
    made.compute("train", epochs=20)
    return made


@pytest.fixture(scope="module")
def visitor(browser: "Browser", site: Site) -> Iterator[Visitor]:
    """Return somebody whose browser has kept MLflow's own pages: they are ten times as large as ours."""
    visitor = Visitor(browser, site.url)
    yield visitor
    visitor.leave()


@pytest.fixture
def stock(visitor: Visitor) -> "Iterator[Page]":
    """Return a tab for MLflow's own pages, whose own complaints do not count here."""
    page = visitor.tab()
    yield page
    page.evaluate("localStorage.clear()")
    visitor.clear(page)
    visitor.complaints = [one for one in visitor.complaints if "phases" in one]
    visitor.answer_for_complaints()


def trains(demo: Simulation) -> list[str]:
    return [run.run_id for run in demo.history().search("tags.`phase.name` = 'train'", 5)]


def open_stock(stock: "Page", site: Site, path: str) -> None:
    stock.goto(f"{site.url}/#{path}")
    stock.wait_for_selector("#root a")


def leads_to(stock: "Page") -> str:
    return str(stock.wait_for_selector(LINK).get_attribute("href"))


def go(stock: "Page", path: str, until: str) -> None:
    """Changes the address as MLflow's router does it, without an event, until a condition holds. MLflow may be about to
    change it itself just then.
    """
    step = "path => { if (location.hash !== path) history.pushState(null, '', path); }"
    stock.wait_for_function(f"path => {{ ({step})(path); return {until}; }}", arg=f"#{path}", polling=300)


def compare(*run_ids: str, experiment_id: str) -> str:
    return f"/compare-runs?runs={quote(json.dumps(run_ids))}&experiments={quote(json.dumps([experiment_id]))}"


def test_an_experiment_leads_to_its_pipeline(stock: "Page", site: Site, demo: Simulation) -> None:
    open_stock(stock, site, f"/experiments/{demo.experiment_id}/runs")
    assert leads_to(stock) == f"phases#/{demo.experiment_id}/demo/pipeline"
    stock.focus(LINK)
    stock.keyboard.press("Enter")
    stock.wait_for_url(f"{site.url}/phases#/{demo.experiment_id}/demo/pipeline")


def test_the_link_follows_the_address(stock: "Page", site: Site, demo: Simulation) -> None:
    newer, older = trains(demo)
    (collected,) = [run.run_id for run in demo.history().search("tags.`phase.name` = 'collect'", 5)]
    of = demo.experiment_id
    open_stock(stock, site, f"/experiments/{of}/runs/{newer}")
    assert leads_to(stock) == f"phases#/run/{newer}"
    for path, where in (
        (f"/experiments/{of}/runs/{older}/artifacts", f"/run/{older}"),
        (compare(newer, older, experiment_id=of), f"/compare/{newer}/{older}"),
        (compare(newer, collected, experiment_id=of), f"/{of}/demo/pipeline"),
        (f"/experiments/{of}", f"/{of}/demo/pipeline"),
    ):
        go(stock, path, f"""document.querySelector("{LINK}[href='phases#{where}']")""")


def test_people_land_on_the_training_runs_until_they_choose_otherwise(
    stock: "Page", site: Site, demo: Simulation
) -> None:
    open_stock(stock, site, f"/experiments/{demo.experiment_id}")
    stock.wait_for_url(f"{site.url}/#/experiments/{demo.experiment_id}/runs**")
    kept = "localStorage.getItem('mlflow.workflowType_v1')"
    assert stock.evaluate(kept) == '"machine_learning"'
    stock.evaluate("localStorage.setItem('mlflow.workflowType_v1', '\"genai\"')")
    stock.reload()
    stock.wait_for_selector("#root a")
    assert stock.evaluate(kept) == '"genai"'


def test_elsewhere_there_is_no_link(stock: "Page", site: Site, demo: Simulation) -> None:
    open_stock(stock, site, f"/experiments/{demo.experiment_id}")
    for path in ("/experiments", "/models", "/experiments/0", "/compare-runs?runs=[&experiments=x"):
        go(stock, f"/experiments/{demo.experiment_id}", f"document.querySelector('{LINK}')")
        go(stock, path, f"!document.querySelector('{LINK}')")
        assert stock.locator(LINK).count() == 0


def test_a_run_of_no_phase_leads_to_the_pipeline(stock: "Page", site: Site, demo: Simulation) -> None:
    other = demo.client.create_run(demo.experiment_id).info.run_id
    open_stock(stock, site, f"/experiments/{demo.experiment_id}/runs/{other}")
    assert leads_to(stock) == f"phases#/{demo.experiment_id}/demo/pipeline"
    demo.client.delete_run(other)


def test_the_link_comes_back_when_mlflow_removes_it(stock: "Page", site: Site, demo: Simulation) -> None:
    open_stock(stock, site, f"/experiments/{demo.experiment_id}/runs")
    leads_to(stock)
    stock.evaluate("document.querySelector('#mlflow-phases-link').remove()")
    go(stock, f"/experiments/{demo.experiment_id}", f"document.querySelector('{LINK}')")
    assert leads_to(stock) == f"phases#/{demo.experiment_id}/demo/pipeline"


def test_a_browser_that_kept_mlflows_page_from_before_gets_the_link_too(site: Site) -> None:
    plain = {"If-None-Match": "*", "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    reply = ask(f"{site.url}/", headers=plain)
    assert (reply.status, reply.text.count("stock-links.js")) == (200, 1)
    assert 'src="phases/static/stock-links.js"' in reply.text
