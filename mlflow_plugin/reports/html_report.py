"""The page's content as one HTML file to send to someone: it holds its scripts, styles and data, and loads nothing.

The page's own static files are put inside it. Its modules become `data:` addresses in an import map, since a file that
was opened from a disk may import no other. Scripts and styles are allowed by their hashes alone.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from importlib.resources import files
from typing import Any

from mlflow_plugin.format import clock, describe_cost, describe_duration
from mlflow_plugin.progress import progress
from mlflow_plugin.reports import models
from mlflow_plugin.reports.views.accounts import ALL_WITHIN_SECONDS, accounts_view
from mlflow_plugin.reports.views.phase_runs import phase_runs_view
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.reports.views.recoverable import recoverable_view
from mlflow_plugin.store.history import History

RUNS_AT_MOST = 300
"""Of each phase; a run takes about 1.5 kB."""
_STYLE = re.compile(r'<link rel="stylesheet" href="phases/static/([^"]+)">')
_ICON = re.compile(r'<link rel="icon" href="phases/static/([^"]+)"([^>]*)>')
_SCRIPT = re.compile(r'<script src="phases/static/([^"]+)"[^>]*></script>')
_MODULE = re.compile(r'<script type="module" src="phases/static/([^"]+)"></script>')
_IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*)(["'])(\.{1,2}/[^"']+)\2""")
_PLACE = re.compile(r'(<div id="page">).*?(</div>)', re.DOTALL)
_NO_SCRIPT = re.compile(r"<noscript>.*?</noscript>", re.DOTALL)

# A frame without an origin, such as MLflow's view of an artifact, may not follow a link within its own page.
_FOLLOW_LINKS = """
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  history.pushState(null, "", link.getAttribute("href"));
  dispatchEvent(new HashChangeEvent("hashchange"));
});
"""


def report_html(
    history: History,
    pipeline: models.PipelineState | None = None,
    runs_at_most: int = RUNS_AT_MOST,
    accounts_within: float = ALL_WITHIN_SECONDS,
) -> str:
    """Return the report of a project as HTML.

    Args:
        history: The experiment.
        pipeline: A `pipeline_view` that was made a moment ago; None to make one.
        runs_at_most: The number of runs of each phase.
        accounts_within: The time for reading the runs that money and time are summed over, in seconds.
    """
    return _Page(report_data(history, pipeline, runs_at_most, accounts_within).to_json()).text()


def report_data(
    history: History, pipeline: models.PipelineState | None, runs_at_most: int, accounts_within: float
) -> models.Report:
    """Return the data of the report; see `report_html`."""
    pipeline = pipeline or pipeline_view(history)
    phases = progress(history.project.phases, description="reading the runs of phases")
    return models.Report(
        experiment_id=history.experiment_id,
        project=history.project.name,
        at=pipeline.at,
        pipeline=pipeline,
        runs={phase: phase_runs_view(history, phase, runs_at_most) for phase in phases},
        accounts=accounts_view(history, accounts_within),
        recoverable=recoverable_view(history),
        questions=pipeline.questions,
    )


