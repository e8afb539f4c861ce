"""The price of the tests: the sum of each folder against its budget, and the tests that cost most.

The figures are seconds inside tests (setup, call and teardown). A budget is the wall time that a folder may take on two
idle cores, which is half of that sum. Nothing fails for being slow.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pytest

CORES = 2
COSTLIEST = 10


@dataclass(frozen=True)
class Budget:
    """The seconds that one test and a whole folder may take; None where there is no limit."""

    test: float | None
    folder: float | None


BUDGETS: Mapping[str, Budget] = {
    "tests/unit": Budget(0.2, 90),
    "tests/store": Budget(2, 240),
    "tests/end_to_end": Budget(60, 480),
    "tests/projects": Budget(None, 30),
    "tests/nightly": Budget(None, None),
}
_ONE_BUDGET_FOR_EACH_FOLDER_INSIDE = "tests/projects"


def folder_of(nodeid: str) -> str:
    """Return the folder whose budget a test counts for.

    >>> folder_of("tests/unit/store/test_lock.py::test_it[a/b]"), folder_of("tests/projects/common/test_it.py::test_it")
    ('tests/unit', 'tests/projects/common')
    """
    parts = nodeid.partition("::")[0].split("/")[:-1]
    depth = 3 if "/".join(parts[:2]) == _ONE_BUDGET_FOR_EACH_FOLDER_INSIDE else 2
    return "/".join(parts[:depth])


def budget_of(folder: str) -> Budget:
    """Return the budget of a folder that `folder_of` has named."""
    return BUDGETS.get("/".join(folder.split("/")[:2]), Budget(None, None))


def report_lines(seconds: Mapping[str, float]) -> list[str]:
    """Return the lines of the report for the seconds of each test, by node id."""
    folders: dict[str, list[float]] = defaultdict(list)
    for nodeid, cost in seconds.items():
        folders[folder_of(nodeid)].append(cost)
    return [_folder_line(folder, costs) for folder, costs in sorted(folders.items())] + _costliest(seconds)


def _folder_line(folder: str, costs: list[float]) -> str:
    budget, wall = budget_of(folder), sum(costs) / CORES
    line = f"{folder}: {len(costs)} tests, {sum(costs):.0f} s, so {wall:.0f} s on {CORES} cores"
    if budget.folder is not None:
        line += f" of {budget.folder:g} s" + (" (OVER)" if wall > budget.folder else "")
    if budget.test is not None and (over := sum(cost > budget.test for cost in costs)):
        line += f"; {over} over {budget.test:g} s a test"
    return line


def _costliest(seconds: Mapping[str, float]) -> list[str]:
    dearest = sorted(seconds.items(), key=lambda item: -item[1])[:COSTLIEST]
    return [f"{cost:7.1f} s  {nodeid}" for nodeid, cost in dearest if cost >= 0.05]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report. With xdist the controller has the results of all workers."""
    seconds: dict[str, float] = defaultdict(float)
    for result in _results(terminalreporter.stats.values()):
        seconds[result.nodeid] += result.duration
    if seconds:
        terminalreporter.section("price of the tests")
        for line in report_lines(seconds):
            terminalreporter.write_line(line)


def _results(groups: Iterable[list[object]]) -> Iterable[pytest.TestReport]:
    return (result for group in groups for result in group if isinstance(result, pytest.TestReport))
