"""The verdict on a finished phase against one `get_run` on the same store, with 1,000 and with 100,000 runs in it.

python -m benchmarks.verdict [--runs 1000,100000]
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.finished_store import add_other_runs, finish_pipeline, write_project
from benchmarks.limits import Limit
from benchmarks.timing import Timing, heading, row, side_by_side
from mlflow_plugin import find_reusable

ROUNDS = 60
RATIO, GROWTH = 4.0, 1.5


@contextlib.contextmanager
def server(database: Path, folder: Path, *options: str) -> Iterator[tuple[str, int]]:
    """A real MLflow server on a sqlite store; yields its address and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    words += ["--backend-store-uri", f"sqlite:///{database}"]
    words += ["--artifacts-destination", str(folder / "served"), "--port", str(port), "--workers", "1"]
    words += options
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=2)
                break
            time.sleep(0.25)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(30)


def measure(project: Path, tracking_uri: str, run_id: str, phase: str) -> dict[str, Timing]:
    client = MlflowClient(tracking_uri)

    def verdict() -> None:
        found = find_reusable(project, phase, experiment_id="0", client=client)
        assert (found.action, found.run_id) == ("reuse", run_id), found

    return side_by_side({"get_run": lambda: client.get_run(run_id), "verdict": verdict}, ROUNDS, warm_up=3)


def prepared(folder: Path, runs: int) -> tuple[Path, dict[str, str]]:
    """A project and a sqlite store of so many runs; its own four are found through the tracking URI of the store."""
    database = folder / "store.db"
    write_project(folder / "project")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
    client = MlflowClient(f"sqlite:///{database}")
    client.search_experiments()
    import sqlite3

    with sqlite3.connect(database) as db:
        db.execute("update experiments set artifact_location = ?", (str(folder / "artifacts"),))
    made = finish_pipeline(folder / "project", f"sqlite:///{database}")
    add_other_runs(database, runs)
    return database, made


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--runs", default="1000,100000")
    sizes = [int(size) for size in ask.parse_args().runs.split(",")]
    lines, medians = [], {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            print(f"filling a store of {size} runs", file=sys.stderr, flush=True)
            database, made = prepared(folder, size)
            with server(database, folder) as (address, _):
                for store, uri in (("sqlite", f"sqlite:///{database}"), ("HTTP", address)):
                    for phase in ("phase2", "phase4"):
                        found = measure(folder / "project", uri, made[phase], phase)
                        medians[store, phase, size] = found["verdict"].median
                        once, verdict = found["get_run"].median, found["verdict"].median
                        name = f"{phase}, {store}, {size:,} runs"
                        ratio = Limit(f"verdict / get_run, {name}", verdict / once, RATIO)
                        growth = Limit(
                            f"verdict / that at {sizes[0]:,} runs, {name}",
                            verdict / medians[store, phase, sizes[0]],
                            GROWTH,
                        )
                        cells = (store, phase, f"{size:,}", f"{1e3 * once:.1f}", f"{1e3 * verdict:.1f}")
                        lines.append(row(*cells, f"{ratio:.1f}", f"{growth:.2f}"))
    print("### The verdict on a finished phase\n")
    ratios = (f"/ get_run (at most {RATIO:g}x)", f"/ that at {sizes[0]:,} (at most {GROWTH:g}x)")
    print(heading("store", "phase", "runs in it", "get_run ms", "verdict ms", *ratios))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
