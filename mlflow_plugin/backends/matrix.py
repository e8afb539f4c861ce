"""Execute a phase with a matrix: its runs one by one or side by side, and the set of them at the end."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mlflow_plugin.backends.execution import ExecutionSettings, Launcher, execute_phase
from mlflow_plugin.decision.evidence import decide_phase
from mlflow_plugin.decision.members import decide_members, same_questions, set_verdict
from mlflow_plugin.decision.quality import borderline_reasons, quality_cell
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Option, Verdict
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.execution.project_files import ProjectFiles
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.set_records import MemberRun
from mlflow_plugin.machine.pausing import pause
from mlflow_plugin.project.members import Member, member_with, members_of
from mlflow_plugin.project.project import Phase, Resources
from mlflow_plugin.reports.experiment_log import keep_entry
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_decoding import phase_run
from mlflow_plugin.store.sets import with_members

__all__ = ["MatrixExecution"]

_logger = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 0.2


@dataclass
class _Question:
    """A question that several runs ask. The first of them asks it; its answer counts for the others."""

    first: str
    others: tuple[str, ...]
    settled: threading.Event = field(default_factory=threading.Event)
    answer: Option | None = None
    open: bool = False


class MatrixExecution:
    """One execution of a phase with a matrix.

    Args:
        request: The request for the whole matrix.
        launch: Runs the command of a phase.
        keep_going: The other runs are still started when so many have failed that the set cannot be complete.

    Raises:
        UsageError: A value is wrong, or the matrix has too many runs to be started unasked.
    """

    def __init__(self, request: Request, launch: Launcher, *, keep_going: bool = False) -> None:
        self.request, self._launch, self._keep_going = request, launch, keep_going
        self.phase = request.shown
        self.members = members_of(request.phase, request.given)
        self._by_name = {self._name(member): member for member in self.members}
        assert request.phase.matrix is not None
        self._wanted = request.phase.matrix.with_values(request.given).wanted()
        self._records = Records(request.client)
        self._lock = threading.Lock()
        self._begun = False
        self._run_id = ""
        self._whole: Outcome | None = None
        self._verdict: Verdict | None = None
        self._questions: dict[str, _Question] = {}
        self._asking: dict[str, Request] = {}
        self._runs: dict[str, MemberRun] = {}
        self._errors: dict[str, PhaseError] = {}
        self._accepted: frozenset[str] = frozenset()

    def units(self) -> list[Phase]:
        """Return what is scheduled: each run as a phase of its own, and last the phase itself, which needs them all."""
        each = [replace(member_with(self.phase, one.values).phase, name=name) for name, one in self._by_name.items()]
        together = replace(self.phase, needs=(*self.phase.needs, *self._by_name), resources=Resources())
        return [*each, together]

    @property
    def recorded(self) -> dict[str, PhaseRun]:
        """The runs that were recorded for those of the matrix, by their names."""
        return {name: one.recorded for name, one in self._runs.items()}

    def execute(self, unit: Phase, request: Request, settings: ExecutionSettings) -> Outcome | None:
        """Execute one unit. Returns the outcome of the phase for its last one, None for each run.

        Raises:
            PhaseError: The set cannot be complete any more, or a question stays open.
        """
        with self._lock:
            if not self._begun:
                self._begin(request, settings)
        if unit.name == self.phase.name:
            whole = self._whole or self._finish()
            settings.ended(unit.name, whole)
            return whole
        if self._whole is None:
            self._execute(self._by_name[unit.name], settings)
        return None

    def fail(self, reason: str, status: str) -> None:
        """End the run above the others, where it has not ended."""
        if self._run_id and self._whole is None:
            self._records.fail(self._run_id, reason, status=status)
            self._log(self._run_id)

    def _log(self, run_id: str) -> None:
        """Give the run above the others its entry in the log of the project that declares the phase."""
        keep_entry(self.request.project, self.request.client, self.request.experiment_id, run_id)

    def _name(self, member: Member) -> str:
        """Return the name of one run, as the project has it that asks for the phase."""
        return f"{self.phase.name} {member.label}"

    # --- beginning ---

    def _begin(self, request: Request, settings: ExecutionSettings) -> None:
        history = History(request.client, request.experiment_id, request.project)
        decided = decide_members(decide_phase, request, history)
        verdict, earlier = set_verdict(request, decided, history)
        # All runs are made from the same inputs, though hours may pass between the first and the last.
        inputs = {need: run.run_id for need, run in decided[0].decision.inputs.items()}
        self.request = replace(request, inputs={**request.inputs, **inputs})
        self._verdict, self._begun = verdict, True
        _logger.info(f"{self.request.label}: {verdict.action} - {'; '.join(verdict.reasons[:1])}")
        run_id = self._records.create_set(self.request, self.members, settings.backend_name, settings.parent_run_id)
        if earlier is not None:
            self._records.reuse_set(run_id, self.request, earlier, "; ".join(verdict.reasons))
            self._whole = Outcome(verdict, run_id, earlier)
            self._log(run_id)
            self._restore(history, earlier)
            return
        self._run_id = run_id
        self._asking = {self._name(one.member): one.request for one in decided if one.request.ask_always}
        for group in same_questions(decided):
            names = [self._name(one.member) for one in group]
            question = _Question(names[0], tuple(one.member.label for one in group[1:]))
            self._questions |= dict.fromkeys(names, question)

    def _restore(self, history: History, of_set: PhaseRun) -> None:
        """Put the files of a reused set back into the project. Where that fails, the reuse is recorded all the same."""
        phase = self.request.phase
        if phase.outputs:
            try:
                ProjectFiles(history, self.request.project).restore(phase, of_set)
            except PhaseError as error:
                _logger.warning(f"{self.request.label}: {error}")

    # --- one run ---

    def _execute(self, member: Member, settings: ExecutionSettings) -> None:
        name = self._name(member)
        question = self._questions.get(name)
        request = replace(self.request, phase=member.phase, given=member.given(self.request.given))
        if asking := self._asking.get(name):
            request = replace(request, ask_always=True, in_all=asking.in_all)
        if question and question.first != name:
            answered = self._as_answered(question, request)
            if answered is None:
                return
            request = answered
        elif question:
            request = replace(request, also_for=question.others)
        settings = replace(
            settings,
            parent_run_id=self._run_id,
            accepted_run_ids=settings.accepted_run_ids | self._accepted,
            ended=_nothing,
            resolved=_settling(question) if question and question.first == name else settings.resolved,
        )
        try:
            outcome = execute_phase(request, settings, self._launch)
            self._keep(member, outcome)
        except PhaseError as error:
            self._failed(member, error)
        finally:
            if question and question.first == name:
                # Unanswered, or answered by cancelling: the others do not start either.
                question.open = not question.settled.is_set() and name in self._errors
                question.settled.set()

    def _as_answered(self, question: _Question, request: Request) -> Request | None:
        """Return the request with the answer that was given for all; None when there is none."""
        while not question.settled.wait(_LOOK_EVERY_SECONDS):
            pause(0)  # It may be told to end meanwhile.
        if question.open:
            return None
        if question.answer is None:
            return request
        return replace(request, given={**request.given, "decide": question.answer.decide}, force_allowed=False)

    def _keep(self, member: Member, outcome: Outcome) -> None:
        self._accepted |= outcome.accepted_run_ids
        recorded = phase_run(self.request.client.get_run(outcome.run_id))
        if reasons := self._unusable(member, outcome):
            raise PhaseError(f"{self._name(member)}: not good enough for the set: {reasons}.")
        self._runs[self._name(member)] = MemberRun(member, recorded, outcome.result)

    def _unusable(self, member: Member, outcome: Outcome) -> str:
        """Say why a run that was just computed does not count; a person's word for one that was kept does."""
        phase, result = member.phase, outcome.result
        grade = phase.grade(result.metrics)
        unasked = outcome.verdict.kind == "nothing" and outcome.verdict.invalidates
        if outcome.run_id != result.run_id or grade == "good" or (grade == "borderline" and not unasked):
            return ""
        return "; ".join(borderline_reasons(phase, result)) or quality_cell(phase, result)

    def _failed(self, member: Member, error: PhaseError) -> None:
        self._errors[self._name(member)] = error
        failed = sum(1 for one in self._errors.values() if not isinstance(one, NeedsAnswer))
        enough = len(self.members) - failed >= self._wanted
        if isinstance(error, NeedsAnswer) or enough or self._keep_going:
            _logger.warning(f"{self._name(member)} has not ended well; the others continue")
            _logger.info(str(error))
            return
        raise error

    # --- the set ---

    def _finish(self) -> Outcome:
        if asked := [error for error in self._errors.values() if isinstance(error, NeedsAnswer)]:
            raise NeedsAnswer("\n\n".join(map(str, asked)))
        runs = [self._runs[name] for name in self._by_name if name in self._runs]
        if len(runs) < self._wanted:
            told = "\n".join(map(str, self._errors.values()))
            good = f"{len(runs)} of {len(self.members)} runs are good, and {self._wanted} are needed"
            raise PhaseError(
                f"{self.request.label}: {good}. The good ones are kept, and are reused when it is run again.\n{told}"
            )
        beside = next((one.recorded.beside or one.result.beside for one in runs if one.recorded.beside), "")
        self._records.complete_set(self._run_id, self.request, self.members, runs, beside)
        self._log(self._run_id)
        history = History(self.request.client, self.request.experiment_id, self.request.project)
        result = with_members(history, _existing(history, self._run_id))
        assert self._verdict is not None
        verdict = replace(self._verdict, action="run", kind="", run_id=None, reasons=(result.reason,), options=())
        self._whole = Outcome(verdict, self._run_id, result, self._accepted)
        _logger.info(f"{self.request.label}: {result.reason}")
        return self._whole


def _existing(history: History, run_id: str) -> PhaseRun:
    run = history.run(run_id)
    assert run is not None
    return run


def _nothing(phase: str, outcome: Outcome) -> None:
    """The phase has ended with the set of its runs, not with one of them."""


def _settling(question: _Question) -> Callable[[Option | None], None]:
    """Return what is called when the run that asks is resolved, long before it has computed."""

    def settle(option: Option | None) -> None:
        question.answer = option
        question.settled.set()

    return settle
