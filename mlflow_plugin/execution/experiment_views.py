"""Saved views of an experiment in MLflow's own UI: its training runs, and for each phase the columns that matter.

Both are experiment tags that the UI of MLflow 3.17 reads and writes itself; other versions ignore them. They are
written once: people's own choices stay.
"""

import json
import time
from collections.abc import Mapping

from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store import schema

KIND = "mlflow.experimentKind"
TRAINING_RUNS = "custom_model_development"
SAVED_VIEW = "mlflow.sharedViewState."
_COLUMNS_AT_MOST = 14


def page_tags(project: Project, known: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that an experiment with these `known` ones still lacks; a view only for a phase that is new to
    it.
    """
    tags = {} if KIND in known else {KIND: TRAINING_RUNS}
    for phase in project.phases.values():
        key = schema.phase_key(*project.stored_as(phase.name))
        if schema.DECLARED_ENTRY_POINT + key not in known and view_tag(project, phase) not in known:
            tags[view_tag(project, phase)] = saved_view(project, phase)
    return tags


def view_tag(project: Project, phase: Phase) -> str:
    """Return the experiment tag of a phase's saved view. The part after the prefix is its id in the UI's addresses."""
    return f"{SAVED_VIEW}phase-{schema.phase_key(*project.stored_as(phase.name))}"


def saved_view(project: Project, phase: Phase) -> str:
    """Return a phase's runs with the columns that compare them, in the form of the UI's menu of saved views."""
    now = int(time.time() * 1000)
    wanted = f"tags.`{schema.RUNS_INDEX}{schema.phase_key(*project.stored_as(phase.name))}` = '1'"
    columns = _columns(phase)
    state = {"searchFilter": wanted, **_order(phase), "selectedColumns": columns, "columnOrder": columns}
    title = f"{phase.name} ({project.name}): quality, time and cost"
    return json.dumps({"name": title, "createdAt": now, "updatedAt": now, "state": json.dumps(state)})


def _order(phase: Phase) -> dict[str, object]:
    """Sort the best run first, else the newest: by its default order the UI would hide runs below those of their
    pipelines.
    """
    if phase.quality is None:
        return {"orderByKey": _column("tags", schema.COMPLETED_AT), "orderByAsc": False}
    return {"orderByKey": _column("metrics", phase.quality.metric), "orderByAsc": not phase.quality.higher_is_better}


def _columns(phase: Phase) -> list[str]:
    """List quality and gates first, then time and money, then the parameters that change the result."""
    metrics = [*phase.judged_metrics, schema.DURATION_SECONDS, schema.COST_USD, schema.SAVED_SECONDS]
    columns = [_column("tags", schema.VERDICT), *(_column("metrics", name) for name in metrics)]
    columns += [_column("params", parameter.name) for parameter in phase.result_parameters]
    return list(
        dict.fromkeys([*columns[:_COLUMNS_AT_MOST], _column("tags", schema.REASON), _column("attributes", "User")])
    )


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"
