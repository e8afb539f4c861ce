"""What it takes to make a phase fresh again: which phases to run, at what price, and what that would throw away."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_plugin.decision.estimate import MOST_RUNS, Estimate, estimate
from mlflow_plugin.decision.evidence import good_downstream, past_runs, sizes_of
from mlflow_plugin.decision.rules import superseded_run
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.format import approximately, describe_cost
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.parameters import unquoted, without_defaults
from mlflow_plugin.project.project import Phase, Pipeline
from mlflow_plugin.reports.status import PhaseState
from mlflow_plugin.reports.views.questions import superseded_view
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

RERUN = ("stale", "invalidated", "poor", "borderline", "gate failed", "quality unknown")
"""States of a result that is there: another takes its place."""
RUN = ("missing", "interrupted", "failed", "quarantined")
"""States without a result: nobody needs to be asked."""

_NAMED = 6
_LOSSES = 10
"""So many good runs made from the same bytes are listed. Where there are thousands, to find all would take seconds."""


class Mending:
    """Prices and superseded of a pipeline that was read; each phase is looked up once."""

    def __init__(self, history: History, states: Sequence[PhaseState]) -> None:
        self.history, self.project = history, history.project
        self.states = {state.phase.name: state for state in states}
        self._estimates: dict[str, Estimate | None] = {}
        self._losses: dict[str, list[SupersededRun]] = {}

    def needs(self, name: str) -> bool:
        """Whether a phase is to be run for the pipeline to be whole again. What runs or asks is not, by now."""
        return self.states[name].state in (*RERUN, *RUN)

    def of_phase(self, name: str) -> dict[str, Any] | None:
        """What it takes to make one phase fresh, with all that must be run before it, and after it because it hangs on
        what changes. None for a phase that needs nothing."""
        if not self.needs(name):
            return None
        before = [phase.name for phase in self.project.order([name]) if self.needs(phase.name)]
        return self._mend(before)

    def of_all(self) -> dict[str, Any] | None:
        """What it takes to make every phase fresh; None when all are."""
        wanted = [name for name in self.states if self.needs(name)]
        return self._mend(wanted) if wanted else None

    def _mend(self, wanted: Sequence[str]) -> dict[str, Any]:
        names = self._with_followers(wanted)
        lost = {one.run_id: one for name in wanted for one in self._lost(name)}
        superseded = sorted(lost.values(), key=lambda one: list(self.states).index(one.phase))
        known = [found for name in names if (found := self.estimate(name))]
        seconds = sum(one.seconds for one in known) if known else None
        costs = [one.cost_usd for one in known if one.cost_usd is not None]
        cost_usd = sum(costs) if costs else None
        effort = _effort(names, seconds, cost_usd, [name for name in names if not self.estimate(name)])
        at_least = "at least " if len(superseded) >= _LOSSES else ""
        count = f"{at_least}{len(superseded)} run{'s' if len(superseded) > 1 else ''}" if superseded else "nothing good"
        listed = f": {'; '.join(one.sentence() for one in superseded)}" if superseded else ""
        return {
            "phases": names,
            "seconds": seconds,
            "cost_usd": cost_usd,
            "would_lose": [superseded_view(one) for one in superseded],
            "command": self._command(names),
            "summary": f"{effort}. That throws away {count}.",
            "sentence": f"{effort}. That throws away {count}{listed}.",
        }

    def _with_followers(self, wanted: Sequence[str]) -> list[str]:
        """With the later phases that were run before, and would no longer match."""
        reached = set(wanted)
        for name in wanted:
            later = [phase.name for phase in self.project.downstream(name)]
            reached |= {other for other in later if self.states[other].run and self.states[other].run.complete}  # type: ignore[union-attr]
        return [name for name in self.states if name in reached]

    def estimate(self, name: str) -> Estimate | None:
        """What running a phase again takes where it ran last, and what that cost there."""
        if name not in self._estimates:
            self._estimates[name] = self._estimated(self.project.phases[name])
        return self._estimates[name]

    def _estimated(self, phase: Phase) -> Estimate | None:
        shown = self.states[phase.name].run
        past = past_runs(phase, self.history.computed(phase.name, MOST_RUNS))
        past = past or past_runs(phase, [shown] if shown else [])
        if not past:
            return None
        sizes = sizes_of(phase, shown.parameters) if shown else {}
        return estimate(past, past[0].hardware_key, sizes or past[0].size)

    def _lost(self, name: str) -> list[SupersededRun]:
        """The runs that count no more once a phase has been run: its own unless it was poor, and the good ones that
        were made from it."""
        if name not in self._losses:
            state = self.states[name]
            run, phase = state.run, state.phase
            found: list[SupersededRun] = []
            if run and run.complete and not self.history.quarantine_reason(run):
                own = state.state in RERUN and phase.grade(run.metrics) not in ("poor", "unknown")
                found = [*([superseded_run(phase, run)] if own else []), *good_downstream(self.history, run, _LOSSES)]
            self._losses[name] = found
        return self._losses[name]

    # --- what to type ---

    def _command(self, names: Sequence[str]) -> str:
        pipeline = self._pipeline(names)
        if pipeline is not None:
            invocation = _invocation(self.history, pipeline.name, self._handed(pipeline) or {})
            asks = any(self.states[name].state not in RUN for name in names)
            return invocation.command(decide="rerun") if asks else invocation.command()
        return " && ".join(self._phase_command(name) for name in names)

    def _phase_command(self, name: str) -> str:
        # Told to compute anew, an interrupted run would not go on from its checkpoint.
        decide = "" if self.states[name].state in RUN else "rerun"
        run = self._run(name)
        return run_command(self.history, run, decide) if run else _invocation(self.history, name, {}).command()

    def _pipeline(self, names: Sequence[str]) -> Pipeline | None:
        """The pipeline whose one command does just this: it runs all of these phases, and changes no other."""
        if len(names) < 2:
            return None
        for pipeline in self.project.pipelines.values():
            phases = [phase.name for phase in self.project.order(pipeline.targets)]
            others = [name for name in phases if name not in names]
            covers = set(names) <= set(phases) and not any(self.needs(name) for name in others)
            if covers and self._handed(pipeline) is not None:
                return pipeline
        return None

    def _handed(self, pipeline: Pipeline) -> dict[str, object] | None:
        """What a pipeline must be given so that its phases run as they last did; None when two of them differ in a
        parameter that they share."""
        values: dict[str, str] = {}
        given: dict[str, object] = {}
        for phase in self.project.order(pipeline.targets):
            run = self._run(phase.name)
            for parameter in phase.result_parameters if run else []:
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
    """What to type to start a phase with the parameters that one of its runs was given."""
    typed = _typed(history.project.phases[run.phase], run)
    return _invocation(history, run.phase, typed | ({"decide": decide} if decide else {})).command()


def _typed(phase: Phase, run: PhaseRun) -> dict[str, object]:
    """What a run was given beyond the defaults; not which runs fed it, nor how to answer a question."""
    given = {key: unquoted(value) for key, value in sorted(run.parameters.items()) if key in phase.parameters}
    typed = without_defaults(given, phase.parameters)
    return {key: value for key, value in typed.items() if key not in phase.steering_parameters}


def _invocation(history: History, entry_point: str, given: Mapping[str, object]) -> Invocation:
    return Invocation(Path.cwd(), entry_point, given, "phases", history.experiment_id)


def _effort(names: Sequence[str], seconds: float | None, cost_usd: float | None, unpriced: Sequence[str]) -> str:
    if seconds is None:
        return f"Run {first_of(names, ', then ')}; no earlier run tells how long that takes"
    price = approximately(seconds) + (f" and {describe_cost(cost_usd)}" if cost_usd is not None else "")
    rest = f", not counting {first_of(unpriced)}, of which no earlier run tells" if unpriced else ""
    return f"Run {first_of(names, ', then ')}: {price}{rest}"


def first_of(names: Sequence[str], separator: str = ", ") -> str:
    """Names in a sentence; of very many the first few, and how many more there are."""
    if len(names) <= _NAMED + 1:
        return separator.join(names)
    return f"{separator.join(names[:_NAMED])} and {len(names) - _NAMED} more"
