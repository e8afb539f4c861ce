"""Describe what a project declares: Project, Phase, Pipeline. `mlproject` reads and validates them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import get_args

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.judging import Gate, Quality
from mlflow_plugin.project.matrix import Matrix, label
from mlflow_plugin.project.parameters import Parameter, Value
from mlflow_plugin.project.vocabulary import Decide, EnvironmentPolicy, External, Grade, Link, Observe

PLUGIN_PARAMETERS = ("decide", "price_per_hour")
"""Parameters of the plugin itself. Every phase takes them, even if it does not declare them."""
DECIDE_VALUES: tuple[Decide, ...] = get_args(Decide)
LOG_FILE = "EXPERIMENT_LOG.md"
"""The experiment log in a project's folder. It grows with every run, so it never counts as code or input."""
OWN_FOLDER = ".mlflow-phases"
"""The folder of a project into which files that were in the way are moved."""


@dataclass(frozen=True)
class CheckpointPolicy:
    """How often a phase saves a checkpoint, and which checkpoints stay.

    Attributes:
        every: Steps between two saves, None to choose by the expected duration.
        keep_last: How many of the newest stay.
        keep_best: How many of the best by quality stay.
        keep_every: One stays for each multiple of this number of steps, None for no such rule.
    """

    every: int | None = None
    keep_last: int = 3
    keep_best: int = 1
    keep_every: int | None = None


@dataclass(frozen=True)
class AskAbove:
    """How much recomputing may cost before a run that supersedes good work is asked about. Above either it asks."""

    minutes: float = 5.0
    usd: float = 0.10


@dataclass(frozen=True)
class Resources:
    """What a phase needs of the machine, when others are computed beside it: cores, GPUs, and bytes of memory."""

    cpus: float = 0.0
    gpus: int = 0
    memory: int = 0


@dataclass(frozen=True)
class InputArtifact:
    """An artifact of an upstream phase that a parameter stands for; `path` is relative to that phase's outputs."""

    need: str
    path: str


@dataclass(frozen=True)
class Origin:
    """The place of a phase that another MLproject file declares.

    Attributes:
        project: The project of that file.
        phase: The name of the phase there.
        needs: The names of its needs there -> their names here.
    """

    project: "Project"
    phase: str
    needs: Mapping[str, str]


