"""Compare what an earlier run read with what lies here now, for one request."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

from mlflow_plugin.decision.calls import StepsComparison, set_by_callers
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.requirements import unmet_requirements
from mlflow_plugin.observation.comparison import NOT_RECORDED, compare
from mlflow_plugin.observation.environment_files import environment_file
from mlflow_plugin.observation.findings import Findings, Row
from mlflow_plugin.observation.packages import installed_version
from mlflow_plugin.observation.places import Places, places_of
from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.observation.states import States
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.project.code import CodeDigest
from mlflow_plugin.project.identity import Identity, run_image
from mlflow_plugin.project.named_files import named_files
from mlflow_plugin.store.history import History
from mlflow_plugin.store.observation_policy import policy_of
from mlflow_plugin.store.references import resolved_version
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.traces import is_own_trace, trace_of_run

_STARTS_STEPS = re.compile(
    r"\b(?:mlflow|projects)\.run\(|from\s+mlflow(?:\.projects)?\s+import\s[^\n]*\brun\b", re.ASCII
)
_MOST_BYTES = 1 << 20


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


class ReadsComparison:
    """Compares traces of runs with the files, variables and packages that a request would meet now.

    Args:
        request: The request.
        identity: Its identity, None while an input is missing.
        decide: Returns the verdict on a step that a run had started.
        like: The comparison for another run of the same matrix: both look at a file once.
    """

    def __init__(
        self,
        request: Request,
        identity: Identity | None,
        decide: Callable[[Request, History | None], Verdict],
        like: "ReadsComparison | None" = None,
    ) -> None:
        self._request, self._identity, self._decide, self._like = request, identity, decide, like
        self.codes: dict[object, CodeDigest] = like.codes if like else {}
        """The code of runs of the same matrix."""
        self._looked: dict[tuple[str, ...], States] = like._looked if like else {}
        self._version: Callable[[str], str | None] = like._version if like else lru_cache(installed_version)

    @cached_property
    def _places(self) -> Places:
        return self._like._places if self._like else places_of(self._request.project)

    @cached_property
    def _steps(self) -> StepsComparison:
        return self._like._steps if self._like else StepsComparison(self._request, self._places, self._decide)

    @cached_property
    def _runs_here(self) -> bool:
        """False when MLflow builds an environment for the phase. Its packages are then not those of this process."""
        if self._like:
            return self._like._runs_here
        if self._request.invocation.typed_elsewhere:
            return True  # MLflow has started this process in the phase's environment.
        if manager := self._request.invocation.env_manager:
            return manager == "local"
        file = environment_file(self._request.project.directory)
        try:
            return file is None or not unmet_requirements(file)
        except PhaseError:
            return True

    @cached_property
    def _policy(self) -> Policy:
        if self._like:
            return self._like._policy
        return policy_of(self._request.project, self._request.phase, self._request.client)

    def findings(self, run: PhaseRun, *, rows: bool = False) -> Findings:
        """Return what became of everything that a run read. A trace that cannot be read makes the verdict ask.

        Args:
            run: The earlier run.
            rows: List the state of every single thing as well.
        """
        found = self._found(run, rows)
        remark = self._image_remark(run)
        return replace(found, mentions=(*found.mentions, remark)) if remark else found

    def _found(self, run: PhaseRun, rows: bool) -> Findings:
        if self._request.phase.observe == "none":
            return self._unrecorded(f"{NOT_RECORDED} (observe: none)")
        try:
            trace = trace_of_run(run)
        except PhaseError as error:
            return Findings(unclear=(str(error),), complete=False)
        if trace is None or trace.coverage == "none":
            return self._without_trace(trace)
        trusted = is_own_trace(run)
        return compare(
            trace,
            self._policy,
            self._places,
            trusted=trusted,
            resolve_reference=lambda uri: resolved_version(self._request.client, uri),
            ask_step=lambda call: self._steps.answer(call, trusted=trusted),
            packages_here=self._version if self._same_packages(trace) or self._runs_here else None,
            set_by_caller=set_by_callers.get(),
            rows=rows,
            looked=self._looked,
        )

    def _same_packages(self, trace: Trace) -> bool:
        return all(self._version(name) == version for name, version in trace.packages.items())

    def rows(self, run: PhaseRun) -> tuple[Row, ...]:
        """Return everything that a run read, with the state of each."""
        return self.findings(run, rows=True).rows

    def _unrecorded(self, remark: str) -> Findings:
        if self._calls_steps():
            remark += "; the steps that it starts by mlflow.run are not asked for"
        return self._without_reads(remark)

    def _calls_steps(self) -> bool:
        """Return whether the code starts steps: those of a run without a trace are not known."""
        return any(_STARTS_STEPS.search(_text(path)) for path in self._code())

    def _without_reads(self, remark: str) -> Findings:
        """Without any code of the project either, nothing is known of what the run was made from."""
        recipe = self._identity.recipe if self._identity else None
        if recipe is not None and recipe.uncompared:
            # A trace would hold the files that were read of it.
            return Findings(
                unclear=(f"{remark}, and {', '.join(recipe.uncompared[:3])} is not compared",), complete=False
            )
        if recipe is None or recipe.has_code:
            return Findings(mentions=(remark,), complete=False)
        command = self._request.phase.command
        return Findings(
            unclear=(
                f"no file of the project counts as code of `{command}`, and {remark}: list its files under `code:`",
            ),
            complete=False,
        )

    def _image_remark(self, run: PhaseRun) -> str:
        """Say where docker here, or there, did not know the content of an image that has the same name."""
        recipe = self._identity.recipe if self._identity else None
        if recipe is None or not recipe.image or "@sha256:" in recipe.image:
            return ""
        _, then = run_image(run.fingerprint)
        return "" if then and recipe.image_digest else f"the content of the image {recipe.image} was not compared"

    def _without_trace(self, trace: Trace | None) -> Findings:
        """Runs of format 1, in containers, and of tests have no trace: ask when the code names files of the project."""
        remark = trace.unseen[0] if trace and trace.unseen else NOT_RECORDED
        try:
            named = named_files(self._request.project.directory, self._code())
        except PhaseError:
            named = []
        if not named:
            return self._unrecorded(remark)
        listed = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
        return Findings(unclear=(f"{remark}, and the code names {listed}",), complete=False)

    def _code(self) -> list[Path]:
        if self._identity is None:
            return []
        recipe, directory = self._identity.recipe, self._request.project.directory
        return [recipe.elsewhere.get(name, directory / name) for name in recipe.files]
