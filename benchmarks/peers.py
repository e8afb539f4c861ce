"""Measure how long other tools and the plugin take to find that a finished four-phase pipeline needs nothing.

python -m benchmarks.peers [--rounds 10] [--runs 1000,100000]

Each tool runs its own form of the pipeline, from `benchmarks/peers`, in an environment of its own below `.cache/peers`.
"""

import argparse
import contextlib
import json
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from benchmarks.peer_changes import CHANGES, right_changes
from benchmarks.peer_tools import PIPELINES, TOOLS, Tool, environment, executed, finished_pipeline, prefect_server
from benchmarks.timing import Timing, command, heading, row, side_by_side
from benchmarks.verdict import prepared

WARM = PIPELINES / "shared" / "warm.py"
NOTES = f"""
A warm decision is one within a process that has imported and opened everything; Metaflow offers none. Ratios are
medians over the rounds, each to `python -c 'import mlflow'` or one `MlflowClient.get_run` on a sqlite store in the same
round. Prefect's server was kept running. MLflow's example looks no further than the newest 1,000 runs. Right means that
after a change exactly the phases that it affects were computed and the last output was right. The changes:
{", ".join(CHANGES)}. No tool was told of the helper.
mlflow-phases asks before it gives up good work that a change affects, and was told to run.
"""


@dataclass(frozen=True)
class Case:
    """A command on a finished pipeline, and the decision of warm.py that is timed beside it."""

    who: str
    words: str
    folder: Path
    variables: Mapping[str, str]
    decision: str = ""
    runs: str = ""

    def warm(self) -> float:
        """The median of the decision within a new process, in milliseconds."""
        command(["python", str(WARM), self.decision], self.folder, **self.variables)()
        return statistics.median(json.loads((self.folder / "warm.json").read_text()))

    @property
    def label(self) -> str:
        return f"{self.who} | {self.runs} | `{self.words}`"


def tool_cases(tool: Tool, home: Path) -> list[Case]:
    finished_pipeline(tool, home)
    return [Case(tool.name, words, home, environment(tool, home), warm) for words, warm in tool.decisions.items()]


def store_cases(folder: Path, runs: int) -> Iterator[Case]:
    """MLflow's own way and the plugin, on a store of so many runs."""
    print(f"filling a store of {runs} runs", file=sys.stderr, flush=True)
    folder.mkdir()
    database, _ = prepared(folder, runs)
    variables = {**environment(TOOLS[-1], folder), "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
    shutil.copytree(PIPELINES / "multistep", folder / "multistep")
    for who, project, words, decision in (
        ("MLflow's multistep example", "multistep", "mlflow run . -e multistep --env-manager local", ""),
        ("MLflow's multistep example", "multistep", "python multistep.py", "multistep"),
        ("mlflow-phases", "project", "mlflow run . -e main -b phases", ""),
        ("mlflow-phases", "project", "mlflow-phases plan", "plan"),
    ):
        yield Case(who, words, folder / project, variables, decision, f"{runs:,}")


def measure(cases: Sequence[Case], base: Case, rounds: int) -> tuple[dict[str, Timing], dict[str, list[float]]]:
    """Seconds of each command and, in a third of the rounds, milliseconds of each decision; both by label."""
    walls = {case.label: command(shlex.split(case.words), case.folder, **case.variables) for case in cases}
    found = side_by_side(walls, rounds)
    warm: dict[str, list[float]] = {case.label: [] for case in (base, *cases) if case.decision}
    for _ in range(max(1, rounds // 3)):
        for case in (base, *cases):
            if case.decision:
                warm[case.label].append(case.warm())
    return found, warm


def require_that_nothing_was_computed(cases: Iterable[Case]) -> None:
    for case in cases:
        phases = executed(case.folder)
        if case.who == "mlflow-phases":
            newest = MlflowClient(case.variables["MLFLOW_TRACKING_URI"]).search_runs(["0"], max_results=5)
            verdicts = [run.data.tags.get("phase.verdict", "") for run in newest]
            phases += [] if verdicts.count("reuse") == 4 else verdicts
        if phases:
            raise RuntimeError(f"{case.label} computed again: {phases}")


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(value / unit for value, unit in zip(values, base, strict=True))


def table(
    cases: Sequence[Case], walls: dict[str, Timing], warm: dict[str, list[float]], right: Mapping[str, list[str]]
) -> str:
    """The first case's command and the first decision are what the others are compared with."""
    lines = [
        heading(
            *("tool", "runs in store", "command", "median s", "fastest s", "x import mlflow"),
            *("warm decision ms", "x get_run", f"right of {len(CHANGES)}"),
        )
    ]
    import_mlflow, get_run = walls[cases[0].label].seconds, next(iter(warm.values()))
    for case in cases:
        wall, inside = walls[case.label], warm.get(case.label)
        cells = [f"{wall.median:.2f}", f"{wall.fastest:.2f}", f"{ratio(wall.seconds, import_mlflow):.2f}"]
        cells += [f"{statistics.median(inside):.1f}", f"{ratio(inside, get_run):.1f}"] if inside else ["", ""]
        lines.append(row(case.label, *cells, len(right[case.who]) if case.who in right else ""))
    return "\n".join(lines)


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--rounds", type=int, default=10)
    ask.add_argument("--runs", default="1000,100000")
    options = ask.parse_args()
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        stack.enter_context(prefect_server(folder / "server"))
        stores = [case for n in options.runs.split(",") for case in store_cases(folder / f"store-{n}", int(n))]
        first = stores[0]
        plain = [
            Case("floor", words, first.folder, first.variables)
            for words in ("python -c 'import mlflow'", "mlflow run . -e noop --env-manager local")
        ]
        peers = [case for tool in TOOLS if tool.requirement for case in tool_cases(tool, folder / tool.name)]
        cases = [*plain, *peers, *stores]
        get_run = Case("floor", "MlflowClient.get_run", first.folder, first.variables, "get_run")
        walls, warm = measure(cases, get_run, options.rounds)
        require_that_nothing_was_computed([*peers, *stores])
        right = {tool.name: right_changes(tool, folder / "changes" / tool.name) for tool in TOOLS}
    print("### What other tools need to find that nothing is to be done\n")
    print(table(cases, walls, warm, right))
    print(f"\nOne `get_run` took {statistics.median(warm[get_run.label]):.1f} ms.{NOTES}")
    for name, changes in right.items():
        if wrong := [change for change in CHANGES if change not in changes]:
            print(f"- {name} was not right after: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
