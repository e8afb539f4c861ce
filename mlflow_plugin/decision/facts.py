"""The facts that a verdict rests on, as plain data. `evidence` collects them, `rules` and `asking` judge them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.quality import quality_of
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.format import clock
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.project.project import AskAbove, Phase
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Candidate:
    """A run of the phase that may count for the request, and the reasons against it.

    Attributes:
        run: The run.
        live: Its process is alive.
        resumable: It has a verified checkpoint.
        quarantine_reason: Why nothing may be built on it; empty for a usable run.
        faults: Its files that are missing, one sentence each.
        unreachable: Where its files would be, when the folder or mount that holds all runs is missing here.
        assumed: One sentence for each parameter whose value in that run is not known.
        differs: How it differs from the request, in words; empty for the same identity.
    """

    run: PhaseRun
    live: bool = False
    resumable: bool = False
    quarantine_reason: str = ""
    faults: tuple[str, ...] = ()
    unreachable: str = ""
    assumed: tuple[str, ...] = ()
    differs: str = ""


@dataclass(frozen=True)
class Generations:
    """Inputs that were made from different results of one earlier phase.

    `sentences` names the runs; `outdated` the needs that were not made from the latest one.
    """

    sentences: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Handover:
    """What stands between the inputs' files in the project and the phase that is to read them, one sentence each.

    Attributes:
        unknown: Inputs of which nothing is stored, so that the phase would read whatever lies in the project.
        by_hand: Files that would have to be moved aside.
    """

    unknown: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shorter:
    """A complete run that the request continues.

    Attributes:
        run: The run.
        grown: The parameters that are larger now, as `epochs 10 -> 12`.
    """

    run: PhaseRun
    grown: str


@dataclass(frozen=True)
class Evidence:
    """Everything that a verdict rests on. The callables are asked only when the rules before them have not decided.

    Attributes:
        observed: What became of everything that a run read.
        replaced: The good run of the same parameters that a new run would replace: its code differs, or what it read.
        edited: The newest interrupted run with the same parameters and inputs, and other code.
        deleted: One sentence for each deleted run of this identity that can be restored.
        generations: Inputs that do not belong together.
        handover: The files that earlier phases left in the project.
        unreadable_inputs: One sentence for each run of a missing input of which the store holds nonsense.
        shorter: The complete run that the request continues, for a phase with `extend`.
        ask_above: The price above which superseding good runs is asked about.
        following: The phases that the same call computes after this one; empty for a single phase.
        beside: Why a new run would leave `latest` as it is; empty when it would not.
    """

    phase: Phase
    same: Sequence[Candidate] = ()
    missing_inputs: Sequence[str] = ()
    inputs: Mapping[str, PhaseRun] = field(default_factory=dict)
    input_ages: Mapping[str, float] = field(default_factory=dict)
    stale: Callable[[], Sequence[Candidate]] = tuple
    current: Callable[[], PhaseRun | None] = lambda: None
    downstream: Callable[[], Sequence[SupersededRun]] = tuple
    estimate: Callable[[], Estimate | None] = lambda: None
    downstream_estimate: Callable[[], Sequence[tuple[str, Estimate | None]]] = tuple
    nearest: Callable[[], str] = str
    input_runs: Callable[[str], PhaseRun | None] = lambda run_id: None
    observed: Callable[[PhaseRun], Findings] = lambda run: Findings()
    replaced: Callable[[], PhaseRun | None] = lambda: None
    edited: Callable[[], Candidate | None] = lambda: None
    deleted: Callable[[], Sequence[str]] = tuple
    generations: Callable[[], Generations] = Generations
    handover: Callable[[], Handover] = Handover
    unreadable_inputs: Callable[[], Sequence[str]] = tuple
    shorter: Callable[[], Shorter | None] = lambda: None
    ask_above: AskAbove = field(default_factory=AskAbove)
    following: Sequence[str] = ()
    beside: str = ""

    def input_ids(self) -> dict[str, str]:
        """Return the id of the upstream run by need."""
        return {need: run.run_id for need, run in self.inputs.items()}


def superseded_run(phase: Phase, run: PhaseRun) -> SupersededRun:
    """Describe a run of a phase as one that is superseded. Its steps are not: each has a verdict of its own."""
    metric, share = phase.quality.metric if phase.quality else "", run.own_share
    seconds, usd = (None if total is None else total * share for total in (run.duration_seconds, run.cost_usd))
    return SupersededRun(run.phase, run.run_id, quality_of(phase, run), metric, run.completed_at, seconds, usd)


def described(phase: Phase, run: PhaseRun) -> str:
    """Return a run's phase, short id, time and quality."""
    quality = quality_of(phase, run)
    suffix = f" with {phase.quality.metric} {quality:.4g}" if phase.quality and quality is not None else ""
    return f"{phase.name} {run.short} of {clock(run.when)}{suffix}"


def left_out(run: PhaseRun) -> tuple[str, ...]:
    """Say what in the store is nonsense and was left out, though the run can be used; nothing for most runs."""
    return (f"of {run.phase} {run.short} was left out: {'; '.join(run.ignored[:3])}",) if run.ignored else ()


def usable(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the complete candidates whose files are all here and that are not quarantined."""
    return [one for one in candidates if one.run.complete and not one.quarantine_reason and not one.faults]
