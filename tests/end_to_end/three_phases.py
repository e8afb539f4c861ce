"""Collect, train, report: a pipeline whose figures the environment decides, so that a test can have any result it
needs without changing what makes two runs the same.
"""

from datetime import UTC, datetime, timedelta

import pytest
from mlflow.entities import Run
from project_folder import ProjectFolder, recording

_MLPROJECT = """name: three
entry_points:
  main:
    parameters:
      decide: {type: string, default: ask}
    pipeline: [report]
    command: "python -m mlflow_plugin.pipeline"
  collect:
    parameters:
      prompts: {type: int, default: 50}
      decide: {type: string, default: ask}
    command: "python collect.py {prompts}"
    phase: {}
  train:
    parameters:
      rate: {type: float, default: 0.001}
      device: {type: string, default: auto}
      decide: {type: string, default: ask}
      collect_run_id: {type: string, default: latest}
    command: "python train.py {collect_run_id} {rate} {device}"
    phase:
      needs: [collect]
      ignore: [device]
      quality: {metric: fidelity, good: 0.85, poor: 0.70}
      gates: ["fidelity > identity_fidelity"]
  report:
    parameters:
      decide: {type: string, default: ask}
      train_run_id: {type: string, default: latest}
    command: "python report.py {train_run_id}"
    phase: {needs: [train]}
"""

# What the world outside gives: the same code and parameters collect other data when it changes.
_WORLD = 'os.environ.get("MLFLOW_TESTS_WORLD", "as it was")'

_COLLECT = f"""import json, sys
from mlflow_plugin import start_phase
with start_phase() as phase:
    {recording("collect").strip().replace(chr(10), chr(10) + "    ")}
    data = [int(sys.argv[1]), {_WORLD}]
    phase.output("result.json", lambda path: path.write_text(json.dumps(data)))
"""

_TRAIN = f"""import json, sys, mlflow
from mlflow_plugin import start_phase
with start_phase() as phase:
    {recording("train").strip().replace(chr(10), chr(10) + "    ")}
    data = json.loads((phase.input("collect") / "result.json").read_text())
    if os.environ.get("MLFLOW_TESTS_FIDELITY", "0.989") != "never":
        phase.log(fidelity=float(os.environ.get("MLFLOW_TESTS_FIDELITY", "0.989")))
    phase.log(identity_fidelity=float(os.environ.get("MLFLOW_TESTS_IDENTITY_FIDELITY", "0.5")))
    mlflow.set_tags({{"argument": sys.argv[1], "environment": os.environ.get("PHASE_INPUT_COLLECT", "")}})
    result = {{"data": data, "rate": float(sys.argv[2]), "fidelity": os.environ.get("MLFLOW_TESTS_FIDELITY", "0.989")}}
    phase.output("result.json", lambda path: path.write_text(json.dumps(result)))
"""

_REPORT = f"""import json
from mlflow_plugin import start_phase
with start_phase() as phase:
    {recording("report").strip().replace(chr(10), chr(10) + "    ")}
    trained = json.loads((phase.input("train") / "result.json").read_text())
    phase.output("result.json", lambda path: path.write_text(json.dumps(["report", trained["data"]])))
"""

_PLAIN_COLLECT = f"""import json, sys, mlflow
with mlflow.start_run():
    {recording("collect").strip().replace(chr(10), chr(10) + "    ")}
    mlflow.log_text(json.dumps([int(sys.argv[1]), {_WORLD}]), "result.json")
"""

_PLAIN_TRAIN = f"""import json, sys, mlflow
with mlflow.start_run():
    {recording("train").strip().replace(chr(10), chr(10) + "    ")}
    data = json.loads(mlflow.artifacts.load_text(f"runs:/{{sys.argv[1]}}/result.json"))
    if os.environ.get("MLFLOW_TESTS_FIDELITY", "0.989") != "never":
        mlflow.log_metric("fidelity", float(os.environ.get("MLFLOW_TESTS_FIDELITY", "0.989")))
    mlflow.log_metric("identity_fidelity", float(os.environ.get("MLFLOW_TESTS_IDENTITY_FIDELITY", "0.5")))
    mlflow.set_tags({{"argument": sys.argv[1], "environment": os.environ.get("PHASE_INPUT_COLLECT", "")}})
    result = {{"data": data, "rate": float(sys.argv[2]), "fidelity": os.environ.get("MLFLOW_TESTS_FIDELITY", "0.989")}}
    mlflow.log_text(json.dumps(result), "result.json")
"""

_PLAIN_REPORT = f"""import json, sys, mlflow
with mlflow.start_run():
    {recording("report").strip().replace(chr(10), chr(10) + "    ")}
    trained = json.loads(mlflow.artifacts.load_text(f"runs:/{{sys.argv[1]}}/result.json"))
    mlflow.log_text(json.dumps(["report", trained["data"]]), "result.json")
"""

WITH_PLUGIN = {"MLproject": _MLPROJECT, "collect.py": _COLLECT, "train.py": _TRAIN, "report.py": _REPORT}
WITHOUT_PLUGIN = {
    "MLproject": _MLPROJECT,
    "collect.py": _PLAIN_COLLECT,
    "train.py": _PLAIN_TRAIN,
    "report.py": _PLAIN_REPORT,
}


def collected(project: ProjectFolder, files: dict[str, str] = WITH_PLUGIN) -> ProjectFolder:
    """The project with its first phase done."""

    def build(empty: ProjectFolder) -> None:
        empty.write(files)
        run_well(empty, "collect")

    return project.prepare(f"three-phases-collected-{kind(files)}", build)


def trained(
    project: ProjectFolder, fidelity: str, identity_fidelity: str = "0.5", files: dict[str, str] = WITH_PLUGIN
) -> Run:
    """The run of the second phase in a project whose first two are done; a fidelity may be `nan` or `never` logged."""

    def build(empty: ProjectFolder) -> None:
        collected(empty, files)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TESTS_FIDELITY", fidelity)
            patch.setenv("MLFLOW_TESTS_IDENTITY_FIDELITY", identity_fidelity)
            run_well(empty, "train")

    project.prepare(f"three-phases-trained-{fidelity}-{identity_fidelity}-{kind(files)}", build)
    return project.newest("train")


def finished(project: ProjectFolder, files: dict[str, str] = WITH_PLUGIN) -> ProjectFolder:
    """The project with all three phases done, and done well."""

    def build(empty: ProjectFolder) -> None:
        trained(empty, "0.989", files=files)
        run_well(empty, "report")

    return project.prepare(f"three-phases-finished-{kind(files)}", build)


def run_well(project: ProjectFolder, phase: str, **parameters: object) -> Run:
    """Run a phase by `-b phases`, which has to succeed, and return its run."""
    result = project.run(phase, **parameters)
    assert result.exit_code == 0, result.text
    return project.newest(phase)


def kind(files: dict[str, str]) -> str:
    """A name for a set of files."""
    return "with-plugin" if files is WITH_PLUGIN else "without-plugin"


def backdate(project: ProjectFolder, run: Run, days: float) -> None:
    """Make a run look as if it had completed days earlier."""
    earlier = datetime.fromisoformat(run.data.tags["phase.completed_at"]) - timedelta(days=days)
    project.client.set_tag(run.info.run_id, "phase.completed_at", earlier.astimezone(UTC).isoformat())
