"""Run several phases in order, in one process: each is decided on, and computed only if needed."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mlflow.tracking import MlflowClient

from mlflow_plugin.backends.execution import ExecutionSettings, Launcher, execute_phase
from mlflow_plugin.backends.matrix import MatrixExecution
from mlflow_plugin.backends.side_by_side import run_side_by_side
from mlflow_plugin.backends.written_twice import WrittenTwice
from mlflow_plugin.decision.quality import borderline_reasons, quality_cell
from mlflow_plugin.decision.request import Request, request_for
from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.execution.records import Records
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.members import members_of
from mlflow_plugin.project.parameters import without_defaults
from mlflow_plugin.project.pipeline_parameters import check_parameters, parameters_for_phase
from mlflow_plugin.project.project import Phase, Pipeline, Project
from mlflow_plugin.reports.pipeline_reports import kept_reports
from mlflow_plugin.reports.tables import outcome_table
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run_decoding import phase_run

_logger = logging.getLogger(__name__)


def run_pipeline(
    project: Project,
    name: str,
    given: Mapping[str, object],
    client: MlflowClient,
    experiment_id: str,
    settings: ExecutionSettings,
    launch: Launcher,
    invocation: Invocation,
    run_id: str = "",
) -> str:
    """Run a pipeline's phases under one parent run, log a table of how they ended, and return the parent run's id.

    Args:
        project: The project that declares the pipeline.
        name: The pipeline's entry point.
        given: Its parameters, as the caller wrote them.
        client: The tracking store.
        experiment_id: The experiment of all runs.
        settings: How its phases are executed.
        launch: Runs the command of a phase.
        invocation: The command that was typed, for messages that say how to continue.
        run_id: The parent run, where MLflow has made one.

    Raises:
        PhaseError: A phase failed, or a question stays open. What was done by then is kept.
    """
    pipeline = project.pipelines[name]
    check_parameters(project, pipeline, given)
    phases = project.order(pipeline.targets)
    # In a pipeline `decide=rerun` answers questions and forces nothing.
    handed = [(phase.name, parameters_for_phase(pipeline, phase, given)) for phase in phases]
    requests = [
        request_for(project, *one, client, experiment_id, asked_as=invocation, force_allowed=False, in_pipeline=True)
        for one in handed
    ]
    _check_requests(requests, pipeline)
    jobs = _jobs(settings, pipeline)
    records, place = Records(client), (experiment_id, settings.backend_name, settings.parent_run_id)
    parent = run_id or records.create_pipeline(project, pipeline.name, given, *place)
    began, settings = time.monotonic(), replace(settings, parent_run_id=parent, side_by_side=jobs > 1)
    progress = _Progress(pipeline, requests, settings, launch, invocation)
    with kept_reports(project, client, experiment_id, parent, phases, progress.done):
        try:
            progress.run(jobs)
        except BaseException as error:
            reason = str(error) or "interrupted from the keyboard"
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            progress.fail(reason, status)
            records.fail(parent, reason, status=status)
            raise
        finally:
            _log_outcomes(project, client, progress.outcomes, time.monotonic() - began)
        records.end_pipeline(parent, progress.done.values())
    return parent


def run_matrix(request: Request, settings: ExecutionSettings, launch: Launcher, invocation: Invocation) -> str:
    """Run all runs of one phase with a matrix, and return the id of the run above them.

    Raises:
        PhaseError: Too few of the runs are good, or a question stays open. What was done by then is kept.
    """
    name = request.shown.name
    alone = Pipeline(name, "", {}, (name,))
    _check_requests([request], alone)
    jobs = _jobs(settings, alone)
    progress = _Progress(alone, [request], replace(settings, side_by_side=jobs > 1), launch, invocation)
    try:
        progress.run(jobs)
    except BaseException as error:
        reason = str(error) or "interrupted from the keyboard"
        progress.fail(reason, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    return progress.done[name]


class _Progress:
    """The phases of a pipeline on their way.

    Attributes:
        outcomes: How each phase has ended so far.
        done: The runs that were recorded for them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        requests: Sequence[Request],
        settings: ExecutionSettings,
        launch: Launcher,
        invocation: Invocation,
    ) -> None:
        self._pipeline, self._requests, self._settings = pipeline, requests, settings
        self._launch, self._invocation = launch, invocation
        self._phases = [request.shown for request in requests]
        self._matrices = {
            request.shown.name: MatrixExecution(request, launch, keep_going=pipeline.keep_going)
            for request in requests
            if request.phase.matrix is not None
        }
        self._number: dict[str, int] = {}
        """The place of the phase that each unit of the schedule belongs to."""
        self._written = WrittenTwice()
        self.outcomes: dict[str, Outcome] = {}
        self.done: dict[str, str] = {}

    def run(self, jobs: int) -> None:
        """Execute the phases, so many of them side by side at most."""
        units = self._units()
        if jobs == 1:
            for unit in units:
                self._ended(unit, self._execute(unit))
            return
        keep_going = self._pipeline.keep_going
        run_side_by_side(units, jobs, keep_going=keep_going, execute=self._execute, ended=self._ended)

    def fail(self, reason: str, status: str) -> None:
        """End the runs above those of a matrix that have not ended."""
        for matrix in self._matrices.values():
            matrix.fail(reason, status)

    def _units(self) -> list[Phase]:
        """Return what is scheduled: the phases, and before one with a matrix each of its runs."""
        units = []
        for number, phase in enumerate(self._phases):
            of_phase = self._matrices[phase.name].units() if phase.name in self._matrices else [phase]
            self._number |= {unit.name: number for unit in of_phase}
            units += of_phase
        return units

    def _execute(self, unit: Phase, gpus: tuple[str, ...] | None = None) -> Outcome | None:
        number = self._number[unit.name]
        phase = self._phases[number]
        if len(self._phases) > 1:
            _logger.info(f"{unit.name} ({number + 1} of {len(self._phases)})")
        inputs = {need: self.outcomes[need].result.run_id for need in phase.needs if need in self.outcomes}
        accepted = frozenset(run for outcome in [*self.outcomes.values()] for run in outcome.accepted_run_ids)
        following = tuple(later.name for later in self._phases[number + 1 :])
        request = self._requests[number].made_from(inputs, following)
        settings = replace(self._settings, accepted_run_ids=accepted, gpus=gpus)
        if matrix := self._matrices.get(phase.name):
            return matrix.execute(unit, request, settings)
        return execute_phase(request, settings, self._launch)

    def _ended(self, unit: Phase, outcome: Outcome | None) -> None:
        if outcome is None:  # One run of a matrix.
            return
        number = self._number[unit.name]
        phase, later = self._phases[number], self._phases[number + 1 :]
        self.outcomes[phase.name], self.done[phase.name] = outcome, outcome.run_id
        if self._settings.side_by_side:
            self._look_for_files(phase, outcome)
        if phase.matrix is None:  # A set holds usable runs alone.
            _check_usable(phase, outcome, later, self._pipeline, self._invocation)

    def _look_for_files(self, phase: Phase, outcome: Outcome) -> None:
        request, matrix = self._requests[self._number[phase.name]], self._matrices.get(phase.name)
        of_phase = {phase.full_name: outcome.result} if outcome.run_id == outcome.result.run_id else {}
        for label, run in (matrix.recorded if matrix else of_phase).items():
            self._written.add(label, request.project.directory, run)


