"""`mlflow-phases gc` on what real runs leave: it says what it frees, never harms a run that lives, and what it leaves
is enough to go on from.
"""

import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from processes import run_words, started, wait_until
from project_folder import PHASES, ProjectFolder
from simulation import Simulation

from mlflow_plugin.cli import main
from tests.servers.stores import Store

pytestmark = pytest.mark.end_to_end

MLPROJECT = """name: small
entry_points:
  train:
    parameters:
      decide: {type: string, default: ask}
    command: "python train.py"
    phase: {ignore_reads: [hold], checkpoints: {every: 1, keep_last: 100}}
"""
# The base never changes, so that its bytes lie in the first checkpoint alone. While `hold` exists, a step does not end.
SCRIPT = """import json, os, pathlib, time
import numpy as np
from mlflow_plugin import start_phase
with start_phase() as phase:
    np.random.seed(0)
    state = {"base": np.arange(50_000.0), "adapter": np.zeros(1_000)}
    for step in phase.steps(16, state=state):
        state["adapter"] += np.random.rand(1_000) * state["base"][step]
        phase.log(size=float(np.abs(state["adapter"]).sum()))
        if step == 12:
            pathlib.Path("reached.tmp").write_text(str(os.getpid()))
            os.replace("reached.tmp", "reached")
            while os.path.exists("hold"):
                time.sleep(0.02)
    phase.output("result.json", lambda path: path.write_text(json.dumps(state["adapter"].tolist())))
"""


def sizes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_lives_is_not_touched_and_a_killed_one_is_resumed_from_what_is_left(
    make_project: Callable[[Mapping[str, str]], ProjectFolder],
) -> None:
    project = make_project({"MLproject": MLPROJECT, "train.py": SCRIPT, "hold": ""})
    with started(project, *run_words("train", PHASES)) as running:
        reached = project.folder / "reached"
        wait_until(lambda: reached.exists() or running.process.poll() is not None, "the thirteenth step")
        assert reached.exists(), running.text
        run_id = project.newest("train").info.run_id
        folder = Path(project.newest("train").info.artifact_uri) / "checkpoints"
        wait_until(lambda: (folder / "step-000012" / "manifest.json").exists(), "the twelfth checkpoint")
        while_it_runs = sizes(folder)
        living = project.cli("gc", "--delete")
        assert living.exit_code == 0, living.text
        assert "left alone: it is running" in living.text
        assert sizes(folder) == while_it_runs
        running.signal_all(signal.SIGKILL)
    (project.folder / "hold").unlink()
    project.edit("MLproject", "keep_last: 100", "keep_last: 2")

    shown = project.cli("gc", "--json")
    removed = project.cli("gc", "--delete")

    (found,) = json.loads(shown.text[shown.text.index("[\n") :])
    assert (found["run_id"], found["kept"]) == (run_id, ["step-000011", "step-000012"])
    left = sizes(folder)
    assert found["held_bytes"] == sum(while_it_runs.values())
    assert found["freed_bytes"] == sum(while_it_runs.values()) - sum(left.values()) > 0
    assert f"({found['freed_bytes']:,} bytes) removed" in removed.text
    assert "step-000001/arrays.safetensors" in left, "the base lies there"
    assert "step-000001/manifest.json" not in left

    resumed = project.run("train")
    assert resumed.exit_code == 0, resumed.text
    assert "resumes from step 12" in resumed.text
    result = project.output(project.newest("train"))
    uninterrupted = project.run("train", decide="rerun")
    assert uninterrupted.exit_code == 0, uninterrupted.text
    assert project.output(project.newest("train")) == result

    assert project.cli("gc", "--delete").exit_code == 0
    assert not folder.exists() or sizes(folder) == {}, "its successor has completed"
    assert project.client.get_run(run_id).data.tags.get("mlflow.phase.checkpoint") is None


@pytest.fixture
def store_kind() -> str:
    """Return the kind of store that deletes by prefix; tests/nightly has every other one."""
    return "s3"


def test_what_is_removed_is_gone_from_the_store_and_what_is_kept_is_there(
    store_kind: str, stores: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_plugin.checkpoints.store import CheckpointStore
    from mlflow_plugin.store.manifest import Manifest

    store = stores(store_kind)
    for variable, value in store.variables.items():
        monkeypatch.setenv(variable, value)
    demo = Simulation(tmp_path / "demo", store.variables["MLFLOW_TRACKING_URI"], store.new_experiment())
    demo.compute("collect")
    run_id, _ = demo.start("train")
    checkpoints = CheckpointStore(demo.run(run_id).artifact_uri)
    # A name that another begins with: a store that deletes by prefix would take both.
    for step in (100000, 1000000, 1000001, 1000002):
        with checkpoints.staging(f"step-{step}") as folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "state.json").write_text(f"state {step}")
            manifest = Manifest.of(folder, step=step)
            checkpoints.publish(f"step-{step}", folder, manifest.files)
            checkpoints.commit(f"step-{step}", manifest)
    demo.records.checkpoint(run_id, "step-1000002")
    demo.records.fail(run_id, "killed")

    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", demo.experiment_id)
    result = CliRunner().invoke(main, ["gc", "--project", str(demo.folder), "--json", "--delete"])

    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["removed"] == ["step-100000"]
    kept = [f"step-{step}" for step in (1000000, 1000001, 1000002)]
    assert found["kept"] == kept
    expected = [f"checkpoints/{step}/{file}" for step in kept for file in ("manifest.json", "state.json")]
    assert [path for path in store.files(run_id).paths() if path.startswith("checkpoints/")] == expected
