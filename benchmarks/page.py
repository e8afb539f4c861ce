"""The page against MLflow's own list of runs, on the same server and store, and what an open page costs the server.

python -m benchmarks.page [--runs 10000,100000]

The list is the request that MLflow's UI makes for an experiment: the newest 100 runs. The first answer is what the page
draws the pipeline from. An open page then asks every few seconds what goes on; that is measured in CPU time of the
server's processes, less what they spend when nobody asks.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
from mlflow.tracking import MlflowClient

from benchmarks.finished_store import add_other_runs
from benchmarks.limits import Limit
from benchmarks.timing import heading, row, side_by_side
from benchmarks.verdict import prepared, server
from mlflow_plugin.decision.request import Request
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.resolution import resolve_request
from mlflow_plugin.project.mlproject import load_project

ROUNDS, POLLS = 15, 9
POLL_SECONDS = 5.0
"""As often as the page asks while something runs; it asks less often otherwise."""
ASSETS = Path(__file__).parents[1] / "mlflow_plugin" / "dashboard" / "static"
DATA = "ajax-api/3.0/mlflow/phases"
RATIO, CPU_PERCENT, ASSET_BYTES = 2.0, 1.0, 300_000


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as response:
        return bytes(response.read())


def run_list(address: str) -> None:
    """The request of MLflow's UI for an experiment's runs."""
    asked = {"experiment_ids": ["0"], "max_results": 100, "order_by": ["attributes.start_time DESC"]}
    asked |= {"run_view_type": "ACTIVE_ONLY", "filter": ""}
    request = urllib.request.Request(
        f"{address}/ajax-api/2.0/mlflow/runs/search",
        json.dumps(asked).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        assert len(json.load(response)["runs"]) == 100


def cpu_seconds(pid: int) -> float:
    """CPU time that a process and its children have used."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(times.user + times.system for times in (member.cpu_times() for member in family))


def cpu_share(pid: int, call: Callable[[], object]) -> float:
    """The share of a core, in percent, that the server spends while somebody calls every POLL_SECONDS.

    At the pace of a page, since the server looks up some things only now and then.
    """
    call()
    before, began = cpu_seconds(pid), time.monotonic()
    for number in range(1, POLLS + 1):
        time.sleep(max(0.0, began + number * POLL_SECONDS - time.monotonic()))
        call()
    return 100 * (cpu_seconds(pid) - before) / (time.monotonic() - began)


def make_stale(folder: Path, tracking_uri: str) -> None:
    """Computes phase 1 again with another result, so that all after it no longer match."""
    project, client = load_project(folder / "project"), MlflowClient(tracking_uri)
    records = Records(client)
    given = {"epochs": 7, "decide": "rerun"}
    request = Request(project, project.phase("phase1"), given, client, "0", base=folder / "project")
    resolution = resolve_request(request, records, lambda: records.create(request))
    staged = folder / "staged"
    staged.mkdir()
    (staged / "result.json").write_text('"another"')
    records.metrics(resolution.run_id, {"fidelity": 0.99})
    complete_work(records, resolution.run_id, replace(resolution.work()), 60.0, staged=staged)


def states(address: str) -> list[str]:
    return [phase["state"] for phase in json.loads(get(f"{address}/{DATA}/pipeline?experiment_id=0"))["phases"]]


def measure(store: str, size: int, address: str, pid: int, idle: float) -> str:
    """One row: both requests side by side, and the share of a core that an open page takes of a server that else spends
    `idle` percent."""
    pipeline, live = f"{address}/{DATA}/pipeline?experiment_id=0", f"{address}/{DATA}/live?experiment_id=0"
    found = side_by_side(
        {"run list": lambda: run_list(address), "first answer": lambda: get(pipeline)}, ROUNDS, warm_up=3
    )
    once, first = found["run list"].median, found["first answer"].median
    share = cpu_share(pid, lambda: get(live)) - idle
    whole = sum(state == "up to date" for state in states(address))
    cells = (store, f"{size:,}", f"{whole} of 4 up to date", f"{1e3 * once:.0f}", f"{1e3 * first:.0f}")
    name = f"{size:,} {store}, {whole} of 4 up to date"
    ratio = Limit(f"first answer / run list, {name}", first / once, RATIO)
    taken = Limit(f"an open page, of a core, {name}", share, CPU_PERCENT, "%")
    return row(*cells, f"{ratio:.2f}", f"{taken:.2f}")


def rows_of(size: int, *, foreign: bool) -> list[str]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"filling a store of {size} {'other ' if foreign else ''}runs", file=sys.stderr, flush=True)
        database, _ = prepared(folder, 40 if foreign else size)
        if foreign:
            add_other_runs(database, size, foreign=True)
        store = "runs of other projects" if foreign else "runs of its phases"
        found = []
        with server(database, folder, "--app-name", "phases") as (address, pid):
            get(f"{address}/health")
            idle = cpu_share(pid, lambda: None)
            found.append(measure(store, size, address, pid, idle))
            if not foreign:
                make_stale(folder, f"sqlite:///{database}")
                found.append(measure(store, size, address, pid, idle))
        return found


def assets() -> int:
    """Bytes of all files that the page may ask for, as they are sent."""
    return sum(file.stat().st_size for file in ASSETS.rglob("*") if file.is_file())


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--runs", default="10000,100000")
    sizes = [int(size) for size in ask.parse_args().runs.split(",")]
    lines = [line for size in sizes for foreign in (False, True) for line in rows_of(size, foreign=foreign)]
    print("### The page inside the MLflow UI\n")
    poll = f"an open page, of a core (at most {CPU_PERCENT:g}%)"
    ratio = f"/ run list (at most {RATIO:g}x)"
    print(heading("store holds", "runs", "pipeline", "run list ms", "first answer ms", ratio, poll))
    print("\n".join(lines))
    own = Limit("the page's own files", assets() / 1000, ASSET_BYTES / 1000, " kB")
    print(f"\nThe page's own files: {own:.0f} ({own.allowed}), fetched once.")


if __name__ == "__main__":
    main()
