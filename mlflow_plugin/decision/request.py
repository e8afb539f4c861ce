"""What is asked for, and what was decided on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.machine.hardware import detect_hardware
from mlflow_plugin.machine.prices import Price, price_per_hour
from mlflow_plugin.project.identity import Identity
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.parameters import Value
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Request:
    """A phase that somebody asks for, with these parameters, in this experiment.

    `given` holds parameters as the caller wrote them; `base` is the folder that relative paths start from; `argv` the
    rendered command line where there is one; `own_run_id` the run that is deciding for itself, which is no candidate.
    `inputs` overrides the upstream runs (a pipeline hands down those it has just made); `asked_as` is what was typed.
    Where force is not allowed (in a pipeline), `decide=rerun` answers questions and leaves alone what is sound.
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

    @cached_property
    def values(self) -> dict[str, Value]:
        return self.phase.resolve(self.given)

    @property
    def decide(self) -> str:
        return str(self.given.get("decide", self.values.get("decide", "ask")))

    def price(self) -> Price:
        """What this machine costs an hour, unless the caller gave `price_per_hour`. Raises PhaseError."""
        explicit = self.given.get("price_per_hour", self.values.get("price_per_hour"))
        return price_per_hour(detect_hardware(), None if explicit in (None, "", "auto") else str(explicit))

    @property
    def invocation(self) -> Invocation:
        return self.asked_as or Invocation(self.project.directory, self.phase.name, self.given)


@dataclass(frozen=True)
class Decision:
    """A verdict with what it was made from, for those who carry it out. `identity` is None when an input is missing;
    `abandoned` are runs of this identity whose heart stopped before they had ended.
    """

    request: Request
    verdict: Verdict
    identity: Identity | None
    inputs: Mapping[str, PhaseRun]
    history: History
    abandoned: Sequence[PhaseRun] = ()
