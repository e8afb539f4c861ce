"""A verdict that compares what the run had read, against `get_run` and against `os.stat` of the same files.

python -m benchmarks.traces [--files 0,200,10000]
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.limits import Limit
from benchmarks.timing import Timing, heading, row, side_by_side
from benchmarks.verdict import prepared
from mlflow_plugin import find_reusable
from mlflow_plugin.observation.files import Files, ObservedFile
from mlflow_plugin.observation.packages import installed_version
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.store.traces import keep_trace

ROUNDS = 60
PER_FOLDER = 100
PACKAGES = ("mlflow", "numpy", "pandas", "pydantic", "click", "rich", "psutil", "PyYAML", "requests", "sqlalchemy")


def write_files(folder: Path, number: int) -> Trace:
    """Writes files below a project, and returns the trace of a run that has read them."""
    files = []
    for count in range(number):
        name = f"data/class_{count // PER_FOLDER:03d}/image_{count:06d}.png"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = f"image {count}".encode()
        path.write_bytes(content)
        files.append(ObservedFile(name, len(content), hashlib.sha256(content).hexdigest()))
    packages = {name: version for name in PACKAGES if (version := installed_version(name))}
    return Trace("full", Files.of(files), ("conf/local.yaml",), variables={"LEVEL_OF": ""}, packages=packages)


def measure(folder: Path, number: int) -> dict[str, Timing]:
    """Times one `get_run` on sqlite, `os.stat` of all files, and the verdict on a phase that had read them."""
    database, made = prepared(folder, 1_000)
    project, run_id = folder / "project", made["phase2"]
    client = MlflowClient(f"sqlite:///{database}")
    trace = write_files(project, number)
    keep_trace(client, run_id, trace)
    paths = [str(project / file.name) for file in trace.files]

    def stat() -> None:
        for path in paths:
            os.stat(path)

    def verdict() -> None:
        found = find_reusable(project, "phase2", experiment_id="0", client=client)
        assert (found.action, found.run_id) == ("reuse", run_id), found

    # Files that were changed within the last two seconds are never remembered as unchanged.
    time.sleep(2.5)
    return side_by_side(
        {"get_run": lambda: client.get_run(run_id), "stat": stat, "verdict": verdict}, ROUNDS, warm_up=3
    )


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--files", default="0,200,10000")
    lines = []
    for number in map(int, ask.parse_args().files.split(",")):
        print(f"a run that has read {number} files", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            os.environ["XDG_CACHE_HOME"] = temporary
            found = measure(Path(temporary), number)
        get_run, stat, verdict = (found[case].median for case in ("get_run", "stat", "verdict"))
        bound = 5 * get_run if number < 1_000 else 1.5 * stat + 4 * get_run
        cells = (f"{1e3 * one:.1f}" for one in (get_run, stat, verdict))
        words = "5 get_run" if number < 1_000 else "1.5 os.stat + 4 get_run"
        part = Limit(f"the verdict with {number:,} files read / ({words})", verdict / bound, 1.0)
        lines.append(row(f"{number:,}", *cells, f"{verdict / get_run:.1f}", f"{part:.2f}", words))
    print("### The verdict on a phase that had read files\n")
    print(heading("files", "get_run ms", "os.stat ms", "verdict ms", "x get_run", "of the limit", "limit"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
