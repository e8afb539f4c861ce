"""The comparison of a trace with the files on disk, against `get_run` and against `os.stat` of the same files.

python -m benchmarks.traces [--files 200,10000]
"""

import argparse
import hashlib
import os
import tempfile
import time
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.timing import Timing, heading, row, side_by_side
from mlflow_plugin.observation.comparison import compare
from mlflow_plugin.observation.files import Files, ObservedFile
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.observation.trace import Trace

ROUNDS = 60
PER_FOLDER = 100
ABSENT = 50


def write_files(folder: Path, number: int) -> Trace:
    """Writes files whose times are a minute old, and returns their trace."""
    files = []
    for count in range(number):
        name = f"data/class_{count // PER_FOLDER:03d}/image_{count:06d}.png"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = f"image {count}".encode()
        path.write_bytes(content)
        files.append(ObservedFile(name, len(content), hashlib.sha256(content).hexdigest()))
    absent = tuple(f"conf/local_{count}.yaml" for count in range(ABSENT))
    return Trace("full", Files.of(files), absent, variables={"LEVEL": ""})


def measure(folder: Path, number: int) -> dict[str, Timing]:
    """Times one `get_run` on sqlite, `os.stat` of all files, the JSON alone, and the whole comparison."""
    project = folder / "project"
    trace = write_files(project, number)
    data, places, policy = trace.to_json(), Places(project), Policy()
    paths = [str(project / file.name) for file in trace.files]
    client = MlflowClient(f"sqlite:///{folder / 'store.db'}")
    run_id = client.create_run("0").info.run_id

    def verdict() -> None:
        findings = compare(Trace.from_json(data), policy, places, trusted=True, environ={})
        assert findings == Findings(compared=number), findings

    def stat() -> None:
        for path in paths:
            os.stat(path)

    cases = {
        "get_run": lambda: client.get_run(run_id),
        "stat": stat,
        "json": lambda: Trace.from_json(data),
        "compare": verdict,
    }
    # Files that were changed within the last two seconds are never remembered as unchanged.
    time.sleep(2.5)
    return side_by_side(cases, ROUNDS, warm_up=3)


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--files", default="200,10000")
    lines = []
    for number in map(int, ask.parse_args().files.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            os.environ["XDG_CACHE_HOME"] = temporary
            found = measure(Path(temporary), number)
        get_run, stat, read, compared = (found[case].median for case in ("get_run", "stat", "json", "compare"))
        cells = (f"{1e3 * one:.1f}" for one in (get_run, stat, read, compared))
        bound = 5 * get_run if number < 1_000 else 1.5 * stat + 4 * get_run
        lines.append(row(f"{number:,}", *cells, f"{compared / get_run:.2f}", f"{compared / bound:.2f}"))
    print("### The comparison of what a run read with what is there now\n")
    print(
        heading("files", "get_run ms", "os.stat ms", "reading the trace ms", "compare ms", "x get_run", "of the bound")
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
