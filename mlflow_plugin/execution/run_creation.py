"""Make runs of phases and pipelines in the form in which `mlflow run` makes them."""

import shlex
from collections.abc import Mapping

from mlflow.entities import Param
from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.request import Request
from mlflow_plugin.execution.tags import git_commit
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.input_artifacts import artifact_uris
from mlflow_plugin.store.run_decoding import phase_run
from mlflow_plugin.store.run_encoding import user
from mlflow_plugin.store.run_writer import RunWriter

_BATCH, _LONGEST = 100, 5000


class RunCreator(RunWriter):
    """Makes runs, and logs their parameters."""

    def __init__(self, client: MlflowClient) -> None:
        super().__init__(client)
        self._pins: dict[str, dict[str, str]] = {}
        """Of runs made here: parameters that choose an input. A logged parameter is final, so they wait for its run."""
        self._artifacts: dict[str, Phase] = {}
        """Of runs made here: the phase, whose parameters under `inputs` wait as well."""
        self._lists: dict[str, dict[str, str]] = {}
        """Of runs made here: the need of each parameter that takes the runs of a set."""

    def create(self, request: Request, parent_run_id: str = "", backend: str = "") -> str:
        """Make a RUNNING run with the request's parameters, as `mlflow run` makes one, and return its id."""
        name, project = request.phase.name, request.project
        run_id = self._create(project, name, request.experiment_id, backend, parent_run_id)
        self._log_parameters(run_id, request)
        return run_id

    def adopt(self, request: Request, parent_run_id: str, backend: str) -> None:
        """Make an existing run, which the caller names, one that looks like those of `create`."""
        run_id = request.own_run_id
        for key, value in self._tags(request.project, request.phase.name, backend, parent_run_id).items():
            self.client.set_tag(run_id, key, value)
        self._log_parameters(run_id, request)

    def _log_parameters(self, run_id: str, request: Request) -> None:
        self._pins[run_id] = request.pins()
        self._artifacts[run_id] = request.phase
        values = {**request.values, **request.given}
        lists = {f"{need}_run_ids": need for need in request.phase.matrix_needs}
        self._lists[run_id] = {name: need for name, need in lists.items() if name in values}
        later = {*self._pins[run_id], *self._lists[run_id], *request.phase.inputs}
        self.parameters(run_id, {name: value for name, value in values.items() if name not in later})

    def log_pins(self, run_id: str, inputs: Mapping[str, str]) -> None:
        """Log which run each parameter `NEED_run_id`, and which runs each `NEED_run_ids`, stands for, not `latest`."""
        pins = self._pins.pop(run_id, {})
        resolved = {f"{need}_run_id": used for need, used in inputs.items()}
        phase = self._artifacts.pop(run_id, None)
        artifacts = artifact_uris(phase, inputs) if phase else {}
        lists = {name: self._members(inputs.get(need, "")) for name, need in self._lists.pop(run_id, {}).items()}
        pinned = {name: resolved.get(name, given) for name, given in pins.items()}
        self.parameters(run_id, {**pinned, **lists, **artifacts})

    def _members(self, set_id: str) -> str:
        """Return the ids of the runs of a set, as the command gets them; of very many the id of the set."""
        members = phase_run(self.client.get_run(set_id)).members if set_id else ()
        listed = ",".join(members)
        return listed if members and len(listed) <= _LONGEST else set_id or "latest"

    def create_pipeline(
        self,
        project: Project,
        name: str,
        given: Mapping[str, object],
        experiment_id: str,
        backend: str,
        parent_run_id: str = "",
    ) -> str:
        """Make a RUNNING run for a pipeline, under which the runs of its phases nest, and return its id."""
        run_id = self._create(project, name, experiment_id, backend, parent_run_id)
        declared = project.pipelines[name].parameters
        self.parameters(
            run_id, {**{key: one.default for key, one in declared.items() if one.default is not None}, **given}
        )
        return run_id

    def _create(self, project: Project, entry_point: str, experiment_id: str, backend: str, parent_run_id: str) -> str:
        tags = self._tags(project, entry_point, backend, parent_run_id)
        return str(self.client.create_run(experiment_id, tags=tags, run_name=entry_point).info.run_id)

    def _tags(self, project: Project, entry_point: str, backend: str, parent_run_id: str) -> dict[str, str]:
        return {
            "mlflow.user": user(),
            "mlflow.source.name": str(project.directory),
            "mlflow.source.type": "PROJECT",
            "mlflow.project.entryPoint": entry_point,
            **({"mlflow.project.backend": backend} if backend else {}),
            **({"mlflow.parentRunId": parent_run_id} if parent_run_id else {}),
            **({"mlflow.source.git.commit": commit} if (commit := git_commit(project.directory)) else {}),
        }

    def parameters(self, run_id: str, values: Mapping[str, object]) -> None:
        """Log parameters in the form in which `mlflow run` logs them, so that both look alike in the UI."""
        params = [Param(name, shlex.quote(str(value))) for name, value in values.items()]
        for start in range(0, len(params), _BATCH):
            self.client.log_batch(run_id, params=params[start : start + _BATCH])
