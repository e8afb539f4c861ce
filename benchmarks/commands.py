"""Whole commands on a finished four-phase pipeline against the least that MLflow itself needs.

python -m benchmarks.commands
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.limits import Limit
from benchmarks.timing import command, heading, row, side_by_side
from benchmarks.verdict import prepared
from mlflow_plugin import plan

ROUNDS = 10
SEARCH = "from mlflow.tracking import MlflowClient; MlflowClient().search_runs(['0'], max_results=1)"
NOOP, MAIN = "mlflow run -e noop", "mlflow run -e main -b phases"
BARE, PLAN, IMPORT = "python: one search_runs", "mlflow-phases plan", "python: import mlflow"
PAIRS = ((MAIN, NOOP, 1.2), (PLAN, BARE, 1.2))


def main() -> None:
    tools = Path(sys.executable).parent
    mlflow, phases = str(tools / "mlflow"), str(tools / "mlflow-phases")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        database, _ = prepared(folder, 1000)
        project = folder / "project"
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{database}", "PATH": f"{tools}:{os.environ['PATH']}"}
        cases = {
            IMPORT: command([sys.executable, "-c", "import mlflow"], project, **store),
            BARE: command([sys.executable, "-c", SEARCH], project, **store),
            PLAN: command([phases, "plan"], project, **store),
            NOOP: command([mlflow, "run", ".", "-e", "noop", "--env-manager", "local"], project, **store),
            MAIN: command([mlflow, "run", ".", "-e", "main", "-b", "phases"], project, **store),
        }
        found = side_by_side(cases, ROUNDS)
        client = MlflowClient()
        inside = side_by_side({"plan": lambda: plan(project, client=client, experiment_id="0")}, 30, warm_up=3)["plan"]
        shutil.rmtree(folder / "artifacts", ignore_errors=True)
    print("### Whole commands on a finished four-phase pipeline\n")
    print(heading("command", "median s", "fastest s", "x import mlflow"))
    for name, timing in found.items():
        ratio = timing.median / found[IMPORT].median
        print(row(f"`{name}`", f"{timing.median:.2f}", f"{timing.fastest:.2f}", f"{ratio:.2f}"))
    print()
    print(heading("ratio", "of medians", "of fastest", "limit of medians"))
    for one, other, limit in PAIRS:
        medians = Limit(f"`{one}` / `{other}`", found[one].median / found[other].median, limit)
        fastest = found[one].fastest / found[other].fastest
        print(row(medians.name, f"{medians:.2f}", f"{fastest:.2f}", medians.allowed))
    print(f"\nFour verdicts inside a process (`plan`): {1e3 * inside.median:.1f} ms.")


if __name__ == "__main__":
    main()
