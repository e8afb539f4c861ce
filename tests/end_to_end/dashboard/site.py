"""A server with the page that many tests share, and how to ask it."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulation import Simulation

from tests.servers.tracking import TrackingServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

DATA = "/ajax-api/3.0/mlflow/phases"


class Reply:
    """A server's reply."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.text = status, headers, body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def signed_in(user: str) -> dict[str, str]:
    """The header by which a test's user is known."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password_of(user)}'.encode()).decode()}"}


def password_of(user: str) -> str:
    return f"a long password of {user}"


def ask(url: str, body: Any = None, headers: Mapping[str, str] | None = None, method: str | None = None) -> Reply:
    given = {"Content-Type": "application/json", **(headers or {})} if body is not None else dict(headers or {})
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return Reply(reply.status, reply.headers, reply.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.headers, error.read())


def settled(page: "Page") -> "Page":
    """A tab, once its view has loaded what it shows and has put it in its place."""
    page.locator("main h1").wait_for()
    page.get_by_text("Loading ...").wait_for(state="detached")
    page.locator(".graph.unlaid").wait_for(state="detached")
    return page


class Site:
    """A server with the page that many tests share. Each test has an experiment of its own in it."""

    def __init__(self, folder: Path, server: TrackingServer) -> None:
        self.folder, self.server, self.url = folder, server, server.url
        self.store = f"sqlite:///{folder / 'mlflow.db'}"

    def demo(self, name: str) -> Simulation:
        """The project of phases collect, train and evaluate in a new experiment of this name."""
        from mlflow.tracking import MlflowClient

        place = str(self.folder / "artifacts" / name)
        experiment_id = MlflowClient(self.store).create_experiment(name, artifact_location=place)
        return Simulation(self.folder / f"project-{experiment_id}", self.store, experiment_id)

    def address(self, experiment_id: str = "", *parts: str) -> str:
        """The page's address, of an experiment's demo project where one is named."""
        return f"{self.url}/phases" + (f"#/{'/'.join((experiment_id, 'demo', *parts))}" if experiment_id else "")

    def opened(self, page: "Page", demo: Simulation, *parts: str) -> "Page":
        """A tab with a view of an experiment's demo project, complete."""
        page.goto(self.address(demo.experiment_id, *parts))
        return settled(page)
