"""Reading runs from the tracking store: by id, by phase, by tag, by what goes on."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.project.project import Project
from mlflow_plugin.store import schema
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_decoding import phase_run
from mlflow_plugin.store.tag_reader import shown
from mlflow_plugin.store.untrusted import is_run_id

NO_EXPERIMENT = ""
"""Stands for an experiment that does not exist yet, in which nothing has been run."""
AT_MOST = 20
NEWEST = 50
_PAGE = 250
_NAMED = 3


class RunReader:
    """Reads the runs of one project's phases in one experiment, and keeps what it has read for as long as it lives."""

    def __init__(self, client: MlflowClient, experiment_id: str, project: Project) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.project = project
        self._runs: dict[str, PhaseRun | None] = {}
        self._read_experiment: Experiment | None = None
        self._newest: list[PhaseRun] | None = None
        self._running: list[PhaseRun] | None = None
        self._dead: list[PhaseRun] | None = None
        self._recent: dict[str, tuple[int, list[PhaseRun]]] = {}

    def runs(self, run_ids: Iterable[str]) -> dict[str, PhaseRun]:
        """Return the active runs among these ids, with one request for those that were not read before."""
        wanted = {run_id for run_id in run_ids if is_run_id(run_id)}
        unread = sorted(wanted - set(self._runs))
        for start in range(0, len(unread), 100):
            part = unread[start : start + 100]
            if len(part) == 1:
                runs = self._get(part[0])
            else:
                quoted = ", ".join(f"'{run_id}'" for run_id in part)
                runs = self.search(f"attributes.run_id IN ({quoted})", len(part))
                # A search sees this experiment alone; a pinned run may be of another.
                elsewhere = set(part) - {run.run_id for run in runs}
                runs = [*runs, *(run for run_id in elsewhere for run in self._get(run_id))]
            self._runs.update(dict.fromkeys(part))
            self._runs.update({run.run_id: run for run in runs})
        return {run_id: run for run_id in wanted if (run := self._runs[run_id])}

    def _get(self, run_id: str) -> list[PhaseRun]:
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return []
            raise
        return [self._read(run)] if run.info.lifecycle_stage == "active" else []

    def run(self, run_id: str) -> PhaseRun | None:
        """Return an active run; None when there is none of this id."""
        return self.runs([run_id]).get(run_id)

    def search(
        self, filter_string: str, max_results: int = AT_MOST, experiment_id: str = "", *, deleted_too: bool = False
    ) -> list[PhaseRun]:
        """Return the runs that match, newest first (MLflow's default order); active ones unless told otherwise."""
        where = experiment_id or self.experiment_id
        if where == NO_EXPERIMENT:
            return []
        view = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY
        found = self.client.search_runs([where], filter_string, view, max_results)
        runs = [self._read(run) for run in found]
        active = zip(runs, found, strict=True)
        self._runs.update({run.run_id: run for run, one in active if one.info.lifecycle_stage == "active"})
        return runs

    def experiment_tags(self) -> Mapping[str, str]:
        """Return the tags of the experiment itself."""
        return {} if self.experiment_id == NO_EXPERIMENT else self._experiment().tags

    def experiment_name(self) -> str:
        """Return the name of the experiment; empty when there is none yet."""
        return "" if self.experiment_id == NO_EXPERIMENT else self._experiment().name

    def _experiment(self) -> Experiment:
        if self._read_experiment is None:
            self._read_experiment = self.client.get_experiment(self.experiment_id)
        return self._read_experiment

    def is_own(self, run: PhaseRun) -> bool:
        """Return whether a run is one of this project's phases."""
        return run.phase in self.project.phases and self.project.stored_as(run.phase) == (run.project, run.own_phase)

    def _read(self, run: Run) -> PhaseRun:
        """Return a run as plain data, one of another file's phase under the names that this project has for it."""
        read = phase_run(run)
        phase = self.project.called_here.get((read.project, read.phase))
        if phase is None or phase.origin is None:
            return read
        inputs = {phase.origin.needs.get(need, need): used for need, used in read.inputs.items()}
        return replace(read, phase=phase.name, stored_phase=read.phase, inputs=inputs)

    def newest(self) -> list[PhaseRun]:
        """Return the newest runs of the experiment, of a phase or not.

        From then on `recent` and `computed` use these where they can, so that a look at all phases costs one search.
        """
        if self._newest is None:
            self._newest = self.search("", NEWEST)
        return self._newest

    def running(self) -> list[PhaseRun]:
        """Return the project's newest runs that the store calls RUNNING and that have not completed."""
        if self._running is None:
            runs = self.search("attributes.status = 'RUNNING'", NEWEST)
            self._running = [run for run in runs if self.is_own(run) and not run.successor and not run.complete]
        return self._running

    def unended(self) -> list[PhaseRun]:
        """Return the project's newest runs that are RUNNING, or lost their heartbeat without a successor."""
        if self._dead is None:
            marked = self.marked(schema.PRESUMED_DEAD, NEWEST)
            self._dead = [run for run in marked if not run.successor and not run.complete]
        runs = {run.run_id: run for run in (*self.running(), *self._dead)}
        return sorted(runs.values(), key=lambda run: run.started_at, reverse=True)

    def asking(self) -> list[PhaseRun]:
        """Return the project's newest runs with an unanswered question, whether they still wait or have ended."""
        asked = self.search(f"tags.`{schema.QUESTION}` LIKE '%' AND tags.`{schema.VERDICT}` = 'ask'", NEWEST)
        return [run for run in asked if self.is_own(run) and not _is_answered(run)]

    def all_of(self, phase: str, within_seconds: float) -> tuple[list[PhaseRun], bool]:
        """Return the runs of a phase, newest first, and whether these are all: reading stops after `within_seconds`."""
        if self._newest is not None and len(self._newest) < NEWEST:
            return self.recent(phase, NEWEST), True
        runs: list[PhaseRun] = []
        began, token, where = time.monotonic(), None, self._indexed(schema.RUNS_INDEX, phase)
        while self.experiment_id != NO_EXPERIMENT:
            part = self.client.search_runs([self.experiment_id], where, max_results=_PAGE, page_token=token)
            runs += [self._as_own(self._read(run), phase) for run in part]
            token = part.token
            if not token or time.monotonic() - began > within_seconds:
                break
        self._runs.update({run.run_id: run for run in runs})
        return runs, not token

    def marked(self, tag: str, at_most: int, and_where: str = "") -> list[PhaseRun]:
        """Return the project's newest runs that have a tag, whatever its value."""
        runs = self.search(f"tags.`{tag}` LIKE '%'{f' AND {and_where}' if and_where else ''}", at_most)
        return [run for run in runs if self.is_own(run)]

    def deleted(self, at_most: int) -> list[PhaseRun]:
        """Return the project's newest runs that were deleted in MLflow and can still be restored."""
        if self.experiment_id == NO_EXPERIMENT:
            return []
        runs = self.client.search_runs([self.experiment_id], "", ViewType.DELETED_ONLY, at_most)
        return [run for run in map(self._read, runs) if self.is_own(run)]

    def recent(self, phase: str, at_most: int = AT_MOST) -> list[PhaseRun]:
        """Return the newest runs of a phase, however they ended."""
        return self._of_phase(
            schema.RUNS_INDEX, phase, at_most, lambda run: bool(run.verdict or run.reason) and not run.is_set
        )

    def computed(self, phase: str, at_most: int = AT_MOST) -> list[PhaseRun]:
        """Return the newest runs of a phase that computed something, however they ended; reuses do not count."""
        return self._of_phase(schema.COMPUTED_INDEX, phase, at_most, lambda run: run.computing)

    def _of_phase(self, index: str, phase: str, at_most: int, counts: Callable[[PhaseRun], bool]) -> list[PhaseRun]:
        """Return the newest runs of a phase under an index, from earlier reads where these hold enough of them.

        With tens of thousands of runs in a phase, each such search takes a tenth of a second.
        """
        where = self._indexed(index, phase)
        if self._newest is not None:
            runs = [run for run in self._newest if self.is_own(run) and run.phase == phase and counts(run)]
            if len(runs) >= at_most or len(self._newest) < NEWEST:
                return runs[:at_most]
        read, runs = self._recent.get(where, (0, []))
        if at_most > read and len(runs) == read:
            runs = [self._as_own(run, phase) for run in self.search(where, at_most)]
            self._recent[where] = (at_most, runs)
        return runs[:at_most]

    def _as_own(self, run: PhaseRun, phase: str) -> PhaseRun:
        """Return a run that an index lists for a phase. One that names another phase itself is unreadable."""
        if run.phase == phase and self.is_own(run):
            return run
        named = f"it is listed as a run of {phase}, and names itself {shown(run.phase)} of the project"
        wrong = f"{named} {shown(run.project)}"
        project, stored = self.project.stored_as(phase)
        stored_phase, unreadable = "" if stored == phase else stored, (wrong, *run.unreadable)
        own = replace(run, phase=phase, project=project, stored_phase=stored_phase, unreadable=unreadable)
        self._runs[run.run_id] = own
        return own

    def unreadable(self, phase: str) -> list[str]:
        """Say which runs of a phase, among those that were read so far, cannot be used, and why; newest first."""
        runs = [run for run in self._runs.values() if run and run.unreadable and run.phase == phase]
        newest_first = sorted(runs, key=lambda run: run.when, reverse=True)
        said = [unreadable_sentence(run) for run in newest_first[:_NAMED]]
        return [*said, *([f"and {len(runs) - _NAMED} more runs of {phase}"] if len(runs) > _NAMED else [])]

    def _indexed(self, index: str, phase: str) -> str:
        return f"tags.`{index}{schema.phase_key(*self.project.stored_as(phase))}` = '1'"


def unreadable_sentence(run: PhaseRun) -> str:
    """Say why a run cannot be read; empty for one that can."""
    return f"{run.phase} {run.short} cannot be used: {'; '.join(run.unreadable[:_NAMED])}" if run.unreadable else ""


def _is_answered(run: PhaseRun) -> bool:
    """Return whether the answer on a run is one of its question's options: people set the tag by hand as well."""
    options = run.question.get("options")
    letters = [one.get("letter") for one in options if isinstance(one, dict)] if isinstance(options, list) else []
    return run.answer.strip().upper() in letters
