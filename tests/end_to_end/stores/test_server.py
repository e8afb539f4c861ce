"""The main path against a real tracking server over HTTP, with its artifacts behind the server's own address."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
from four_phases import PHASE_NAMES, RESULT, WITH_PLUGIN
from mlflow.tracking import MlflowClient
from processes import PATIENCE_SECONDS, run_words, started, wait_until
from project_folder import PHASES, ProjectFolder

from tests.servers.proxy import Proxy
from tests.servers.stores import Store
from tests.servers.tracking import TrackingServer

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("ask_always")]


@pytest.fixture
def server(stores: Callable[[str], Store]) -> TrackingServer:
    """Return the tracking server of this worker."""
    running = stores("server").server
    assert running is not None
    return running


@pytest.fixture
def served(
    project: ProjectFolder, server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProjectFolder]:
    """A project of four phases in an experiment of its own on the server, with an empty cache for what it fetches."""
    use(server.url, monkeypatch)
    experiment = MlflowClient().create_experiment(tmp_path.name + str(time.time_ns()))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project.write(WITH_PLUGIN)
    yield project
    mlflow.set_tracking_uri(None)


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    mlflow.set_tracking_uri(url)


def run(project: ProjectFolder, entry_point: str, **parameters: object) -> tuple[int, str]:
    """Run an entry point by `-b phases` in this process; return its exit code and what it printed."""
    result = project.run(entry_point, PHASES, **parameters)
    return result.exit_code, result.text


def newest(phase: str) -> mlflow.entities.Run:
    found = MlflowClient().search_runs(
        [os.environ["MLFLOW_EXPERIMENT_ID"]],
        f"tags.`mlflow.project.entryPoint` = '{phase}'",
        order_by=["attributes.start_time DESC"],
    )
    return found[0]


def test_the_main_path_works_over_http_with_artifacts_behind_the_server(
    served: ProjectFolder, server: TrackingServer
) -> None:
    first = served.command(*run_words("main", PHASES))
    assert (first.exit_code, served.executed()) == (0, list(PHASE_NAMES)), first.text
    last = newest("phase4")
    assert last.info.artifact_uri.startswith("mlflow-artifacts:")
    assert json.loads(server.file(last.info.run_id, "outputs/result.json").read_text()) == RESULT

    code, text = run(served, "main")
    assert (code, served.executed()) == (0, []), text
    assert [newest(name).data.tags["phase.verdict"] for name in PHASE_NAMES] == ["reuse"] * 4
    assert f"{server.url}/#/experiments/" in text

    states = json.loads(served.cli("status", "--json").text)
    assert [(one["phase"], one["state"]) for one in states] == [(name, "up to date") for name in PHASE_NAMES]

    code, text = run(served, "phase1", start=5)
    assert (code, served.executed()) == (3, []), text
    planned = json.loads(served.cli("plan", "phase1", "-P", "start=5", "--json").text)
    (verdict,) = planned["phases"]
    assert verdict["action"] == "ask"
    assert [loss["phase"] for loss in verdict["invalidates"]] == ["phase4", "phase3", "phase2"]

    source = newest("phase2").data.tags["phase.reused_run_id"]
    done = served.cli("quarantine", source, "--reason", "wrong labels")
    assert done.exit_code == 0, done.text
    planned = json.loads(served.cli("plan", "phase2", "--json").text)
    assert planned["phases"][0]["action"] != "reuse"
    assert "wrong labels" in planned["phases"][0]["reasons"][0]
    assert served.cli("quarantine", source, "--lift").exit_code == 0
    planned = json.loads(served.cli("plan", "phase2", "--json").text)
    assert planned["phases"][0]["action"] == "reuse"


def test_a_file_that_changed_on_the_server_is_refused_until_it_is_mended(
    served: ProjectFolder, server: TrackingServer
) -> None:
    assert run(served, "phase1")[0] == 0
    upstream = newest("phase1").info.run_id
    file = server.file(upstream, "outputs/result.json")
    sound = file.read_bytes()
    file.write_bytes(b"[9]")  # the same length: only its digest gives it away

    code, text = run(served, "phase2")
    assert code == 1, text
    assert f"phase1 {upstream[:8]}: its outputs are damaged: result.json" in text
    assert re.search(r"Run `mlflow run \. -e phase1 -b phases .*-P decide=rerun`, or choose another run", text)
    assert "Traceback" not in text
    assert newest("phase2").info.status == "FAILED"

    file.write_bytes(sound)
    code, text = run(served, "phase2")
    assert code == 0, text


def test_a_slow_server_makes_a_phase_slower_and_nothing_else(
    served: ProjectFolder, server: TrackingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Proxy(server.port, 0.1)
    use(slow.url, monkeypatch)
    code, text = run(served, "phase1")
    assert code == 0, text
    code, text = run(served, "phase1")
    assert (code, served.executed()) == (0, ["phase1"]), text
    assert served.cli("status").exit_code == 0
    slow.close()


def test_a_server_that_goes_away_while_a_phase_computes_ends_it_with_a_message(
    served: ProjectFolder, tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = TrackingServer(tmp_path / "own", empty_database)
    own.start()
    use(own.url, monkeypatch)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    served.edit(
        "phase1.py",
        "    result =",
        "    open('reached', 'w').close()\n"
        "    import os, time\n    while os.path.exists('hold'): time.sleep(0.05)\n    result =",
    )
    (served.folder / "hold").touch()
    # Fewer attempts than MLflow's seven: a phase waits four minutes for its server, a test should not.
    with started(served, *run_words("phase1", PHASES), MLFLOW_HTTP_REQUEST_MAX_RETRIES="1") as running:
        wait_until((served.folder / "reached").exists, "the script at work", PATIENCE_SECONDS)
        own.stop()
        (served.folder / "hold").unlink()
        assert running.wait() == 1
        assert "the tracking store does not answer as it should" in running.text
        assert "Traceback" not in running.text
