"""A request for a phase, and the decision on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.machine.hardware import detect_hardware
from mlflow_plugin.machine.prices import Price, price_per_hour
from mlflow_plugin.project.identity import Identity
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.members import member_of, member_with
from mlflow_plugin.project.parameters import Value
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.project.vocabulary import Decide
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Request:
    """A phase that is asked for, with its parameters, in an experiment.

    Attributes:
        project: The project that declares the phase.
        phase: The phase.
        given: Parameters as the caller wrote them.
        client: The tracking store.
        experiment_id: The experiment.
        base: The folder that relative paths start from.
        argv: The rendered command line, where there is one.
        own_run_id: The run that decides for itself; it is no candidate.
        inputs: Upstream runs by need, from a pipeline that has just made them.
        asked_as: The command that was typed, for messages.
        following: The phases that a pipeline computes after this one; empty for a single phase.
        graph: The project that asks for a phase of another MLproject file; None for one of its own.
        called: The name of the phase in that project, and of a step for its caller; empty for its own name.
        also_for: Other runs of the same matrix, for which the answer to a question counts too.
        ask_always: Ask however cheap it is, as what the runs of a matrix supersede together is costly.
        in_all: What these runs supersede together, in words.
        newest: The run of the newest set with the same values, where the caller has read it.
        force_allowed: False in a pipeline: `decide=rerun` then answers questions and leaves good runs alone.
    """

    project: Project
    phase: Phase
    given: Mapping[str, object]
    client: MlflowClient
    experiment_id: str
    base: Path = field(default_factory=Path.cwd)
    argv: Sequence[str] = ()
    own_run_id: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    asked_as: Invocation | None = None
    force_allowed: bool = True
    following: tuple[str, ...] = ()
    graph: Project | None = None
    called: str = ""
    also_for: tuple[str, ...] = ()
    ask_always: bool = False
    in_all: str = ""
    newest: PhaseRun | None = None

    @property
    def label(self) -> str:
        """The name of the phase in messages: several files may each have a phase `main`."""
        return replace(self.phase, name=self.called or self.phase.name).full_name

    @property
    def shown(self) -> Phase:
        """The phase as the project calls it that asks for it."""
        if self.graph is None:
            return self.phase
        shown = self.graph.phases[self.called]
        return member_with(shown, self.phase.member).phase if self.phase.member else shown

    def made_from(self, inputs: Mapping[str, str], following: tuple[str, ...]) -> "Request":
        """Return the request in a pipeline that has made these inputs, by the names of the project that asks."""
        origin = self.shown.origin
        theirs = {there: inputs[here] for there, here in origin.needs.items() if here in inputs} if origin else inputs
        return replace(self, inputs=theirs, following=following)

    def command_for(self, need: str, **parameters: object) -> str:
        """Return the command that runs an upstream phase, in the folder of its own MLproject file."""
        phase = self.project.phases.get(need)
        if phase is None or (phase.origin is None and self.graph is None):
            return self.invocation.command(need, **parameters)
        there = replace(self.invocation, project=self.project.directory_of(phase), parameters={})
        return there.command(phase.own_name, **parameters)

    @cached_property
    def values(self) -> dict[str, Value]:
        return self.phase.resolve(self.given)

    @property
    def decide(self) -> Decide:
        """The way to answer a question. `Phase.resolve` has checked the value."""
        return cast(Decide, str(self.given.get("decide", self.values.get("decide", "ask"))))

    def pins(self) -> dict[str, str]:
        """Return the parameters `NEED_run_id` that are declared or given, as they were given."""
        values = {**self.values, **self.given}
        names = [f"{need}_run_id" for need in self.phase.needs]
        return {name: str(values[name]) for name in names if name in values}

    def chosen(self) -> dict[str, str | None]:
        """Return the parameters that stand for inputs (`pins`, `NEED_run_ids`, artifacts), as they were given; None
        where one was not.
        """
        names = [*(f"{need}_run_ids" for need in self.phase.matrix_needs), *self.phase.inputs]
        given = {name: str(self.given[name]) if name in self.given else None for name in names}
        return {**given, **self.pins()}

    def price(self) -> Price:
        """Return the price of an hour on this machine, unless the caller gave `price_per_hour`. Raises PhaseError."""
        explicit = self.given.get("price_per_hour", self.values.get("price_per_hour"))
        return price_per_hour(detect_hardware(), None if explicit in (None, "", "auto") else str(explicit))

    @property
    def invocation(self) -> Invocation:
        return self.asked_as or Invocation(self.project.directory, self.phase.name, self.given)


def request_for(
    project: Project,
    name: str,
    given: Mapping[str, object],
    client: MlflowClient,
    experiment_id: str,
    *,
    in_pipeline: bool = False,
    **more: Any,
) -> Request:
    """Return the request for a phase of a project, or for a phase of another file that it needs.

    Args:
        project: The project that asks.
        name: Its name of the phase.
        given: Parameters as the caller wrote them, with this project's names in `NEED_run_id`.
        client: The tracking store.
        experiment_id: The experiment.
        in_pipeline: A phase with a matrix is requested with all of its runs, though each parameter may have one value;
            else that is one run of the matrix by itself.
        **more: Further attributes of the request.

    Raises:
        UsageError: There is no such phase, or a value stands under `exclude` of its matrix.
    """
    owner, phase = project.native(name)
    origin = project.phases[name].origin
    if not in_pipeline:
        phase = member_of(phase, given)
    if origin is None:
        return Request(project, phase, given, client, experiment_id, **more)
    ends = ("_run_id", "_run_ids")
    renamed = {f"{here}{end}": f"{there}{end}" for there, here in origin.needs.items() for end in ends}
    theirs = {renamed.get(key, key): value for key, value in given.items()}
    inputs = more.pop("inputs", {})
    more["inputs"] = {there: inputs[here] for there, here in origin.needs.items() if here in inputs}
    return Request(owner, phase, theirs, client, experiment_id, **more, graph=project, called=name)


@dataclass(frozen=True)
class Decision:
    """A verdict with everything that its execution needs.

    Attributes:
        request: The request.
        verdict: The verdict.
        identity: The identity; None when an input is missing.
        inputs: The upstream runs by need.
        history: The runs that were read.
        abandoned: Runs of this identity that lost their heartbeat before they had ended.
        input_ages: Seconds since each input was made.
    """

    request: Request
    verdict: Verdict
    identity: Identity | None
    inputs: Mapping[str, PhaseRun]
    history: History
    abandoned: Sequence[PhaseRun] = ()
    input_ages: Mapping[str, float] = field(default_factory=dict)
