"""The screen of `status --watch`, built with rich: the table of phases, the running runs, and what needs attention."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mlflow_plugin.cli.status_lines import (
    LOOKS,
    OTHER_LOOK,
    lasting_remarks,
    progress_facts,
    progress_position,
    progress_share,
    question_lines,
)
from mlflow_plugin.format import clock, describe_cost, describe_duration
from mlflow_plugin.markdown import one_line, printable

_HEADER = ("", "phase", "state", "completed at", "quality", "duration", "cost", "run")
_NEVER_SHORTENED = ("", "state", "run")
_BAR_WIDTH = 24


def status_screen(pipeline: Mapping[str, Any], live: Sequence[Mapping[str, Any]]) -> Group:
    """Build the screen for a `pipeline_view` and the list of running runs of a `live_view`."""
    parts: list[RenderableType] = [_phase_table(pipeline["phases"]), Text()]
    if live:
        parts += [_running_table(pipeline["phases"], live), Text()]
    # A running phase's own remarks change with every heartbeat; those that stay say what to do about it.
    parts += [
        _text(f"{phase['phase']}: {one_line(text)}")
        for phase in pipeline["phases"]
        for text in (lasting_remarks(phase) if phase["state"] == "running" else phase["remarks"])
    ]
    parts += [
        _text(line, "magenta")
        for question in pipeline["questions"]
        if question["waiting"]
        for line in question_lines(question)
    ]
    return Group(*parts, _text(one_line(pipeline["summary"]["sentence"])))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style, overflow="fold")


class PrintableConsole(Console):
    """A console that shows the characters which a terminal obeys, unless rich itself makes them.

    Texts are made printable before they are measured; this is for those that were forgotten.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def _phase_table(phases: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="")
    for title in _HEADER:
        # On a narrow terminal rich shortens the widest of the columns that may wrap.
        table.add_column(Text(title, no_wrap=True, overflow="ellipsis"), no_wrap=title in _NEVER_SHORTENED)
    for phase in phases:
        style = LOOKS.get(phase["state"], OTHER_LOOK).style
        cells = (Text(printable(cell), no_wrap=True, overflow="ellipsis") for cell in _cells(phase))
        table.add_row(*cells, style=style)
    return table


def _cells(phase: Mapping[str, Any]) -> tuple[str, ...]:
    run, quality = phase["run"] or {}, phase["quality"] or {}
    value, seconds, usd = quality.get("value"), run.get("duration_seconds"), run.get("cost_usd")
    return (
        LOOKS.get(phase["state"], OTHER_LOOK).symbol,
        one_line(phase["phase"]),
        phase["state"],
        clock(datetime.fromisoformat(run["completed_at"])) if run.get("completed_at") else "",
        "" if value is None else one_line(f"{quality['metric']} {value:.4g} ({quality['grade'] or 'unknown'})"),
        "" if seconds is None else describe_duration(seconds),
        "" if usd is None else describe_cost(usd),
        run.get("short") or "",
    )


def _running_table(phases: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]]) -> Table:
    """Build a table with one row a running run, in the order of the phases."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column(width=_BAR_WIDTH if any(progress_share(run) is not None for run in live) else 0)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    order = [phase["phase"] for phase in phases]
    listed = [run for run in live if run["phase"] in order]
    for run in sorted(listed, key=lambda run: order.index(run["phase"])):
        share = progress_share(run)
        look = LOOKS.get(run["state"], OTHER_LOOK)
        bar: RenderableType = Text()
        if share is not None:
            bar = ProgressBar(1.0, share, _BAR_WIDTH, complete_style=look.style, finished_style=look.style)
        texts = (look.symbol, one_line(run["phase"]), f"{run['short']} {run['state']}")
        facts = (progress_position(run), progress_facts(run))
        table.add_row(*(_text(text, look.style) for text in texts), bar, *(_text(text, look.style) for text in facts))
    return table


@dataclass(frozen=True)
class FittedScreen:
    """Show a body and a footer in the height of the terminal. The lines of the body that do not fit are counted."""

    body: RenderableType
    footer: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = (options.height or console.height) - 1
        lines = console.render_lines(self.body, options.update(height=None), pad=False)
        hidden = 0
        if len(lines) > rows:
            hidden = len(lines) - rows + 1
            lines = lines[: rows - 1]
        for line in lines:
            yield from line
            yield Segment.line()
        if hidden:
            yield Text(f"... {hidden} more lines")
        yield self.footer
