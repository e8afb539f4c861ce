"""The graphs that a phase is part of, and the good runs in all of them that were made from it. Reads, never writes.

A phase that is asked for from its own folder does not know which MLproject files need it. The experiment does.
"""

from collections.abc import Iterator
from dataclasses import replace

from mlflow_plugin.decision.lineage import good_downstream
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.project.members import member_with
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.declaration import declared_projects
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

__all__ = ["good_downstream_anywhere", "graphs_with"]


def graphs_with(request: Request, history: History) -> Iterator[tuple[History, Phase]]:
    """Yield the runs of each project that knows a phase, with the phase as it is called there.

    First comes the project that asks, then those of other MLproject files in the experiment whose phases need this one.

    Args:
        request: The request for the phase.
        history: The runs of the phase's own project.
    """
    asking = request.graph or request.project
    yield History(history.client, history.experiment_id, request.graph) if request.graph else history, request.shown
    own = (request.project.name, request.phase.name)
    for declared in declared_projects(history.experiment_tags()).values():
        shown = declared.called_here.get(own)
        if shown is not None and declared.name not in (asking.name, request.project.name):
            member = request.phase.member
            shown = member_with(replace(shown, outputs=None), member).phase if member else shown
            yield History(history.client, history.experiment_id, declared), shown


def good_downstream_anywhere(request: Request, history: History, run: PhaseRun) -> list[SupersededRun]:
    """Return the complete, good runs of any of these projects that were made from a run of a phase.

    Args:
        request: The request for the phase.
        history: The runs of the phase's own project.
        run: The run of the phase.
    """
    found: dict[str, SupersededRun] = {}
    asking = request.graph or request.project
    names = dict.fromkeys(asking.phases, asking.name)
    for of_project, shown in graphs_with(request, history):
        one = of_project.run(run.run_id) or run
        for lost in good_downstream(of_project, replace(one, phase=shown.name)):
            owner = of_project.project.name
            # Two files may each call a phase `main`.
            name = lost.phase if names.setdefault(lost.phase, owner) == owner else f"{owner}#{lost.phase}"
            found.setdefault(lost.run_id, replace(lost, phase=name))
    return list(found.values())
