"""The page's routes on a real server."""

import pytest

from tests.dashboard.site import DATA, Site, ask

pytestmark = pytest.mark.end_to_end


def test_the_page_and_stock_mlflow_are_both_there(site: Site) -> None:
    page = ask(f"{site.url}/phases")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<title>Phases</title>" in page.text
    stock = ask(f"{site.url}/")
    assert "<title>MLflow</title>" in stock.text
    assert ask(f"{site.url}/version").status == 200
    demo = site.demo("both")
    demo.compute("collect")
    found = ask(f"{site.url}{DATA}/experiments")
    assert found.json == {"experiments": [{"experiment_id": demo.experiment_id, "name": "both", "projects": ["demo"]}]}
