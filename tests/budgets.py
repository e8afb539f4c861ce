"""The price of the tests: the sum of each folder against its budget, and the tests that cost most.

The figures are seconds inside tests (setup, call and teardown). A budget is the wall time that a folder may take on two
idle cores, which is half of that sum. On a busy machine the seconds of CPU tell more: those of the test's process and
of the child processes that it waited for. Nothing fails for being slow.
"""

import os
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
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


@dataclass(frozen=True)
class Cost:
    """The seconds of a test: by the clock, and of CPU."""

    wall: float
    cpu: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


def report_lines(costs: Mapping[str, Cost]) -> list[str]:
    """Return the lines of the report for the cost of each test, by node id."""
    folders: dict[str, list[Cost]] = defaultdict(list)
    for nodeid, cost in costs.items():
        folders[folder_of(nodeid)].append(cost)
    return [_folder_line(folder, inside) for folder, inside in sorted(folders.items())] + _costliest(costs)


def _folder_line(folder: str, costs: list[Cost]) -> str:
    budget, total = budget_of(folder), sum(costs, Cost(0.0))
    wall = total.wall / CORES
    line = (
        f"{folder}: {len(costs)} tests, {total.wall:.0f} s ({total.cpu:.0f} s of CPU), so {wall:.0f} s on {CORES} cores"
    )
    if budget.folder is not None:
        line += f" of {budget.folder:g} s" + (" (OVER)" if wall > budget.folder else "")
    if budget.test is not None and (over := sum(cost.wall > budget.test for cost in costs)):
        line += f"; {over} over {budget.test:g} s a test"
    return line


def _costliest(costs: Mapping[str, Cost]) -> list[str]:
    dearest = sorted(costs.items(), key=lambda item: -item[1].wall)[:COSTLIEST]
    return [f"{cost.wall:7.1f} s ({cost.cpu:.1f} of CPU)  {nodeid}" for nodeid, cost in dearest if cost.wall >= 0.05]


_CPU = pytest.StashKey[float]()


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_CPU] = _cpu_seconds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the CPU of each part of a test on its report, whose attributes travel from a worker to the controller."""
    report = yield
    now = _cpu_seconds()
    report.cpu_seconds = now - item.stash.get(_CPU, now)  # type: ignore[attr-defined]
    item.stash[_CPU] = now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report. With xdist the controller has the results of all workers."""
    costs: dict[str, Cost] = defaultdict(lambda: Cost(0.0))
    for result in _results(terminalreporter.stats.values()):
        costs[result.nodeid] += Cost(result.duration, getattr(result, "cpu_seconds", 0.0))
    if costs:
        terminalreporter.section("price of the tests")
        for line in report_lines(costs):
            terminalreporter.write_line(line)


def _results(groups: Iterable[list[object]]) -> Iterable[pytest.TestReport]:
    return (result for group in groups for result in group if isinstance(result, pytest.TestReport))
