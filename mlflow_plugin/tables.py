"""What the terminal shows: the outcome of a pipeline, its plan, and its state."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mlflow_plugin.accounting import describe_cost, describe_duration
from mlflow_plugin.decision import quality_of
from mlflow_plugin.project import Phase
from mlflow_plugin.questions import question_text
from mlflow_plugin.run_page import run_address
from mlflow_plugin.runs import PhaseRun
from mlflow_plugin.verdict import Plan, Verdict, approximately, clock

if TYPE_CHECKING:
    from mlflow_plugin.execution import Outcome
    from mlflow_plugin.garbage_collection import RunGarbage
    from mlflow_plugin.status import PhaseState


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text that needs no terminal: columns as wide as their content."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "  ".join("-" * width for width in widths), *shown[1:]])


def _time(seconds: float | None) -> str:
    return "" if seconds is None else describe_duration(seconds)


def _money(usd: float | None) -> str:
    return "" if usd is None else describe_cost(usd)


def quality_cell(phase: Phase, run: PhaseRun | None) -> str:
    """A run's quality against its thresholds, in a few words; empty for a phase without quality."""
    if phase.quality is None or run is None:
        return ""
    value = quality_of(phase, run)
    shown = "unknown" if value is None else f"{value:.4g}"
    return f"{phase.quality.metric} {shown} ({phase.grade(run.metrics)})"


def outcome_table(rows: Sequence[tuple[Phase, "Outcome", PhaseRun]], seconds: float) -> str:
    """The closing table of a pipeline. `rows` hold a phase, how it ended, and the run recorded for it now."""
    cells, saved_seconds, saved_usd = [], 0.0, 0.0
    for phase, outcome, run in rows:
        reused = bool(run.reused_run_id)
        source = outcome.source
        saved_seconds += run.metrics.get("phase.saved_seconds", 0.0)
        saved_usd += run.metrics.get("phase.saved_usd", 0.0)
        saved = f" (saved {_money(source.cost_usd)})" if reused and source.cost_usd is not None else ""
        cells.append(
            (
                phase.name,
                "reuse" if reused else outcome.verdict.action,
                quality_cell(phase, source),
                _time(source.duration_seconds) + (" saved" if reused else ""),
                _money(0 if reused else run.cost_usd) + saved,
                run_address(run.experiment_id, run.run_id),
            )
        )
    total = f"{describe_duration(seconds)} in all"
    if saved_seconds:
        total += f"; reuse saved {describe_duration(saved_seconds)} and {describe_cost(saved_usd)}"
    return f"\n{aligned(('phase', 'verdict', 'quality', 'duration', 'cost', 'run'), cells)}\n{total}\n"


def verdict_text(verdict: Verdict) -> str:
    """A verdict as a person reads it: what, why, and for a question its options."""
    if verdict.action == "ask":
        return f"{verdict.phase}: ask\n{question_text(verdict).partition(chr(10))[2]}"
    lines = [f"{verdict.phase}: {verdict.action}", *(f"  {reason}" for reason in verdict.reasons)]
    if verdict.action in ("run", "resume") and verdict.estimate:
        expected = verdict.estimate
        other = "" if expected.like_hardware else ", measured on other hardware"
        cost = "" if expected.cost_usd is None else f", {describe_cost(expected.cost_usd)}"
        lines.append(
            f"  expected: {describe_duration(expected.seconds)}{cost} "
            f"(from {expected.runs} earlier run{'s' if expected.runs > 1 else ''}{other})"
        )
    return "\n".join(lines)


def plan_text(plan: Plan) -> str:
    """A plan: one verdict a phase, then what all that would be computed costs."""
    parts, actions = [verdict_text(verdict) for verdict in plan.verdicts], {verdict.action for verdict in plan.verdicts}
    # With a question open, what is computed hangs on the answer, and each option has its own price.
    if "ask" not in actions and plan.seconds is not None:
        cost = "" if plan.cost_usd is None else f", {describe_cost(plan.cost_usd)}"
        parts.append(f"in all {approximately(plan.seconds)}{cost} to compute")
    elif actions == {"reuse"}:
        parts.append("nothing to compute")
    return "\n".join(parts)


def status_table(states: Sequence["PhaseState"]) -> str:
    """The state of a pipeline: one line a phase, and below it what needs attention."""
    rows = [
        (
            state.phase.name,
            state.state,
            clock(state.run.completed_at) if state.run and state.run.completed_at else "",
            quality_cell(state.phase, state.run),
            state.matches,
            _time(state.run.duration_seconds) if state.run else "",
            _money(state.run.cost_usd) if state.run else "",
            state.run.short if state.run else "",
        )
        for state in states
    ]
    table = aligned(("phase", "state", "completed at", "quality", "matches upstream", "duration", "cost", "run"), rows)
    remarks = [f"{state.phase.name}: {remark}" for state in states for remark in state.remarks]
    return "\n".join([table, *([""] if remarks else []), *remarks])


def bytes_text(count: int) -> str:
    """A size as people read it: `12.4 MiB`."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _some(names: Sequence[str]) -> str:
    return (", ".join(names) or "none") if len(names) <= 3 else f"{len(names)}, newest {names[-1]}"


def garbage_table(garbage: Sequence["RunGarbage"], *, deleted: bool) -> str:
    """What `gc` found or removed: one line a run, and the sum."""
    if not garbage:
        return "no run of this project's phases holds a checkpoint"
    rows = [
        (
            one.run.phase,
            one.run.short,
            str(one.checkpoints),
            bytes_text(one.held_bytes),
            _some(one.removal.kept) if one.removal else "all",
            bytes_text(one.freed_bytes),
            one.why,
        )
        for one in garbage
    ]
    table = aligned(("phase", "run", "checkpoints", "size", "kept", "removed" if deleted else "to remove", "why"), rows)
    freed = sum(one.freed_bytes for one in garbage)
    total = f"{bytes_text(freed)} ({freed:,} bytes)"
    if deleted:
        return f"{table}\n{total} removed"
    return f"{table}\n" + (f"{total} can be removed: add --delete" if freed else "nothing to remove")
