"""The page's content as one HTML file to send to someone: it holds its scripts, styles and data, and loads nothing.

Jinja2 fills the template with the page's own static files. The page's JavaScript modules become `data:` addresses in an
import map, since a file that was opened from a disk may import no other; scripts and styles are allowed by their hashes
alone. Bundlers for this need a JavaScript toolchain, which an installed package does not have, so `_Bundle` is
home-made. Its regular expressions read JavaScript, not HTML.
"""

import base64
import hashlib
import json
import re
from functools import cached_property, partial
from html.parser import HTMLParser
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

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
_STATIC = "phases/static/"
_IMPORT = re.compile(r"""(\bfrom\s*|\bimport\s*)(["'])(\.{1,2}/[^"']+)\2""")
_ENDS_ELEMENT = re.compile(r"<(?=/(script|style)|!--)", re.IGNORECASE)

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
    report = report_data(history, pipeline, runs_at_most, accounts_within)
    bundle = _Bundle()
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            data=report.to_json(),
            icon=bundle.icon,
            styles=bundle.styles,
            scripts=bundle.scripts,
            import_map=bundle.import_map,
            follow_links=_inline(_FOLLOW_LINKS),
            start=bundle.start,
            policy=bundle.policy,
        )
    )


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


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlflow_plugin.reports", "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters |= {
        "clock": clock,
        "cost": describe_cost,
        "duration": describe_duration,
        "quality": _quality_text,
    }
    return environment


def _quality_text(quality: models.Quality | None) -> str:
    if quality is None or quality.value is None:
        return ""
    return f"{quality.metric} {quality.value:.4g} (good {quality.good:g}, poor {quality.poor:g})"


class _Index(HTMLParser):
    """Read the names of the static files that the page's `index.html` uses."""

    def __init__(self) -> None:
        super().__init__()
        self.icon, self.module = "", ""
        self.styles: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name = (attributes.get("href") or attributes.get("src") or "").removeprefix(_STATIC)
        match tag, attributes.get("rel"), attributes.get("type"):
            case "link", "icon", _:
                self.icon = name
            case "link", "stylesheet", _:
                self.styles.append(name)
            case "script", _, "module":
                self.module = name
            case "script", _, _:
                self.scripts.append(name)


class _Bundle:
    """The page's static files as texts that can stand inside one HTML file."""

    def __init__(self) -> None:
        self._static = files("mlflow_plugin.dashboard").joinpath("static")
        self._index = _Index()
        self._index.feed(self._file("index.html"))
        self.styles = [_inline(self._file(name)) for name in self._index.styles]
        self.scripts = [_inline(self._file(name)) for name in self._index.scripts]
        self.start = _inline(f'import "phases/{self._index.module}";')
        self.icon = _address("image/svg+xml", self._file(self._index.icon))

    @cached_property
    def import_map(self) -> Markup:
        """All modules that the main one reaches, by the names that they import each other by."""
        modules = {f"phases/{name}": _address("text/javascript", text) for name, text in self._modules().items()}
        return _inline(json.dumps({"imports": modules}))

    @property
    def policy(self) -> str:
        """The Content-Security-Policy: nothing is loaded, and only the texts of this bundle run."""
        scripts = [*self.scripts, self.import_map, _inline(_FOLLOW_LINKS), self.start]
        # The modules are allowed as `data:`; an import map has no place for their hashes in every browser.
        return (
            f"default-src 'none'; script-src {' '.join(map(_hash, scripts))} data:; "
            f"style-src {' '.join(map(_hash, self.styles))}; img-src data:; base-uri 'none'; form-action 'none'"
        )

    def _file(self, name: str) -> str:
        return self._static.joinpath(name).read_text(encoding="utf-8")

    def _modules(self) -> dict[str, str]:
        """Return the modules by name, their imports written as names of the import map."""
        modules: dict[str, str] = {}
        pending = [self._index.module]
        while pending:
            name = pending.pop()
            if name not in modules:
                text = self._file(name)
                modules[name] = _IMPORT.sub(partial(_mapped, name), text)
                pending += [_beside(name, one[3]) for one in _IMPORT.finditer(text)]
        return modules


def _inline(content: str) -> Markup:
    """Return a script or style that can neither end its element nor begin a comment in it."""
    return Markup(_ENDS_ELEMENT.sub(r"<\\", content))


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _mapped(module: str, statement: re.Match[str]) -> str:
    return f"{statement[1]}{statement[2]}phases/{_beside(module, statement[3])}{statement[2]}"


def _beside(module: str, specifier: str) -> str:
    parts = module.split("/")[:-1]
    for part in specifier.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _address(kind: str, text: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"
