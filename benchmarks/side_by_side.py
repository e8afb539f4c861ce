"""A pipeline of independent phases that only sleep, several side by side, against the time that they sleep.

python -m benchmarks.side_by_side [--phases 8] [--jobs 4] [--seconds 20] [--rounds 1]

The time is that of the whole command, `mlflow run . -e main -b phases`: MLflow is imported, and each phase is decided,
started, watched and completed.
"""

import argparse
import itertools
import math
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.limits import Limit
from benchmarks.timing import command, heading, row, side_by_side

RATIO = 1.15
MLPROJECT = """\
name: bench
entry_points:
  main:
    pipeline: [%s]
    jobs: %d
    command: "python -m mlflow_plugin.pipeline"
"""
PHASE = """\
  phase%d:
    parameters: {round: {type: int, default: 0}}
    command: "python sleep.py {round}"
    phase: {outputs: []}
"""


def write_project(folder: Path, phases: int, jobs: int, seconds: float) -> None:
    """Write phases that need nothing, and a pipeline of all of them."""
    folder.mkdir()
    names = ", ".join(f"phase{number}" for number in range(phases))
    parts = [PHASE % number for number in range(phases)]
    (folder / "MLproject").write_text(MLPROJECT % (names, jobs) + "".join(parts))
    (folder / "sleep.py").write_text(f"import time\n\ntime.sleep({seconds})\n")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--phases", type=int, default=8)
    ask.add_argument("--jobs", type=int, default=4)
    ask.add_argument("--seconds", type=float, default=20.0)
    ask.add_argument("--rounds", type=int, default=1)
    options = ask.parse_args()
    tools = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        write_project(project, options.phases, options.jobs, options.seconds)
        store = {
            "MLFLOW_TRACKING_URI": f"sqlite:///{temporary}/mlflow.db",
            "PATH": f"{tools}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": f"{temporary}/cache",
        }
        search = "from mlflow import MlflowClient; MlflowClient().search_experiments()"
        command([sys.executable, "-c", search], project, **store)()  # Makes the database.
        words = [str(tools / "mlflow"), "run", ".", "-e", "main", "-b", "phases", "--env-manager", "local"]
        numbers = itertools.count(1)

        def run() -> None:
            """Compute all phases with a parameter that none was computed with before."""
            command([*words, "-P", f"round={next(numbers)}"], project, **store)()

        found = side_by_side({"main": run}, options.rounds, warm_up=0)["main"]
    asleep = math.ceil(options.phases / options.jobs) * options.seconds
    ratio = Limit("the pipeline / the time that its phases sleep", found.fastest / asleep, RATIO)
    print(f"### {options.phases} independent phases that sleep {options.seconds:g} s, `jobs: {options.jobs}`\n")
    print(heading("asleep s", "fastest s", "ratio", "limit"))
    print(row(f"{asleep:.0f}", f"{found.fastest:.1f}", f"{ratio:.2f}", ratio.allowed))


if __name__ == "__main__":
    main()
