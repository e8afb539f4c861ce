"""Permissions under basic-auth: reading, answering, and no route without a check."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_plugin.store import schema
from tests.end_to_end.dashboard.site import DATA, Reply, Site, ask, password_of, signed_in
from tests.end_to_end.dashboard.waiting import BETWEEN, ask_about, waiting
from tests.servers.process import wait_until
from tests.servers.tracking import TrackingServer

pytestmark = pytest.mark.end_to_end

VIEWS = ("experiments", "find", "pipeline", "runs", "accounts", "recoverable", "live", "compare")
USERS = ("reader", "editor", "stranger")
SECRET = 0.123456789
COMPLETED = "03:04:05"


class Guarded(Site):
    """A server with users. `open` is an experiment that the reader may read and the editor may edit; `closed` one that
    only the administrator knows of. `used` is a run of the closed one that a run of the open one was made from.
    """

    def __init__(self, folder: Path, server: TrackingServer) -> None:
        super().__init__(folder, server)
        self.open, self.closed = ask_about(self.demo("open")), self.demo("closed")
        self.used = self.closed.compute("collect", "secret", {"secret": SECRET})
        self.closed.client.set_tag(self.used, schema.COMPLETED_AT, f"2026-01-02T{COMPLETED}.678+00:00")
        self.closed.compute("train", metrics={"fidelity": SECRET, "held_out": 0.8})
        self.made_from_secret = self.open.compute("train", "made from it", epochs=77, collect_run_id=self.used)

    def get(self, user: str, view: str, method: str = "GET", **arguments: str) -> Reply:
        return ask(f"{self.url}{DATA}/{view}?{'&'.join(f'{k}={v}' for k, v in arguments.items())}", headers=who(user))

    def of(self, demo: Any) -> dict[str, str]:
        return {"experiment_id": demo.experiment_id, "project": "demo"}

    def latest(self, demo: Any, phase: str) -> str:
        return demo.history().search(f"tags.`phase.name` = '{phase}'", 1)[0].run_id


def who(user: str) -> dict[str, str]:
    return signed_in(user) if user else {}


def server_with_users(folder: Path, database: Path, *, fail_closed: bool) -> TrackingServer:
    """A server with an administrator. With `fail_closed`, MLflow refuses routes that it does not know."""
    folder.mkdir(exist_ok=True)
    settings = folder / "basic_auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\n"
        f"database_uri = sqlite:///{folder / 'users.db'}\nauth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for tests",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password_of("admin"),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": str(fail_closed).lower(),
    }
    return TrackingServer(folder, database, variables=variables, app_name="phases-basic-auth")


def introduce(site: Site, experiment_id: str) -> None:
    """Makes a reader and an editor of an experiment, and a user without any permission."""
    for user in USERS:
        admin(site, "2.0/mlflow/users/create", username=user, password=password_of(user))
    about = {"resource_type": "experiment", "resource_id": experiment_id}
    for user, permission in (("reader", "READ"), ("editor", "EDIT")):
        admin(site, "3.0/mlflow/users/permissions/grant", username=user, permission=permission, **about)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Guarded]:
    """Return a server with users whose own gate leaves open what it does not know: ours must not be among that."""
    folder = tmp_path_factory.mktemp("guarded")
    server = server_with_users(folder, empty_database, fail_closed=False)
    server.start()
    try:
        site = Guarded(folder, server)
        introduce(site, site.open.experiment_id)
        yield site
    finally:
        server.stop()


def admin(site: Site, route: str, **body: str) -> None:
    reply = ask(f"{site.url}/api/{route}", body, signed_in("admin"))
    assert reply.status == 200, reply.text


def test_a_client_that_has_not_signed_in_gets_nothing(guarded: Guarded) -> None:
    run_id = guarded.latest(guarded.open, "train")
    arguments = f"experiment_id={guarded.open.experiment_id}&run_id={run_id}&left={run_id}&right={run_id}&phase=train"
    places = ["/phases", "/phases/", "/phases/static/main.js", "/phases/static/vendor/uplot.js", "/phases/static/none"]
    places += [f"{DATA}/{view}?{arguments}" for view in VIEWS]
    wrong = signed_in("editor") | {"Authorization": "Basic ZWRpdG9yOndyb25n"}
    for headers in ({}, wrong, {"X-Forwarded-User": "admin"}):
        for method in ("GET", "HEAD"):
            for place in places:
                reply = ask(f"{guarded.url}{place}", headers=headers, method=method)
                assert reply.status == 401, (place, method, headers, reply.status, reply.text)
                assert "demo" not in reply.text
                assert "<title>Phases" not in reply.text
        reply = ask(f"{guarded.url}{DATA}/answer", {"run_id": run_id, "letter": "A"}, headers)
        assert reply.status == 401
    assert not [key for key in guarded.open.tags(run_id) if key.startswith(schema.PROPOSED_ANSWER)]


@pytest.mark.parametrize("user", [*USERS, "admin"])
def test_every_user_gets_the_page_itself(guarded: Guarded, user: str) -> None:
    for place in ("/phases", "/phases/static/main.js", "/phases/static/vendor/uplot.js"):
        assert ask(f"{guarded.url}{place}", headers=who(user)).status == 200
        assert ask(f"{guarded.url}{place}", headers=who(user), method="HEAD").status == 200


@pytest.mark.parametrize(
    ("user", "listed"), [("admin", ["closed", "open"]), ("reader", ["open"]), ("editor", ["open"]), ("stranger", [])]
)
def test_experiments_are_listed_for_those_who_may_read_them(guarded: Guarded, user: str, listed: list[str]) -> None:
    found = guarded.get(user, "experiments").json["experiments"]
    assert sorted(one["name"] for one in found) == listed


@pytest.mark.parametrize("view", ["pipeline", "runs", "accounts", "recoverable", "live"])
def test_an_experiment_is_shown_to_its_readers_alone(guarded: Guarded, view: str) -> None:
    more = {"phase": "train"} if view == "runs" else {}
    for demo, allowed in ((guarded.open, {"admin", "reader", "editor"}), (guarded.closed, {"admin"})):
        for user in ("admin", *USERS):
            reply = guarded.get(user, view, **guarded.of(demo), **more)
            assert reply.status == (200 if user in allowed else 403), (user, reply.text)
            if user not in allowed:
                assert reply.json["error_code"] == "PERMISSION_DENIED"
                assert str(SECRET) not in reply.text


def test_the_pipeline_says_if_its_reader_may_answer(guarded: Guarded) -> None:
    for user, allowed in (("admin", True), ("editor", True), ("reader", False)):
        reply = guarded.get(user, "pipeline", **guarded.of(guarded.open)).json
        assert (reply["user"], reply["may_answer"]) == (user, allowed)


def test_a_run_is_found_by_those_who_may_read_it_and_others_learn_nothing(guarded: Guarded) -> None:
    assert guarded.get("admin", "find", run_id=guarded.used).json["experiment_id"] == guarded.closed.experiment_id
    assert guarded.get("reader", "find", run_id=guarded.made_from_secret).status == 200
    unreadable = guarded.get("reader", "find", run_id=guarded.used)
    missing = guarded.get("reader", "find", run_id="0" * 32)
    assert unreadable.status == missing.status == 404
    assert unreadable.text.replace(guarded.used, "") == missing.text.replace("0" * 32, "")


def test_two_runs_are_compared_for_those_who_may_read_both(guarded: Guarded) -> None:
    left, right = guarded.latest(guarded.open, "train"), guarded.latest(guarded.closed, "train")
    for experiment in (guarded.open, guarded.closed):
        assert guarded.get("admin", "compare", left=left, right=right, **guarded.of(experiment)).status == 200
    for sides in ({"left": left, "right": right}, {"left": right, "right": left}):
        reply = guarded.get("editor", "compare", **sides, **guarded.of(guarded.open))
        assert (reply.status, str(SECRET) in reply.text) == (404, False), reply.text
        assert guarded.get("editor", "compare", **sides, **guarded.of(guarded.closed)).status == 403


@pytest.mark.parametrize("view", ["pipeline", "runs", "recoverable", "accounts", "live"])
def test_upstream_runs_of_a_closed_experiment_are_not_described(guarded: Guarded, view: str) -> None:
    reply = guarded.get("reader", view, **guarded.of(guarded.open), phase="train")
    assert reply.status == 200, reply.text
    assert str(SECRET) not in reply.text
    assert COMPLETED not in reply.text


def test_comparing_says_nothing_of_the_closed_experiment_either(guarded: Guarded) -> None:
    left = guarded.latest(guarded.open, "train")
    reply = guarded.get("reader", "compare", left=left, right=guarded.made_from_secret, **guarded.of(guarded.open))
    assert reply.status == 200, reply.text
    assert (COMPLETED in reply.text, str(SECRET) in reply.text) == (False, False)
    seen_by_all = guarded.get("admin", "compare", left=left, right=guarded.made_from_secret, **guarded.of(guarded.open))
    assert COMPLETED in seen_by_all.text


def test_an_answer_needs_the_permission_to_edit_and_is_the_users_own(guarded: Guarded) -> None:
    place = f"{guarded.url}{DATA}/answer"
    with waiting(guarded.open) as (run_id, outcome):
        body = {"run_id": run_id, "letter": "A", "by": "mallory", "answered_by": "mallory", "user": "mallory"}
        assert ask(place, body, who("stranger")).status == 404
        refused = ask(place, body, who("reader"))
        assert (refused.status, refused.json["error_code"]) == (403, "PERMISSION_DENIED")
        assert not [key for key in guarded.open.tags(run_id) if key.startswith(schema.PROPOSED_ANSWER)]
        answered = ask(place, body, who("editor"))
        wait_until(lambda: outcome, "it went on")
    assert (answered.status, answered.json["answered_by"]) == (200, "editor")
    assert guarded.open.run(run_id).answered_by == "editor"


@pytest.mark.parametrize("user", ["reader", "editor", "admin"])
def test_an_answer_of_another_sites_page_is_refused(guarded: Guarded, user: str) -> None:
    body = {"run_id": guarded.latest(guarded.open, "train"), "letter": "A"}
    reply = ask(f"{guarded.url}{DATA}/answer", body, {**who(user), "Origin": "https://evil.example"})
    assert (reply.status, reply.text) == (403, "Cross-origin request blocked")


def test_stock_mlflow_is_guarded_as_ever(guarded: Guarded) -> None:
    assert ask(f"{guarded.url}/").status == 401
    assert "stock-links.js" in ask(f"{guarded.url}/", headers=who("reader")).text
    place = f"{guarded.url}/api/2.0/mlflow/experiments/get?experiment_id="
    assert ask(place + guarded.open.experiment_id, headers=who("reader")).status == 200
    assert ask(place + guarded.closed.experiment_id, headers=who("reader")).status == 403


def test_with_fail_closed_mlflow_knows_the_routes_of_the_page(tmp_path: Path, empty_database: Path) -> None:
    server = server_with_users(tmp_path / "server", empty_database, fail_closed=True)
    server.start()
    try:
        site = Site(tmp_path / "server", server)
        demo = site.demo("open")
        collected = demo.compute("collect")
        introduce(site, demo.experiment_id)
        of = f"experiment_id={demo.experiment_id}"
        data = [f"{DATA}/{view}?{of}&phase=collect" for view in VIEWS if view not in ("find", "compare")]
        data += [f"{DATA}/find?run_id={collected}", f"{DATA}/compare?{of}&left={collected}&right={collected}"]
        for place in ("/phases", "/phases/static/main.js", "/phases/static/vendor/uplot.js", *data):
            assert ask(f"{site.url}{place}", headers=who("reader")).status == 200, place
            assert ask(f"{site.url}{place}").status == 401, place
        assert ask(f"{site.url}{DATA}/live?{of}", headers=who("stranger")).status == 403
        refused = ask(f"{site.url}{DATA}/answer", {"run_id": collected, "letter": "A"}, who("reader"))
        assert (refused.status, refused.json["error_code"]) == (403, "PERMISSION_DENIED")
    finally:
        server.stop()


def test_without_its_settings_the_server_does_not_start(tmp_path: Path, empty_database: Path) -> None:
    server = TrackingServer(tmp_path / "unset", empty_database, app_name="phases-basic-auth")
    with pytest.raises(AssertionError, match="MLFLOW_FLASK_SERVER_SECRET_KEY"):
        server.start()


def test_a_gate_that_is_not_known_keeps_the_page_away(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask_wtf")
    from flask import Flask
    from mlflow.exceptions import MlflowException
    from mlflow.server import auth

    from mlflow_plugin.dashboard.access import guard

    app = Flask("other")
    with pytest.raises(MlflowException, match="is not one that mlflow-phases knows"):
        guard(app, [("/phases", "GET")])
    app.before_request(auth._before_request)
    monkeypatch.setattr(auth, "_find_validator", lambda request: None)
    with pytest.raises(MlflowException, match="would leave GET /phases without a guard"):
        guard(app, [("/phases", "GET")])
    monkeypatch.setattr(auth, "_find_validator", lambda request: SimpleNamespace())
    with pytest.raises(MlflowException, match="without a guard"):
        guard(app, [("/phases", "GET")])


def test_a_user_answers_in_a_browser_and_another_only_reads(guarded: Guarded, visit: Any) -> None:
    place = guarded.address(guarded.open.experiment_id, "questions")
    guarded.open.compute("train", "nobody has answered about", metrics=BETWEEN)

    def signed_in_as(user: str) -> Any:
        visitor = visit(guarded.url, http_credentials={"username": user, "password": password_of(user)})
        page = visitor.page()
        page.goto(place)
        page.wait_for_selector("text=Keep train")
        return page

    with waiting(guarded.open) as (run_id, outcome):
        reader, editor = signed_in_as("reader"), signed_in_as("editor")
        assert reader.get_by_role("button", name="Answer").count() == 0
        editor.get_by_role("button", name="Answer A: Keep").click()
        wait_until(lambda: outcome, "it went on")
    assert guarded.open.run(run_id).answered_by == "editor"
