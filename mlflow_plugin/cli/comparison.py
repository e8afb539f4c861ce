"""`mlflow-phases compare`: the differences of two runs of the tracking store, as text for a terminal."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from mlflow_plugin.format import describe_cost, describe_duration
from mlflow_plugin.markdown import one_line
from mlflow_plugin.project.project import Project
from mlflow_plugin.reports.tables import aligned
from mlflow_plugin.reports.views.compare import compare_view
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import artifact_text
from mlflow_plugin.store.declaration import declared_with
from mlflow_plugin.store.history import History
from mlflow_plugin.store.provenance import RECORD_BYTES
from mlflow_plugin.store.run import PhaseRun

# Control characters, those that turn the direction of writing, and halves of characters, which cannot be written.
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LABELS = {schema.DURATION_SECONDS: "duration", schema.COST_USD: "cost"}


def compare_runs(client: MlflowClient, left: PhaseRun, right: PhaseRun) -> dict[str, Any]:
    """Compare two runs; see `reports.views.compare` for the keys of the result.

    The declaration of their phase is the one that the experiment of the left run keeps.

    Raises:
        UsageError: The runs belong to different phases.
    """
    tags = client.get_experiment(left.experiment_id).tags
    # The earliest versions kept no declaration. Without it no value counts as better.
    unknown = Project(left.project, Path("."), Path("MLproject"), {})
    project = declared_with(tags, left.project, left.own_phase) or unknown
    history = History(client, left.experiment_id, project)
    view = compare_view(history, left.run_id, right.run_id, lambda run, path: artifact_text(run, path, RECORD_BYTES))
    return view.to_json()


def comparison_text(view: Mapping[str, Any]) -> str:
    """Return a comparison as text: its sentence, the differences of the runs, then those of their results."""
    left, right = view["left"], view["right"]
    head = f"{left['phase']} {left['short']} -> {right['phase']} {right['short']}\n{one_line(view['sentence'])}"
    parts = [head, _parameters(view), _inputs(view), _environment(view), _code(view), _effects(view)]
    # The texts come from the store and may hold characters that a terminal obeys.
    return _ODD.sub("?", "\n\n".join(part for part in parts if part))


def _parameters(view: Mapping[str, Any]) -> str:
    rows = [
        (
            one_line(one["name"]),
            _text(one["left"]),
            _text(one["right"]),
            "" if one["changes_result"] else "changes no result",
        )
        for one in view["parameters"]
        if not one["same"]
    ]
    return _table(("parameter", *_sides(view), "remark"), rows)


def _inputs(view: Mapping[str, Any]) -> str:
    words = {True: "the same", False: "different", None: "not known"}
    rows = [
        (
            one_line(one["need"]),
            *(one[side]["short"] if one[side] else "none" for side in ("left", "right")),
            words[one["same_bytes"]],
        )
        for one in view["inputs"]
    ]
    return _table(("input", *_sides(view), "bytes"), rows)


def _environment(view: Mapping[str, Any]) -> str:
    hardware = view["hardware"]
    rows = [("hardware", _text(hardware["left"]), _text(hardware["right"]))] if hardware["same"] is False else []
    rows += [(one_line(one["name"]), _text(one["left"]), _text(one["right"])) for one in view["environment"]["changes"]]
    unknown = "" if view["environment"]["recorded"] else "the environment is not recorded for both"
    return "\n".join(filter(None, [_table(("environment", *_sides(view)), rows), unknown]))


def _code(view: Mapping[str, Any]) -> str:
    code = view["code"]
    lines = [f"code: {code['summary']}"]
    if not code["command"]["same"]:
        lines += [f"command: {_text(code['command'][side])}" for side in ("left", "right")]
    for file in code["files"]:
        if file["change"] != "same":
            note = f" ({one_line(file['note'])})" if file["note"] else ""
            lines.append(f"{file['change']}: {one_line(file['path'])}{note}")
            lines += (file["diff"] or "").split("\n")[:-1]
    return "\n".join(lines)


def _effects(view: Mapping[str, Any]) -> str:
    rows = []
    for one in view["effects"]:
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.3g}x"
        better = view[one["better"]]["short"] if one["better"] else ""
        values = (_value(one, side) for side in ("left", "right"))
        rows.append((_LABELS.get(one["name"], one_line(one["name"])), *values, ratio, better))
    return _table(("result", *_sides(view), "ratio", "better"), rows)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    listed = list(rows)
    return aligned(header, listed) if listed else ""


def _sides(view: Mapping[str, Any]) -> tuple[str, str]:
    return view["left"]["short"], view["right"]["short"]


def _value(effect: Mapping[str, Any], side: str) -> str:
    value = effect[side]
    if value is None:
        return "unknown"
    describe = {"s": describe_duration, "USD": describe_cost}.get(effect["unit"])
    return describe(value) if describe else f"{value:.6g}"


def _text(value: str | None) -> str:
    return "none" if value is None else one_line(value)
