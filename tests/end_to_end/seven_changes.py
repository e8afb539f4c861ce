"""Seven changes to a finished pipeline, and what has to be computed again after each: no more, and no less."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from four_phases import RESULT
from project_folder import ProjectFolder


@dataclass(frozen=True)
class Change:
    """A change to a finished pipeline, and the phases that `main` has to run then.

    `asks`: it must not begin before somebody agreed to supersede what depends on it. `executed_at_once` is what the
    change itself executes.
    """

    name: str
    make: Callable[[ProjectFolder, str], object]
    executed: tuple[str, ...] = ()
    result: list[int] = field(default_factory=lambda: RESULT)
    asks: bool = False
    parameters: Mapping[str, object] = field(default_factory=dict)
    executed_at_once: tuple[str, ...] = ()


def _touch(project: ProjectFolder, route: str) -> None:
    os.utime(project.folder / "phase2.py")


def _delete_output(project: ProjectFolder, route: str) -> None:
    project.output_file(project.newest("phase2")).unlink()


def _force_phase1(project: ProjectFolder, route: str) -> None:
    result = project.run("phase1", route, decide="rerun")
    assert result.exit_code == 0, result.text


_FROM_PHASE2 = ("phase2", "phase3", "phase4")

CHANGES = (
    Change("comment", lambda project, route: project.edit("phase2.py", "# note: v1", "# note: v2, and why")),
    Change(
        "helper_module",
        lambda project, route: project.edit("helper.py", "x + 1", "x + 100"),
        executed=_FROM_PHASE2,
        result=[1, 104, 3, 4],
        asks=True,
    ),
    Change(
        "code",
        lambda project, route: project.edit("phase2.py", "add(2 *", "add(3 *"),
        executed=_FROM_PHASE2,
        result=[1, 7, 3, 4],
        asks=True,
    ),
    Change(
        "parameter",
        lambda project, route: None,
        executed=_FROM_PHASE2,
        result=[1, 7, 3, 4],
        asks=True,
        parameters={"scale": 3},
    ),
    Change("touched_script", _touch),
    Change("deleted_output", _delete_output, executed=("phase2",)),
    Change("forced_rerun_with_the_same_bytes", _force_phase1, executed_at_once=("phase1",)),
)


def check(project: ProjectFolder, route: str, change: Change) -> None:
    """Make a change to a finished pipeline and assert what `main` executes, asks, leaves alone and ends with."""
    change.make(project, route)
    assert project.executed() == list(change.executed_at_once)
    if change.asks:
        _check_that_it_stops_unasked(project, route, change)
    decide = {"decide": "rerun"} if change.asks else {}
    result = project.run("main", route, **change.parameters, **decide)
    assert result.exit_code == 0, result.text
    assert project.executed() == list(change.executed)
    assert project.output(project.source("phase4")) == change.result


def _check_that_it_stops_unasked(project: ProjectFolder, route: str, change: Change) -> None:
    result = project.run("main", route, **change.parameters)
    assert result.exit_code == 3, result.text
    assert project.executed() == []
    assert project.newest("phase2").data.tags["phase.verdict"] == "ask"
    assert len(project.runs("phase3")) == 1, "nothing after the question may be decided before it is answered"
    assert not [run for run in project.runs() if "phase.invalidated_by" in run.data.tags]
    assert project.output(project.newest("phase4")) == RESULT
