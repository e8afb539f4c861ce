"""Figures that have a limit. Each is counted when it is made, so that none is printed beside its limit and forgotten.

`python -m benchmarks` gives every benchmark a file (`LIMITS_FILE`) that collects them, and ends with those missed.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.timing import heading, row

LIMITS_FILE = "MLFLOW_PHASES_BENCHMARK_LIMITS"
"""The environment variable that names the file for the limits of a benchmark, one JSON object a line."""


@dataclass(frozen=True)
class Limit:
    """One figure and the most, or the least, that it may be.

    `f"{limit:.2f}"` is the figure with its unit, and says when it misses the limit.

    Attributes:
        name: The measured quantity, as the list at the end of all benchmarks shows it.
        figure: Its value in this run.
        limit: Its largest allowed value; the smallest one with `at_least`.
        unit: What stands behind both numbers, such as `x` or ` s`.
        at_least: The figure must not be below the limit.
    """

    name: str
    figure: float
    limit: float
    unit: str = "x"
    at_least: bool = False

    def __post_init__(self) -> None:
        if file := os.environ.get(LIMITS_FILE):
            with open(file, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(self)) + "\n")

    @property
    def held(self) -> bool:
        """Return True when the figure keeps its limit. One that is not a number does not."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    @property
    def allowed(self) -> str:
        """Return the limit in words, such as `at most 1.2x`."""
        return f"at {'least' if self.at_least else 'most'} {self.limit:g}{self.unit}"

    def __format__(self, spec: str) -> str:
        return f"{format(self.figure, spec)}{self.unit}{'' if self.held else ' (missed)'}"


def read_limits(file: Path) -> list[Limit]:
    """Return the limits that a benchmark has written into its file; none when it has made none."""
    if not file.exists():
        return []
    return [Limit(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def summary(limits: Sequence[tuple[str, Limit]], failed: Sequence[str]) -> str:
    """Return the end of all benchmarks as Markdown: the limits that were missed, or that all were held.

    Args:
        limits: The benchmark and one of its limits, for all of them.
        failed: One sentence for each benchmark that ended with an error.
    """
    missed = [(name, limit) for name, limit in limits if not limit.held]
    lines = ["### Limits", ""]
    if missed:
        lines += [f"{len(missed)} of {len(limits)} limits missed:", "", heading("benchmark", "figure", "is", "limit")]
        lines += [row(name, limit.name, f"{limit.figure:.3g}{limit.unit}", limit.allowed) for name, limit in missed]
    else:
        lines.append(f"All {len(limits)} limits held.")
    return "\n".join([*lines, *(["", *failed] if failed else [])])
