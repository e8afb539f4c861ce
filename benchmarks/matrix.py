"""The verdict on a matrix of finished runs against that on one run of the same phase without a matrix.

python -m benchmarks.matrix [--runs 50] [--files 0,200]
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.limits import Limit
from benchmarks.timing import Timing, heading, row, side_by_side
from benchmarks.traces import write_files
from mlflow_plugin import find_reusable
from mlflow_plugin.execution.set_records import MemberRun
from mlflow_plugin.project.members import members_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store.run_decoding import phase_run
from mlflow_plugin.store.traces import keep_trace
from mlflow_plugin.testing import SimulatedProject, temporary_store

ROUNDS, RATIO = 30, 8.0
MLPROJECT = """\
name: bench
entry_points:
  prepare:
    command: "python prepare.py"
    phase: {}
  train:
    parameters: {seed: {type: int, default: 0}, rate: {type: float, default: 0.1}}
    command: "python train.py --seed {seed} --rate {rate}"
    phase: {needs: [prepare], quality: {metric: accuracy, good: 0.8, poor: 0.5}, matrix: {seed: [%s]}}
  single:
    parameters: {seed: {type: int, default: 0}, rate: {type: float, default: 0.1}}
    command: "python train.py --seed {seed} --rate {rate}"
    phase: {needs: [prepare], quality: {metric: accuracy, good: 0.8, poor: 0.5}}
"""


def finish(folder: Path, runs: int, files: int) -> str:
    """Record so many runs of a matrix as finished, each of which has read the same files and a variable of its own.

    One run of the same phase without a matrix is recorded too.

    Returns:
        The id of the set.
    """
    folder.mkdir()
    (folder / "MLproject").write_text(MLPROJECT % ", ".join(map(str, range(runs))))
    (folder / "helper.py").write_text("def add(x):\n    return x + 1\n")
    for name in ("prepare", "train"):
        (folder / f"{name}.py").write_text("import helper\n\nprint(helper.add(1))\n")
    simulated, trace = SimulatedProject(folder), write_files(folder, files)
    simulated.compute("prepare", {"rows.txt": "3"})
    phase, made = load_project(folder).phases["train"], []
    members = members_of(phase, {})
    for member in members:
        seed = member.values["seed"]
        run_id = simulated.compute("train", {"model.txt": f"model {seed}"}, {"accuracy": 0.9}, seed=seed)
        keep_trace(simulated.client, run_id, replace(trace, variables={f"SEED_{seed}": ""}))
        run = phase_run(simulated.client.get_run(run_id))
        made.append(MemberRun(member, run, run))
    single = simulated.compute("single", {"model.txt": "model"}, {"accuracy": 0.9})
    keep_trace(simulated.client, single, trace)
    request = simulated.request("train")
    set_id = simulated.records.create_set(request, members)
    simulated.records.complete_set(set_id, request, members, made, "")
    return set_id


def measure(folder: Path, runs: int, files: int) -> dict[str, Timing]:
    """Time one `get_run`, the verdict on the phase without a matrix, on one run of the matrix, and on all of them."""
    set_id, client = finish(folder, runs, files), MlflowClient()

    def single() -> None:
        assert find_reusable(folder, "single").action == "reuse"

    def one() -> None:
        assert find_reusable(folder, "train", {"seed": 3}).action == "reuse"

    def every() -> None:
        found = find_reusable(folder, "train")
        assert (found.action, found.run_id, len(found.members)) == ("reuse", set_id, runs), found

    # Files that were changed within the last two seconds are never remembered as unchanged.
    time.sleep(2.5)
    cases = {"get_run": lambda: client.get_run(set_id), "single": single, "one": one, "all": every}
    return side_by_side(cases, ROUNDS, warm_up=3)


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--runs", type=int, default=50)
    ask.add_argument("--files", default="0,200")
    options, lines = ask.parse_args(), []
    for files in map(int, options.files.split(",")):
        print(f"a matrix of {options.runs} runs that have read {files} files", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            os.environ["XDG_CACHE_HOME"] = temporary
            with temporary_store(Path(temporary) / "store"):
                found = measure(Path(temporary) / "project", options.runs, files)
        get_run, single, one, every = (found[case].median for case in ("get_run", "single", "one", "all"))
        cells = (f"{1e3 * seconds:.1f}" for seconds in (get_run, single, one, every))
        ratio = Limit(f"{options.runs} runs that have read {files} files / one verdict", every / single, RATIO)
        lines.append(row(options.runs, files, *cells, f"{ratio:.1f}", ratio.allowed))
    print("### The verdict on a matrix of finished runs\n")
    milliseconds = ("get_run ms", "one verdict ms", "one of the matrix ms", "all ms")
    print(heading("runs", "files read", *milliseconds, "all / one verdict", "limit"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