class _Page:
    """The page's files put into one. Collects the hashes of what it puts inline."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.static = files("mlflow_plugin.dashboard").joinpath("static")
        self.hashes: dict[str, list[str]] = {"script-src": [], "style-src": []}

    def text(self) -> str:
        page = self._file("index.html")
        page = _ICON.sub(lambda found: f'<link rel="icon" href="{self._icon(found[1])}"{found[2]}>', page)
        page = _STYLE.sub(lambda found: self._inline("style", self._file(found[1])), page)
        page = _MODULE.sub(lambda found: self._modules(found[1]), page)
        page = _SCRIPT.sub(lambda found: self._inline("script", self._file(found[1])), page)
        title = html.escape(f"Phases of {self.data['project']}, {self.data['at'][:10]}")
        page = re.sub(r"<title>.*?</title>", lambda _: f"<title>{title}</title>", page)
        page = _PLACE.sub(r"\1\2", page)
        page = _NO_SCRIPT.sub(lambda _: f"<noscript>{_tables(self.data)}</noscript>", page)
        # Last, when all hashes are known; a policy holds for what comes after it.
        return page.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{self._policy()}', 1)

    def _file(self, name: str) -> str:
        return self.static.joinpath(name).read_text(encoding="utf-8")

    def _icon(self, name: str) -> str:
        return "data:image/svg+xml;base64," + base64.b64encode(self._file(name).encode()).decode()

    def _modules(self, main: str) -> str:
        """The import map with all modules that the main one reaches, the data, and the line that starts it."""
        data = json.dumps(self.data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        imports = {f"phases/{name}": _data_address(text) for name, text in self._reached(main).items()}
        return "\n".join(
            [
                self._inline("script", json.dumps({"imports": imports}), ' type="importmap"'),
                f'<script type="application/json" id="report-data">{data}</script>',
                self._inline("script", _FOLLOW_LINKS),
                self._inline("script", f'import "phases/{main}";', ' type="module"'),
            ]
        )

    def _reached(self, main: str) -> dict[str, str]:
        """The modules by name, their imports written as names of the import map."""
        found: dict[str, str] = {}
        pending = [main]
        while pending:
            name = pending.pop()
            if name not in found:
                text = self._file(name)
                found[name] = _IMPORT.sub(partial(_mapped, name), text)
                pending += [_beside(name, one[3]) for one in _IMPORT.finditer(text)]
        return found

    def _inline(self, element: str, content: str, attributes: str = "") -> str:
        # Neither may end the element or begin a comment in it.
        content = re.sub(r"<(?=/(script|style)|!--)", r"<\\", content, flags=re.IGNORECASE)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        self.hashes[f"{element}-src"].append(f"'sha256-{digest}'")
        return f"<{element}{attributes}>{content}</{element}>"

    def _policy(self) -> str:
        allowed = [f"{kind} {' '.join(hashes)}" for kind, hashes in self.hashes.items()]
        allowed[0] += " data:"  # The modules; an import map has no place for their hashes in every browser.
        return (
            '<meta http-equiv="Content-Security-Policy" content="'
            f"default-src 'none'; {'; '.join(allowed)}; img-src data:; base-uri 'none'; form-action 'none'\">"
        )


def _mapped(module: str, found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}phases/{_beside(module, found[3])}{found[2]}"


def _beside(module: str, specifier: str) -> str:
    parts = module.split("/")[:-1]
    for part in specifier.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _data_address(text: str) -> str:
    return "data:text/javascript;base64," + base64.b64encode(text.encode()).decode()


# --- for those who read without JavaScript ---


def _tables(data: Mapping[str, Any]) -> str:
    pipeline = data["pipeline"]
    head = ("phase", "state", "quality", "completed at", "duration", "cost", "remarks", "to mend")
    rows = "".join(_row("td", _cells(phase)) for phase in pipeline["phases"])
    heading = html.escape(f"Phases of {data['project']}, {_clock(data['at'])}")
    summary = html.escape(pipeline["summary"]["sentence"])
    table = f'<table border="1" cellpadding="6">{_row("th", head)}{rows}</table>'
    return f'<div class="pad"><h1>{heading}</h1><p>{summary}</p>{table}</div>'


def _clock(text: str | None) -> str:
    return clock(datetime.fromisoformat(text)) if text else ""


def _cells(phase: Mapping[str, Any]) -> tuple[str, ...]:
    run, quality, mend = phase["run"] or {}, phase["quality"] or {}, phase["update"] or {}
    seconds, usd, value = run.get("duration_seconds"), run.get("cost_usd"), quality.get("value")
    return (
        phase["phase"],
        phase["state"],
        ""
        if value is None
        else f"{quality['metric']} {value:.4g} (good {quality['good']:g}, poor {quality['poor']:g})",
        _clock(run.get("completed_at")),
        "" if seconds is None else describe_duration(seconds),
        "" if usd is None else describe_cost(usd),
        "; ".join(phase["remarks"]),
        mend.get("sentence") or "",
    )


def _row(kind: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"
