"""mlflow-phases: an MLproject file whose entry points have `phase:`, run with `-b phases`."""

from pathlib import Path

import yaml
from mlflow.tracking import MlflowClient

from benchmarks.change_rows.row import Phase
from benchmarks.peer_projects.base import Case, PeerTool, script

PLAIN = """import sys
from pathlib import Path

text = dict(zip((word[2:] for word in sys.argv[1::2]), sys.argv[2::2]))
Path("{name}.txt").write_text(str({name}(**text)))"""
HELD = """import sys

from mlflow_plugin import start_phase

with start_phase() as phase:
    text = dict(zip((word[2:] for word in sys.argv[1::2]), sys.argv[2::2]))
    needed = {{name: (phase.input(name) / (name + ".txt")).read_text() for name in {needs}}}
    made = str({name}(**needed, **text))
    phase.output("{name}.txt", lambda path: path.write_text(made))"""
THREADS = """
import os
import threading

import mlflow

before = dict(os.environ)
options = {"backend": "phases", "env_manager": "local", "experiment_id": "0"}
runs = lambda rate: mlflow.projects.run(".", "train", parameters={"rate": rate}, **options)
threads = [threading.Thread(target=runs, args=(rate,)) for rate in (1, 2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
left = {name for name in os.environ if os.environ[name] != before.get(name)}
assert not left, f"left in the environment: {left}"
"""


class MlflowPhases(PeerTool):
    name = "mlflow-phases"
    watches = True

    def lay(self, case: Case) -> None:
        row = case.row
        entries: dict[str, object] = {}
        for phase in row.phases:
            names = case.parameters(phase)
            if not phase.command:
                text = (HELD if len(row.phases) > 1 else PLAIN).format(name=phase.name, needs=phase.needs)
                case.write(phase.script, script(case, phase, text))
            options = "".join(f" --{name} {{{name}}}" for name in names)
            keys = {"needs": list(phase.needs), "ignore": list(row.ignore), "code": list(row.code), **phase.keys}
            entries[phase.name] = {
                "parameters": {name: declared(case, name) for name in names},
                "command": command(case, phase) or f"python {phase.script}{options}",
                "phase": {key: value for key, value in keys.items() if value},
            }
        if len(row.phases) > 1:
            parameters = {name: declared(case, name) for name in row.parameters}
            entries["main"] = {"parameters": parameters, "pipeline": [row.last.name]}
        case.write("MLproject", yaml.safe_dump({"name": "rows", **row.project_keys, "entry_points": entries}))

    def ask(self, case: Case, phase: str) -> str:
        entry = phase or ("main" if len(case.row.phases) > 1 else case.row.last.name)
        taken = [each for each in case.row.phases if entry in ("main", each.name)]
        names = {name for each in taken for name in case.parameters(each)}
        words = [f"-P {name}={case.fill(value)}" for name, value in case.given.items() if name in names]
        return " ".join(["mlflow run . -b phases --env-manager local -e", entry, *words])

    def variables(self, case: Case) -> dict[str, str]:
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{case.home}/store.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": str(case.home / "artifacts"),
        }

    def stored(self, case: Case, phase: str) -> Path:
        client = MlflowClient(f"sqlite:///{case.home}/store.db")
        wanted, order = f"tags.`mlflow.project.entryPoint` = '{phase}'", ["attributes.start_time DESC"]
        run = client.search_runs(["0"], wanted, order_by=order)[0]
        run = client.get_run(run.data.tags.get("phase.reused_run_id", run.info.run_id))
        return Path(str(run.info.artifact_uri).removeprefix("file://")) / "outputs" / f"{phase}.txt"

    def threads(self, case: Case) -> str:
        return THREADS


def command(case: Case, phase: Phase) -> str:
    """The phase's command, its own braces doubled: MLflow fills it with `str.format`."""
    text = case.command(phase, "\0NAME\1").replace("{", "{{").replace("}", "}}")
    return text.replace("\0", "{").replace("\1", "}")


def declared(case: Case, name: str) -> dict[str, str]:
    parameter = case.row.parameters[name]
    return {"default": case.fill(parameter.value), **({"type": parameter.type} if parameter.type else {})}
