"""Tables as text, for a terminal and for the log of a pipeline."""

from collections.abc import Iterable, Sequence

from mlflow_plugin.decision.quality import quality_cell
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.execution.run_description import run_address
from mlflow_plugin.format import describe_cost, describe_duration
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.run import PhaseRun


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text that needs no terminal: columns as wide as their content."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([shown[0], "  ".join("-" * width for width in widths), *shown[1:]])


def duration_cell(seconds: float | None) -> str:
    return "" if seconds is None else describe_duration(seconds)


def cost_cell(usd: float | None) -> str:
    return "" if usd is None else describe_cost(usd)


def outcome_table(rows: Sequence[tuple[Phase, Outcome, PhaseRun]], seconds: float) -> str:
    """The closing table of a pipeline. `rows` hold a phase, how it ended, and the run recorded for it now."""
    cells, saved_seconds, saved_usd = [], 0.0, 0.0
    for phase, outcome, run in rows:
        reused = bool(run.reused_run_id)
        result = outcome.result
        saved_seconds += run.metrics.get("phase.saved_seconds", 0.0)
        saved_usd += run.metrics.get("phase.saved_usd", 0.0)
        saved = f" (saved {cost_cell(result.cost_usd)})" if reused and result.cost_usd is not None else ""
        cells.append(
            (
                phase.name,
                "reuse" if reused else outcome.verdict.action,
                quality_cell(phase, result),
                duration_cell(result.duration_seconds) + (" saved" if reused else ""),
                cost_cell(0 if reused else run.cost_usd) + saved,
                run_address(run.experiment_id, run.run_id),
            )
        )
    total = f"{describe_duration(seconds)} in all"
    if saved_seconds:
        total += f"; reuse saved {describe_duration(saved_seconds)} and {describe_cost(saved_usd)}"
    return f"\n{aligned(('phase', 'verdict', 'quality', 'duration', 'cost', 'run'), cells)}\n{total}\n"
