"""A pipeline of four phases whose last output tells all that happened: [1, 5, 3, 4].

Two sets of files do the same: `WITH_PLUGIN` declares its outputs to the plugin, `WITHOUT_PLUGIN` does not import it and
so works by `-b phases` alone.
"""

from project_folder import PHASES, ProjectFolder, recording

RESULT = [1, 5, 3, 4]
PHASE_NAMES = ("phase1", "phase2", "phase3", "phase4")

_MLPROJECT = """name: four
entry_points:
  main:
    parameters:
      scale: {type: int, default: 2}
      decide: {type: string, default: ask}
    pipeline: [phase4]
    command: "python -m mlflow_plugin.pipeline"
  phase1:
    parameters:
      start: {type: int, default: 1}
      decide: {type: string, default: ask}
    command: "python phase1.py {start}"
    phase: {}
  phase2:
    parameters:
      scale: {type: int, default: 2}
      decide: {type: string, default: ask}
      phase1_run_id: {type: string, default: latest}
    command: "python phase2.py {phase1_run_id} {scale}"
    phase:
      needs: [phase1]
      quality: {metric: fidelity, good: 0.85, poor: 0.70}
  phase3:
    parameters:
      decide: {type: string, default: ask}
      phase2_run_id: {type: string, default: latest}
    command: "python phase3.py {phase2_run_id}"
    phase: {needs: [phase2]}
  phase4:
    parameters:
      decide: {type: string, default: ask}
      phase3_run_id: {type: string, default: latest}
      phase1_run_id: {type: string, default: latest}
    command: "python phase4.py {phase3_run_id}"
    phase: {needs: [phase3, phase1]}
"""

_HELPER = "def add(x):\n    return x + 1\n"


def _with_plugin(number: int, added: str, imports: str = "", more: str = "") -> str:
    before = f'json.loads((phase.input("phase{number - 1}") / "result.json").read_text())' if number > 1 else "[]"
    return f"""import json, sys
{imports}from mlflow_plugin import start_phase
# note: v1
with start_phase() as phase:
    {_indented(recording(f"phase{number}"))}
    before = {before}
    result = before + [{added}]
    {more}phase.output("result.json", lambda path: path.write_text(json.dumps(result)))
"""


def _without_plugin(number: int, added: str, imports: str = "", more: str = "") -> str:
    before = 'json.loads(mlflow.artifacts.load_text(f"runs:/{sys.argv[1]}/result.json"))' if number > 1 else "[]"
    return f"""import json, sys
{imports}import mlflow
# note: v1
with mlflow.start_run():
    {_indented(recording(f"phase{number}"))}
    before = {before}
    result = before + [{added}]
    {more}mlflow.log_text(json.dumps(result), "result.json")
"""


def _indented(lines: str) -> str:
    return lines.strip().replace("\n", "\n    ")


WITH_PLUGIN = {
    "MLproject": _MLPROJECT,
    "helper.py": _HELPER,
    "phase1.py": _with_plugin(1, "int(sys.argv[1])"),
    "phase2.py": _with_plugin(
        2, "helper.add(2 * int(sys.argv[2]))", "import helper\n", "phase.log(fidelity=0.989)\n    "
    ),
    "phase3.py": _with_plugin(3, "3"),
    "phase4.py": _with_plugin(4, "4"),
}

WITHOUT_PLUGIN = {
    "MLproject": _MLPROJECT,
    "helper.py": _HELPER,
    "phase1.py": _without_plugin(1, "int(sys.argv[1])"),
    "phase2.py": _without_plugin(
        2, "helper.add(2 * int(sys.argv[2]))", "import helper\n", 'mlflow.log_metric("fidelity", 0.989)\n    '
    ),
    "phase3.py": _without_plugin(3, "3"),
    "phase4.py": _without_plugin(4, "4"),
}


def finished(project: ProjectFolder, files: dict[str, str] = WITH_PLUGIN) -> ProjectFolder:
    """The project with all four phases done once, by `-b phases`."""

    def build(empty: ProjectFolder) -> None:
        empty.write(files)
        result = empty.run("main", PHASES)
        assert (result.exit_code, empty.executed()) == (0, list(PHASE_NAMES)), result.text

    return project.prepare("four-phases" + ("" if files is WITH_PLUGIN else "-without-plugin"), build)
