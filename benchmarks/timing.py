"""Times things side by side, round after round, so that a noisy minute falls on all of them alike."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds of one case over all rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def fastest(self) -> float:
        return min(self.seconds)


def side_by_side(cases: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, Timing]:
    """Runs every case once a round; the first `warm_up` rounds do not count."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + warm_up):
        for name, case in cases.items():
            began = time.perf_counter()
            case()
            if number >= warm_up:
                taken[name].append(time.perf_counter() - began)
        if sys.stderr.isatty() or rounds < 50:
            print(f"round {number + 1} of {rounds + warm_up}", file=sys.stderr, flush=True)
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}


def command(words: Sequence[str], folder: Path, **variables: str) -> Callable[[], object]:
    """A case that runs a command to its end; raises RuntimeError with its output when it fails."""
    environment = {**os.environ, **variables, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # Without bytecode every process compiles the package anew.

    def run() -> None:
        done = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(words)} ended {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )

    return run


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def heading(*cells: str) -> str:
    return f"{row(*cells)}\n{row(*('---' for _ in cells))}"
