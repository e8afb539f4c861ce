"""The way to bring a phase up to date: the phases to run, the price, and the runs that this supersedes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow_plugin.decision.estimate import MOST_RUNS, Estimate, estimate
from mlflow_plugin.decision.facts import superseded_run
from mlflow_plugin.decision.lineage import good_downstream
from mlflow_plugin.decision.past import past_runs, sizes_of
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.format import approximately, describe_cost
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.parameters import unquoted, without_defaults
from mlflow_plugin.project.project import Phase, Pipeline
from mlflow_plugin.reports import models
from mlflow_plugin.reports.status import PhaseState
from mlflow_plugin.reports.views.questions import superseded_model
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

RERUN = ("stale", "invalidated", "poor", "borderline", "gate failed", "quality unknown")
"""States of a result that is there: a new one supersedes it."""
RUN = ("missing", "interrupted", "failed", "quarantined")
"""States without a result: running the phase needs no question."""

_NAMED = 6
_SUPERSEDED_AT_MOST = 10
"""So many good runs made from the same bytes are listed. Where there are thousands, finding all would take seconds."""


class UpdatePlanner:
    """Plans updates of a pipeline that was read; the prices and superseded runs of a phase are looked up once."""

    def __init__(self, history: History, states: Sequence[PhaseState]) -> None:
        self.history, self.project = history, history.project
        self.states = {state.phase.name: state for state in states}
        self._estimates: dict[str, Estimate | None] = {}
        self._superseded_runs: dict[str, list[SupersededRun]] = {}

    def needs(self, name: str) -> bool:
        """Return True when a phase has to be run for the pipeline to be up to date. One that runs or asks has not."""
        return self.states[name].state in (*RERUN, *RUN)

    def of_phase(self, name: str) -> models.UpdatePlan | None:
        """Return the plan that brings one phase up to date; None when nothing is needed.

        It holds the phases that must be run before it, and those after it that depend on what changes.
        """
        if not self.needs(name):
            return None
        before = [phase.name for phase in self.project.order([name]) if self.needs(phase.name)]
        return self._plan(before)

    def of_all(self) -> models.UpdatePlan | None:
        """Return the plan that brings every phase up to date; None when all are."""
        wanted = [name for name in self.states if self.needs(name)]
        return self._plan(wanted) if wanted else None

    def _plan(self, wanted: Sequence[str]) -> models.UpdatePlan:
        names = self._with_followers(wanted)
        by_id = {run.run_id: run for name in wanted for run in self._superseded(name)}
        superseded = sorted(by_id.values(), key=lambda run: list(self.states).index(run.phase))
        estimates = [estimate for name in names if (estimate := self.estimate(name))]
        seconds = sum(estimate.seconds for estimate in estimates) if estimates else None
        costs = [estimate.cost_usd for estimate in estimates if estimate.cost_usd is not None]
        cost_usd = sum(costs) if costs else None
        effort = _effort(names, seconds, cost_usd, [name for name in names if not self.estimate(name)])
        at_least = "at least " if len(superseded) >= _SUPERSEDED_AT_MOST else ""
        count = f"{at_least}{len(superseded)} run{'s' if len(superseded) > 1 else ''}" if superseded else "no good run"
        listed = f": {'; '.join(run.sentence() for run in superseded)}" if superseded else ""
        return models.UpdatePlan(
            phases=names,
            seconds=seconds,
            cost_usd=cost_usd,
            superseded=[superseded_model(run) for run in superseded],
            command=self._command(names),
            summary=f"{effort}. That supersedes {count}.",
            sentence=f"{effort}. That supersedes {count}{listed}.",
        )

    def _with_followers(self, wanted: Sequence[str]) -> list[str]:
        """Add the later phases that were run before and would no longer match."""
        reached = set(wanted)
        for name in wanted:
            later = [phase.name for phase in self.project.downstream(name)]
            reached |= {other for other in later if self.states[other].run and self.states[other].run.complete}  # type: ignore[union-attr]
        return [name for name in self.states if name in reached]

    def estimate(self, name: str) -> Estimate | None:
        """Return the time and cost of running a phase again where it ran last; None without an earlier run."""
        if name not in self._estimates:
            self._estimates[name] = self._estimated(self.project.phases[name])
        return self._estimates[name]

    def _estimated(self, phase: Phase) -> Estimate | None:
        run = self.states[phase.name].run
        past = past_runs(phase, self.history.computed(phase.name, MOST_RUNS))
        past = past or past_runs(phase, [run] if run else [])
        if not past:
            return None
        sizes = sizes_of(phase, run.parameters) if run else {}
        expected = estimate(past, past[0].hardware_key, sizes or past[0].size)
        return _for_all(phase, expected) if expected and phase.matrix else expected

    def _superseded(self, name: str) -> list[SupersededRun]:
        """Return the runs that running a phase supersedes: its own unless that is poor, and good ones made from it."""
        if name not in self._superseded_runs:
            state = self.states[name]
            run, phase = state.run, state.phase
            superseded: list[SupersededRun] = []
            if run and run.complete and not self.history.quarantine_reason(run):
                if state.state in RERUN and phase.grade(run.metrics) not in ("poor", "unknown"):
                    superseded.append(superseded_run(phase, run))
                superseded += good_downstream(self.history, run, _SUPERSEDED_AT_MOST)
            self._superseded_runs[name] = superseded
        return self._superseded_runs[name]

    # --- the command to type ---

    def _command(self, names: Sequence[str]) -> str:
        pipeline = self._pipeline(names)
        if pipeline is not None:
            invocation = _invocation(self.history, pipeline.name, self._shared_parameters(pipeline) or {})
            asks = any(self.states[name].state not in RUN for name in names)
            return invocation.command(decide="rerun") if asks else invocation.command()
        return " && ".join(self._phase_command(name) for name in names)

    def _phase_command(self, name: str) -> str:
        # With decide=rerun, an interrupted run would not resume from its checkpoint.
        decide = "" if self.states[name].state in RUN else "rerun"
        run = self._run(name)
        return run_command(self.history, run, decide) if run else _invocation(self.history, name, {}).command()

    def _pipeline(self, names: Sequence[str]) -> Pipeline | None:
        """Return the pipeline that runs all of these phases and changes no other."""
        if len(names) < 2:
            return None
        for pipeline in self.project.pipelines.values():
            phases = [phase.name for phase in self.project.order(pipeline.targets)]
            others = [name for name in phases if name not in names]
            covers = set(names) <= set(phases) and not any(self.needs(name) for name in others)
            if covers and self._shared_parameters(pipeline) is not None:
                return pipeline
        return None

    def _shared_parameters(self, pipeline: Pipeline) -> dict[str, object] | None:
        """Return the parameters with which a pipeline runs its phases as they last ran.

        None when two of them differ in a parameter that they share.
        """
        values: dict[str, str] = {}
        given: dict[str, object] = {}
        for phase in self.project.order(pipeline.targets):
            run = self._run(phase.name)
            for parameter in phase.result_parameters if run else []:
                if phase.matrix is not None and parameter.name in phase.matrix.values:
                    continue  # The declared values are run, not those of one run.
                value = unquoted(run.parameters.get(parameter.name, str(parameter.default)))  # type: ignore[union-attr]
                if values.setdefault(parameter.name, value) != value:
                    return None
                declared = pipeline.parameters.get(parameter.name)
                usual = declared.default if declared and declared.default is not None else parameter.default
                if value != str(usual):
                    given[parameter.name] = value
        return given

    def _run(self, name: str) -> PhaseRun | None:
        state = self.states[name]
        return state.busy or state.run


def run_command(history: History, run: PhaseRun, decide: str = "") -> str:
    """Return the command that starts a phase with the parameters of one of its runs."""
    typed = _typed(history.project.phases[run.phase], run)
    return _invocation(history, run.phase, typed | ({"decide": decide} if decide else {})).command()


def _for_all(phase: Phase, one: Estimate) -> Estimate:
    """Return the estimate for all runs of a matrix, one after another, from that for one."""
    count = phase.matrix.count() if phase.matrix else 1
    cost = None if one.cost_usd is None else one.cost_usd * count
    return one._replace(seconds=one.seconds * count, low=one.low * count, high=one.high * count, cost_usd=cost)


def _typed(phase: Phase, run: PhaseRun) -> dict[str, object]:
    """Return the parameters of a run that are not at their defaults, without those that steer reuse."""
    given = {key: unquoted(value) for key, value in sorted(run.parameters.items()) if key in phase.parameters}
    of_matrix = phase.matrix.values if phase.matrix else {}
    typed = {**without_defaults(given, phase.parameters), **{key: given[key] for key in of_matrix if key in given}}
    left_out = {*phase.steering_parameters, *(of_matrix if run.is_set else ())}
    return {key: value for key, value in typed.items() if key not in left_out}


def _invocation(history: History, entry_point: str, given: Mapping[str, object]) -> Invocation:
    return Invocation(Path.cwd(), entry_point, given, "phases", history.experiment_id)


def _effort(names: Sequence[str], seconds: float | None, cost_usd: float | None, unpriced: Sequence[str]) -> str:
    if seconds is None:
        return f"Run {first_of(names, ', then ')}; there is no earlier run to estimate the time from"
    price = approximately(seconds) + (f" and {describe_cost(cost_usd)}" if cost_usd is not None else "")
    rest = (
        f", not counting {first_of(unpriced)}{', which has' if len(unpriced) == 1 else ', which have'} no earlier run"
        if unpriced
        else ""
    )
    return f"Run {first_of(names, ', then ')}: {price}{rest}"


def first_of(names: Sequence[str], separator: str = ", ") -> str:
    """Join names for a sentence; of very many the first few, and the number of the others."""
    if len(names) <= _NAMED + 1:
        return separator.join(names)
    return f"{separator.join(names[:_NAMED])} and {len(names) - _NAMED} more"