@dataclass(frozen=True)
class Phase:
    """An entry point that declares `phase:`. The fields are the keys that `docs/mlproject_keys.md` explains."""

    name: str
    command: str
    parameters: Mapping[str, Parameter]
    needs: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()
    quality: Quality | None = None
    gates: tuple[Gate, ...] = ()
    max_age_seconds: float | None = None
    code: tuple[str, ...] | None = None
    timeout_minutes: float | None = None
    size: tuple[str, ...] = ()
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    observe: Observe = "all"
    ignore_reads: tuple[str, ...] = ()
    external: External = "mention"
    not_paths: frozenset[str] = frozenset()
    environment: EnvironmentPolicy = "mention"
    ask_above: AskAbove = AskAbove()
    outputs: tuple[str, ...] | None = None
    link: Link = "copy"
    inputs: Mapping[str, InputArtifact] = field(default_factory=dict)
    resources: Resources = Resources()
    extend: tuple[str, ...] = ()
    origin: Origin | None = None
    """The place of a phase of another file; `name` and `needs` are those by which this project calls it."""
    matrix: Matrix | None = None
    member: Mapping[str, str] = field(default_factory=dict)
    """The values of one run of a matrix, by parameter; empty for a phase without one, and for the whole matrix."""
    matrix_needs: frozenset[str] = frozenset()
    """The needs that have a matrix."""

    @property
    def own_name(self) -> str:
        """The name of the phase in its own MLproject file."""
        return self.origin.phase if self.origin else self.name

    @property
    def full_name(self) -> str:
        """The name; of one run of a matrix with its values, such as `train seed=0`."""
        return f"{self.name} {label(self.member)}" if self.member else self.name

    @property
    def own_full_name(self) -> str:
        """The full name in its own MLproject file."""
        return replace(self, name=self.own_name).full_name

    @property
    def steering_parameters(self) -> frozenset[str]:
        """Names of the parameters that control the plugin, and of those that the inputs stand for: they never change a
        result by themselves.
        """
        lists = (f"{need}_run_ids" for need in self.matrix_needs)
        return frozenset({*PLUGIN_PARAMETERS, *(f"{need}_run_id" for need in self.needs), *lists, *self.inputs})

    @property
    def result_parameters(self) -> list[Parameter]:
        """The parameters that change the result, sorted by name."""
        excluded = self.ignore | self.steering_parameters
        return [parameter for name, parameter in sorted(self.parameters.items()) if name not in excluded]

    @property
    def judged_metrics(self) -> list[str]:
        """The names of the metrics that quality and gates read, the one of quality first."""
        metrics = [self.quality.metric] if self.quality else []
        return list(dict.fromkeys([*metrics, *(name for gate in self.gates for name in gate.metrics)]))

    def resolve(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Return the typed value of every declared parameter; of a matrix, those of its first run.

        Args:
            given: Name -> value or text, as on the command line.

        Raises:
            UsageError: A parameter is unknown, missing or of the wrong type, or is an artifact of another phase.
        """
        if self.matrix is not None:
            given = {**given, **self.matrix.with_values(given).combinations(1)[0]}
        known = {*self.parameters, *self.steering_parameters}
        if unknown := sorted(set(given) - known):
            raise UsageError(
                f"{self.name} has no parameter {unknown[0]!r}. Its parameters: {', '.join(sorted(known)) or 'none'}."
            )
        decide = str(given.get("decide", "ask"))
        if decide not in DECIDE_VALUES:
            raise UsageError(f"decide={decide!r} is not one of {', '.join(DECIDE_VALUES)}.")
        for name, artifact in self.inputs.items():
            if given.get(name, "latest") not in ("", "latest", self.parameters[name].default):
                raise UsageError(
                    f"{self.name}: {name} is the artifact {artifact.path!r} of {artifact.need}, and cannot be given. "
                    f"Choose another run with -P {artifact.need}_run_id=RUN, or remove {name} from `inputs:`."
                )
        for need in sorted(self.matrix_needs):
            if given.get(f"{need}_run_ids", "latest") not in ("", "latest"):
                raise UsageError(
                    f"{self.name}: {need}_run_ids holds the runs of {need}, and cannot be given. Choose another set of "
                    f"them with -P {need}_run_id=RUN."
                )
        declared = {name: one for name, one in self.parameters.items() if name not in self.inputs}
        return {name: parameter.value(given.get(name)) for name, parameter in declared.items()}

    def grade(self, metrics: Mapping[str, float]) -> Grade:
        """Return the grade of a run by its metrics; `gate` when the quality is good and a gate fails."""
        grade = self.quality.grade(metrics.get(self.quality.metric)) if self.quality else "good"
        return "gate" if grade == "good" and self.gate_failures(metrics) else grade

    def gate_failures(self, metrics: Mapping[str, float]) -> list[str]:
        """Return one sentence for each gate that fails."""
        return [failure for gate in self.gates if (failure := gate.failure_of_run(metrics))]


@dataclass(frozen=True)
class Pipeline:
    """An entry point that runs phases and all phases that they need, in order: `pipeline: [phase4]`.

    Attributes:
        jobs: How many of its phases are computed side by side at most.
        keep_going: When one has failed, those that do not need it are still started.
    """

    name: str
    command: str
    parameters: Mapping[str, Parameter]
    targets: tuple[str, ...]
    jobs: int = 1
    keep_going: bool = False


@dataclass(frozen=True)
class Project:
    """A whole MLproject file, validated.

    `roots` maps names to folders outside the project, as they are written. `image` is that of `docker_env`, empty
    without one.
    """

    name: str
    directory: Path
    file: Path
    phases: Mapping[str, Phase]
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)
    other_entry_points: frozenset[str] = frozenset()
    roots: Mapping[str, str] = field(default_factory=dict)
    image: str = ""

    def phase(self, name: str) -> Phase:
        """Return a phase by name. Raises UsageError, which lists the phases, when there is none of that name."""
        if name in self.phases:
            return self.phases[name]
        names = ", ".join(self.phases) or "none: add a `phase:` mapping to an entry point"
        raise UsageError(f"{self.file}: there is no phase {name!r}. Phases: {names}.")

    def native(self, name: str) -> tuple["Project", Phase]:
        """Return a phase as its own MLproject file declares it, and the project of that file. Raises UsageError."""
        phase = self.phase(name)
        if phase.origin is None:
            return self, phase
        return phase.origin.project, phase.origin.project.phases[phase.origin.phase]

    def directory_of(self, phase: Phase) -> Path:
        """Return the folder of the MLproject file that declares a phase."""
        return phase.origin.project.directory if phase.origin else self.directory

    def stored_as(self, name: str) -> tuple[str, str]:
        """Return the names of project and phase by which the runs of a phase are recorded."""
        phase = self.phases.get(name)
        return (phase.origin.project.name, phase.origin.phase) if phase and phase.origin else (self.name, name)

    @cached_property
    def called_here(self) -> Mapping[tuple[str, str], Phase]:
        """The phases of other files by the names of project and phase under which their runs are recorded."""
        return {self.stored_as(phase.name): phase for phase in self.phases.values() if phase.origin}

    def order(self, targets: Iterable[str]) -> list[Phase]:
        """Return the targets and all phases that they need, each after its needs."""
        needed: set[str] = set()
        pending = list(targets)
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                pending += self.phase(name).needs
        return [self.phases[name] for name in self._sorted if name in needed]

    def downstream(self, name: str) -> list[Phase]:
        """Return the phases that depend on this one, directly or not, in order."""
        dependent = {name}
        for other in self._sorted:
            if dependent & set(self.phases[other].needs):
                dependent.add(other)
        return [self.phases[other] for other in self._sorted if other in dependent - {name}]

    def pipeline_parameters(self, pipeline: Pipeline) -> frozenset[str]:
        """Return the names of all parameters that a phase of a pipeline takes: its own, `NEED_run_id`, the plugin's."""
        phases = self.order(pipeline.targets)
        return frozenset({name for phase in phases for name in (*phase.parameters, *phase.steering_parameters)})

    @cached_property
    def _sorted(self) -> list[str]:
        return list(TopologicalSorter({phase.name: phase.needs for phase in self.phases.values()}).static_order())
