"""The pipeline as lines for a terminal that are drawn again and again: symbols, colours, progress. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from mlflow_plugin.format import approximately, clock, describe_cost, describe_duration
from mlflow_plugin.markdown import one_line
from mlflow_plugin.reports.tables import aligned

_GREEN, _YELLOW, _RED, _BLUE, _MAGENTA, _DIM = "32", "33", "31", "36", "35", "2"
_BAR_WIDTH = 24


class Look(NamedTuple):
    """How a state is shown: no symbol is used twice, so that none is told by its colour alone."""

    symbol: str
    colour: str


LOOKS: Mapping[str, Look] = {
    "up to date": Look("✓", _GREEN),
    "stale": Look("↻", _YELLOW),
    "invalidated": Look("⊘", _YELLOW),
    "poor": Look("▼", _RED),
    "borderline": Look("◐", _YELLOW),
    "gate failed": Look("‡", _RED),
    "quality unknown": Look("?", _YELLOW),
    "running": Look("▶", _BLUE),
    "stuck": Look("!", _RED),
    "stopped": Look("‖", _YELLOW),
    "interrupted": Look("↯", _YELLOW),
    "failed": Look("✗", _RED),
    "asking": Look("»", _MAGENTA),
    "quarantined": Look("⊗", _RED),
    "missing": Look("○", _DIM),
}
_OTHER = Look("·", "")


class Line(NamedTuple):
    """One line and the colour (an SGR code) of the whole of it; empty for none."""

    text: str
    colour: str = ""


def status_lines(pipeline: Mapping[str, Any], live: Sequence[Mapping[str, Any]]) -> list[Line]:
    """What is shown of a `pipeline_view` and the list of running runs of a `live_view`."""
    phases = pipeline["phases"]
    header = ("", "phase", "state", "completed at", "quality", "duration", "cost", "run")
    head, rule, *rows = aligned(header, [_cells(phase) for phase in phases]).split("\n")
    lines = [Line(head), Line(rule)]
    for phase, row in zip(phases, rows, strict=True):
        lines.append(Line(row, LOOKS.get(phase["state"], _OTHER).colour))
        lines += [Line(f"   {progress_text(run)}", _BLUE) for run in live if run["phase"] == phase["phase"]]
    # Of one that is stuck or stopped the sentence says what to do.
    remarks = [
        Line(one_line(f"{phase['phase']}: {text}"))
        for phase in phases
        for text in (_lasting(phase) if phase["state"] == "running" else phase["remarks"])
    ]
    questions = [line for question in pipeline["questions"] if question["waiting"] for line in _question(question)]
    return [*lines, Line(""), *remarks, *questions, Line(one_line(pipeline["summary"]["sentence"]))]


def _cells(phase: Mapping[str, Any]) -> tuple[str, ...]:
    run, quality = phase["run"] or {}, phase["quality"] or {}
    value, seconds, usd = quality.get("value"), run.get("duration_seconds"), run.get("cost_usd")
    return (
        LOOKS.get(phase["state"], _OTHER).symbol,
        one_line(phase["phase"]),
        phase["state"],
        clock(datetime.fromisoformat(run["completed_at"])) if run.get("completed_at") else "",
        "" if value is None else one_line(f"{quality['metric']} {value:.4g} ({quality['grade'] or 'unknown'})"),
        "" if seconds is None else describe_duration(seconds),
        "" if usd is None else describe_cost(usd),
        run.get("short") or "",
    )


def progress_text(run: Mapping[str, Any]) -> str:
    """How far a running run is: a bar, its rate, the time that is left, when it was last heard, what it uses."""
    step, total, rate = run["step"], run["total"], run["steps_per_second"]
    parts = [f"{run['short']} {run['state']}"]
    if step is not None and total:
        share = min(1.0, max(0.0, step / total))
        filled = round(share * _BAR_WIDTH)
        parts[0] += f" [{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {step:g}/{total:g} ({share:.0%})"
    elif step is not None:
        parts[0] += f" at step {step:g}"
    if rate:
        parts.append(f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s a step")
    if run["eta_seconds"] is not None:
        parts.append(f"{approximately(run['eta_seconds'])} left")
    if run["heartbeat_age_seconds"] is not None:
        parts.append(f"heartbeat {describe_duration(run['heartbeat_age_seconds'])} ago")
    for name, what in (("process_percent", "CPU {:.0f}% of a core"), ("gpu_percent", "GPU {:.0f}%")):
        if run.get(name) is not None:
            parts.append(what.format(run[name]))
    return one_line(", ".join(parts) + (f", on {run['host']}" if run["host"] else ""))


def _lasting(phase: Mapping[str, Any]) -> list[str]:
    """A phase's remarks, but for the one that a heartbeat changes every time: that is what `progress_text` is for."""
    return [text for text in phase["remarks"] if "last heartbeat" not in text]


def _question(question: Mapping[str, Any]) -> list[Line]:
    asked = f"{question['phase']} {question['short']} asks: {'; '.join(question['reasons'])}"
    options = [f"  {one['letter']}) {one['title']} ({one['price']})" for one in question["options"]]
    answer = f"  mlflow-phases answer {question['run_id']} LETTER"
    return [Line(one_line(asked), _MAGENTA), *(Line("  " + one_line(text), _MAGENTA) for text in [*options, answer])]


def changes(before: Mapping[str, str], pipeline: Mapping[str, Any]) -> dict[str, str]:
    """Of each phase what is to be told anew where nothing can be drawn over: its state and run, when they changed."""
    return {name: text for name, text in told(pipeline).items() if before.get(name) != text}


def told(pipeline: Mapping[str, Any]) -> dict[str, str]:
    """Each phase's state in a sentence."""
    found = {}
    for phase in pipeline["phases"]:
        found[phase["phase"]] = one_line("; ".join([f"{phase['phase']}: {phase['label']}", *_lasting(phase)]))
    return found