def _jobs(settings: ExecutionSettings, pipeline: Pipeline) -> int:
    """Return how many phases may be computed side by side. The configuration of the call comes before the file."""
    given = settings.backend_config.get("jobs", pipeline.jobs)
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise UsageError(f"--backend-config: `jobs` is {given!r}. Allowed: a whole number from 1.")
    return given


def _check_requests(requests: Iterable[Request], pipeline: Pipeline) -> None:
    """Raise, naming the phase, for a price or a chosen input that a later phase would refuse. Types are checked."""
    for request in requests:
        phase, name = request.phase, request.shown.name
        history = History(request.client, request.experiment_id, request.project)
        try:
            request.price()
            if phase.matrix is not None:
                members_of(phase, request.given)
            for need in phase.needs:
                chosen = request.pins().get(f"{need}_run_id", "latest")
                if chosen not in ("", "latest"):
                    history.pinned(request.project.phases[need], chosen)
        except PhaseError as error:
            where = "" if name == pipeline.name else f"{name}, a phase of {pipeline.name}: "
            raise type(error)(f"{where}{error} Nothing was started.") from None


def _log_outcomes(project: Project, client: MlflowClient, outcomes: Mapping[str, Outcome], seconds: float) -> None:
    rows = [
        (project.phases[phase], outcome, phase_run(client.get_run(outcome.run_id)))
        for phase, outcome in outcomes.items()
    ]
    if rows:
        _logger.info(outcome_table(rows, seconds))


def _check_usable(
    phase: Phase, outcome: Outcome, later: Sequence[Phase], pipeline: Pipeline, invocation: Invocation
) -> None:
    """Raise NeedsAnswer when a result that was just computed is not good enough for the phases that need it.

    A borderline one is, unless it would take the place of a good result without a question.
    """
    computed = outcome.run_id == outcome.result.run_id
    grade = phase.grade(outcome.result.metrics)
    needing = [other for other in later if phase.name in other.needs]
    unasked = outcome.verdict.kind == "nothing" and outcome.verdict.invalidates
    usable = grade == "good" or (grade == "borderline" and not unasked)
    if not computed or usable or not needing:
        return
    reasons = "; ".join(borderline_reasons(phase, outcome.result)) or quality_cell(phase, outcome.result)
    handed = parameters_for_phase(pipeline, needing[0], invocation.parameters)
    given = without_defaults(handed, needing[0].parameters) | {f"{phase.name}_run_id": outcome.result.run_id}
    raise NeedsAnswer(
        f"{phase.name} was computed, and nothing was built on it: {reasons}. "
        "Fix the cause, or continue with it all the same: "
        f"{invocation.command(needing[0].name, **given)}"
    )
