"""The page's routes on a real server: what they give, what they refuse, how both is sent."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from simulation import Simulation

from tests.end_to_end.dashboard.site import DATA, Reply, Site, ask
from tests.servers.tracking import TrackingServer

pytestmark = pytest.mark.end_to_end
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
VIEWS = ("pipeline", "runs", "accounts", "recoverable", "live")


@pytest.fixture(scope="module")
def demo(site: Site) -> Simulation:
    """Return a project whose three phases are done."""
    made = site.demo("served")
    for phase in ("collect", "train", "evaluate"):
        made.compute(phase)
    return made


def get(site: Site, view: str, demo: Simulation | None = None, **arguments: str) -> Reply:
    about = {"experiment_id": demo.experiment_id} if demo else {}
    query = "&".join(f"{name}={value}" for name, value in {**about, **arguments}.items())
    return ask(f"{site.url}{DATA}/{view}?{query}")


def newest(demo: Simulation, phase: str) -> str:
    return str(demo.history().search(f"tags.`phase.name` = '{phase}'", 1)[0].run_id)


# --- what there is ---


def test_the_page_and_stock_mlflow_are_both_there(site: Site) -> None:
    page = ask(f"{site.url}/phases")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<title>Phases</title>" in page.text
    assert "<title>MLflow</title>" in ask(f"{site.url}/").text
    assert ask(f"{site.url}/version").status == 200
    assert ask(f"{site.url}/phases/").text == page.text  # after a redirect: relative addresses in it hold


def test_experiments_that_hold_phases_are_listed(site: Site, demo: Simulation) -> None:
    site.demo("without phases")
    listed = get(site, "experiments").json["experiments"]
    assert {"experiment_id": demo.experiment_id, "name": "served", "projects": ["demo"]} in listed
    assert "without phases" not in [one["name"] for one in listed]


@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_served_for_the_named_project_and_for_the_first(site: Site, demo: Simulation, view: str) -> None:
    named = get(site, view, demo, project="demo", phase="train")
    assert named.status == 200, named.text
    assert (named.headers["Content-Type"], named.headers["Cache-Control"]) == ("application/json", "no-store")
    first = get(site, view, demo, phase="train")
    assert first.json.keys() == named.json.keys()


def test_the_pipeline_lists_the_projects_and_the_permissions_of_the_sender(site: Site, demo: Simulation) -> None:
    found = get(site, "pipeline", demo).json
    assert (found["projects"], found["may_answer"], found["user"]) == (["demo"], True, None)
    assert [phase["phase"] for phase in found["phases"]] == ["collect", "train", "evaluate"]


def test_the_runs_of_a_phase_may_be_limited(site: Site, demo: Simulation) -> None:
    assert len(get(site, "runs", demo, phase="train", at_most="1").json["runs"]) == 1


def test_a_run_is_found_by_its_id_and_a_run_of_no_phase_by_its_experiment(site: Site, demo: Simulation) -> None:
    found = get(site, "find", run_id=newest(demo, "train")).json
    assert found == {"experiment_id": demo.experiment_id, "project": "demo", "phase": "train"}
    plain = demo.client.create_run(demo.experiment_id).info.run_id
    assert get(site, "find", run_id=plain).json == {**found, "phase": None}
    demo.client.delete_run(plain)


def test_two_runs_are_compared(site: Site, demo: Simulation) -> None:
    other = demo.compute("train", epochs=30)
    found = get(site, "compare", demo, left=newest(demo, "train"), right=other).json
    assert (found["left"]["phase"], found["right"]["run_id"]) == ("train", other)


# --- again and again ---


def test_a_pipeline_that_did_not_change_is_not_sent_again(site: Site) -> None:
    demo = site.demo("unchanged")
    demo.compute("collect")
    place = f"{site.url}{DATA}/pipeline?experiment_id={demo.experiment_id}"
    first = ask(place)
    again = ask(place, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.text, again.headers["ETag"]) == (304, "", first.headers["ETag"])
    demo.records.quarantine(newest(demo, "collect"), "wrong data")
    changed = ask(place, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status == 200
    assert changed.json["phases"][0]["state"] == "quarantined"


def test_files_of_the_page_are_asked_for_again_and_sent_once(site: Site) -> None:
    first = ask(f"{site.url}/phases/static/main.js")
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert "javascript" in first.headers["Content-Type"]
    again = ask(f"{site.url}/phases/static/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.text) == (304, "")


# --- doors ---


def test_every_answer_carries_security_headers(site: Site, demo: Simulation) -> None:
    about = f"?experiment_id={demo.experiment_id}"
    for place in ("/phases", "/phases/static/main.js", f"{DATA}/live{about}", f"{DATA}/live", "/phases/static/none.js"):
        headers = ask(f"{site.url}{place}").headers
        assert headers["Content-Security-Policy"] == POLICY, place
        assert headers["X-Content-Type-Options"] == "nosniff", place
    assert "script-src 'unsafe" not in POLICY


def test_the_page_holds_no_script_and_no_style_of_its_own(site: Site) -> None:
    text = ask(f"{site.url}/phases").text
    assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\bon\w+=|\bstyle=|javascript:", text)


@pytest.mark.parametrize("view", ["experiments", "find", *VIEWS, "compare"])
def test_routes_that_read_refuse_other_methods(site: Site, view: str) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert ask(f"{site.url}{DATA}/{view}", {}, method=method).status == 405
    assert ask(f"{site.url}{DATA}/answer").status == 405


@pytest.mark.parametrize(
    "name", ["..%2Froutes.py", "../routes.py", "%2e%2e/%2e%2e/names.py", "none.js", "vendor", "/etc/passwd", "%00"]
)
def test_no_file_but_the_pages_own_is_served(site: Site, name: str) -> None:
    reply = ask(f"{site.url}/phases/static/{name}")
    assert reply.status == 404, reply.text[:200]
    assert "import" not in reply.text


# --- what is wrong ---


@pytest.mark.parametrize("view", [*VIEWS, "compare"])
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ({}, 400, "the argument experiment_id is missing"),
        ({"experiment_id": "987654"}, 404, "There is no experiment 987654 here that you may read"),
        ({"experiment_id": "x'; DROP TABLE runs"}, 400, "Experiment ID must be a valid integer"),
        ({"experiment_id": "0"}, 404, "Experiment 0 has no phases"),
        ({"experiment_id": "00"}, 400, "Experiment ID must be a valid integer"),
        ({"experiment_id": "%2B0"}, 400, "Experiment ID must be a valid integer"),
        ({"experiment_id": "%EF%BC%90"}, 400, "Experiment ID must be a valid integer"),
        ({"experiment_id": "9" * 30}, 400, "Experiment ID must be a valid integer"),
    ],
    ids=["none", "missing", "nonsense", "without_phases", "zero_first", "sign", "fullwidth", "huge"],
)
def test_a_wrong_experiment_is_refused(
    site: Site, view: str, arguments: dict[str, str], status: int, said: str
) -> None:
    quoted = {name: value.replace(" ", "%20").replace("'", "%27") for name, value in arguments.items()}
    reply = get(site, view, phase="train", **quoted)
    assert reply.status == status, reply.text
    assert said in reply.json["message"]
    assert reply.json["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(
    ("view", "arguments", "status", "said"),
    [
        ("pipeline", {"project": "other"}, 404, "has no project 'other', only demo"),
        ("runs", {}, 400, "the argument phase is missing"),
        ("runs", {"phase": "other"}, 400, "no phase 'other'. Its phases: collect, train, evaluate"),
        ("runs", {"phase": "train", "at_most": "-1"}, 400, "give a number from 1 to"),
        ("runs", {"phase": "train", "at_most": "1e9"}, 400, "give a number from 1 to"),
        ("runs", {"phase": "train", "at_most": "%C2%B2"}, 400, "give a number from 1 to"),
        ("runs", {"phase": "train", "at_most": "9" * 5000}, 400, "give a number from 1 to"),
        ("compare", {"left": "0" * 32, "right": "0" * 32}, 404, "There is no run 0000"),
        ("compare", {"left": "0" * 32}, 404, "There is no run 0000"),
        ("compare", {}, 400, "the argument left is missing"),
        ("find", {}, 400, "the argument run_id is missing"),
        ("find", {"run_id": "%3Cscript%3E"}, 400, "run"),
    ],
)
def test_a_wrong_argument_is_refused(
    site: Site, demo: Simulation, view: str, arguments: dict[str, str], status: int, said: str
) -> None:
    reply = get(site, view, demo, **arguments)
    assert (reply.status, said in reply.json["message"]) == (status, True), reply.text
    assert reply.headers["Content-Type"] == "application/json"


def test_deleted_runs_and_experiments_are_reported_as_deleted(site: Site) -> None:
    demo = site.demo("deleted")
    run_id, other = demo.compute("collect"), demo.compute("collect", seed=1)
    demo.client.delete_run(run_id)
    for reply in (get(site, "find", run_id=run_id), get(site, "compare", demo, left=run_id, right=other)):
        assert (reply.status, reply.json["message"]) == (404, f"Run {run_id} was deleted.")
    demo.client.delete_experiment(demo.experiment_id)
    reply = get(site, "pipeline", demo)
    assert (reply.status, reply.json["message"]) == (404, f"Experiment {demo.experiment_id} was deleted.")
    assert "deleted" not in [one["name"] for one in get(site, "experiments").json["experiments"]]


def test_a_run_of_another_experiment_is_compared_all_the_same(site: Site, demo: Simulation) -> None:
    other = site.demo("another")
    there = other.compute("train", collect_run_id=newest(demo, "collect"))
    found = get(site, "compare", demo, left=newest(demo, "train"), right=there)
    assert (found.status, found.json["right"]["run_id"]) == (200, there), found.text


def test_a_run_of_a_newer_version_is_refused_with_a_reason(site: Site) -> None:
    demo = site.demo("newer")
    run_id = demo.compute("collect")
    demo.client.set_tag(run_id, "mlflow.phase.format", "99")
    reply = get(site, "find", run_id=run_id)
    assert (reply.status, "Upgrade mlflow-phases" in reply.json["message"]) == (400, True)


def test_a_store_that_is_away_is_reported_without_details(site: Site) -> None:
    def rename(before: str, after: str) -> None:
        with closing(sqlite3.connect(site.folder / "mlflow.db")) as connection, connection:
            connection.execute(f"ALTER TABLE {before} RENAME TO {after}")

    assert get(site, "experiments").status == 200  # At its first use MLflow makes the tables that are missing.
    rename("experiments", "moved")
    try:
        for place in ("experiments", "pipeline?experiment_id=0", "live?experiment_id=0"):
            reply = ask(f"{site.url}{DATA}/{place}")
            assert (reply.status, reply.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
            assert not re.search(r"sql|select|Traceback|experiments|/", reply.json["message"], re.IGNORECASE)
        assert ask(f"{site.url}/phases").status == 200
    finally:
        rename("moved", "experiments")
    assert "no such table" in site.server.log  # The administrator finds it there.


# --- below a prefix, behind artifacts of its own ---


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Any:
    """Return a server below /mlops/lab."""
    folder = tmp_path_factory.mktemp("prefixed")
    server = TrackingServer(folder, empty_database, app_name="phases", static_prefix="/mlops/lab")
    server.start()
    yield Site(folder, server)
    server.stop()


def test_everything_is_below_the_static_prefix(prefixed: Site) -> None:
    demo = prefixed.demo("below")
    demo.compute("collect")
    assert ask(f"{prefixed.url}/phases").status == 200
    assert ask(f"{prefixed.url}/phases/static/main.js").status == 200
    assert get(prefixed, "pipeline", demo).json["phases"][0]["state"] == "up to date"
    bare = prefixed.url.removesuffix("/mlops/lab")
    for place in ("/phases", f"{DATA}/experiments"):
        assert ask(f"{bare}{place}").status == 404
    body = {"run_id": newest(demo, "collect"), "letter": "A"}
    crossed = ask(f"{prefixed.url}{DATA}/answer", body, {"Origin": "https://evil.example"})
    assert (crossed.status, crossed.text) == (403, "Cross-origin request blocked")


def test_a_browser_goes_both_ways_below_the_static_prefix(prefixed: Site, visit: Any) -> None:
    demo = prefixed.demo("both ways")
    demo.compute("collect")
    visitor = visit(prefixed.url)
    page = visitor.page()
    page.goto(prefixed.address(demo.experiment_id))
    page.wait_for_selector("text=collect")
    assert not visitor.complaints
    page.goto(f"{prefixed.url}/#/experiments/{demo.experiment_id}/runs")
    page.click("#mlflow-phases-link")
    page.wait_for_url(f"{prefixed.url}/phases#/{demo.experiment_id}/demo/pipeline")
    page.wait_for_selector("text=collect")
    visitor.complaints = [one for one in visitor.complaints if "phases" in one]  # MLflow's own pages have their own.


def test_artifacts_that_the_server_hands_out_are_read_where_they_are(
    prefixed: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", prefixed.url)
    demo = Simulation(tmp_path / "remote", prefixed.url, MlflowClient(prefixed.url).create_experiment("remote"))
    runs = [demo.compute("collect", "one")]
    demo.edit("collect.py", "print(1)", "print(10)")
    runs.append(demo.compute("collect", "two"))
    assert demo.run(runs[0]).artifact_uri.startswith("mlflow-artifacts:")
    code = get(prefixed, "compare", demo, left=runs[0], right=runs[1]).json["code"]
    assert code["recorded"], code
    (file,) = [one for one in code["files"] if one["change"] == "changed"]
    assert "+print(10)" in file["diff"]


# --- how it is started ---


def test_a_server_of_artifacts_alone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from flask import Flask

    from mlflow_plugin.dashboard.access import OpenAccess
    from mlflow_plugin.dashboard.routes import blueprint

    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACTS_ONLY", "true")
    app = Flask("artifacts")
    app.register_blueprint(blueprint(OpenAccess))
    reply = app.test_client().get(f"{DATA}/experiments")
    assert (reply.status_code, (reply.json or {})["message"]) == (503, "This server holds artifacts only and no runs.")
