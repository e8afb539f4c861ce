"""Every lookup in the tracking store. Reads, never writes."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow.entities import Experiment, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.identity import Identity
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store import schema
from mlflow_plugin.store.lock import WITHDRAWN
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_decoding import mapping, moment, phase_run

__all__ = ["NO_EXPERIMENT", "History", "moment", "phase_run"]

NO_EXPERIMENT = ""
"""Stands for an experiment that does not exist yet, in which nothing has been run."""
_AT_MOST = 20
_ALL = 50_000
_NEWEST = 50
_PAGE = 250


class History:
    """The runs of one project's phases in one experiment.

    It keeps what it has read for as long as it lives: make a new one for each verdict.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, project: Project) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.project = project
        self._runs: dict[str, PhaseRun | None] = {}
        self._read_experiment: Experiment | None = None
        self._quarantined: dict[str, dict[str, PhaseRun]] = {}
        self._newest: list[PhaseRun] | None = None
        self._running: list[PhaseRun] | None = None
        self._dead: list[PhaseRun] | None = None
        self._from_bytes: dict[str, tuple[int, list[PhaseRun]]] = {}
        self._recent: dict[str, tuple[int, list[PhaseRun]]] = {}

    # --- single runs ---

    def runs(self, run_ids: Iterable[str]) -> dict[str, PhaseRun]:
        """Return the active runs among these ids, with one request for those that were not read before."""
        wanted = {run_id for run_id in run_ids if run_id}
        unread = sorted(wanted - set(self._runs))
        for start in range(0, len(unread), 100):
            part = unread[start : start + 100]
            if len(part) == 1:
                runs = self._get(part[0])
            else:
                quoted = ", ".join(f"'{run_id}'" for run_id in part if run_id.isalnum())
                runs = self.search(f"attributes.run_id IN ({quoted})", len(part)) if quoted else []
                # A search sees this experiment alone; a pinned run may be of another.
                elsewhere = {run_id for run_id in part if run_id.isalnum()} - {run.run_id for run in runs}
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
        return [phase_run(run)] if run.info.lifecycle_stage == "active" else []

    def run(self, run_id: str) -> PhaseRun | None:
        """Return an active run; None when there is none of this id."""
        return self.runs([run_id]).get(run_id) if run_id else None

    def search(
        self, filter_string: str, max_results: int = _AT_MOST, experiment_id: str = "", *, deleted_too: bool = False
    ) -> list[PhaseRun]:
        """Return the runs that match, newest first (MLflow's default order); active ones unless told otherwise."""
        where = experiment_id or self.experiment_id
        if where == NO_EXPERIMENT:
            return []
        view = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY
        runs = self.client.search_runs([where], filter_string, view, max_results)
        self._runs.update({run.info.run_id: phase_run(run) for run in runs if run.info.lifecycle_stage == "active"})
        return [phase_run(run) for run in runs]

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

    # --- the newest run of a phase ---

    def pointer(self, phase: str) -> dict[str, Any]:
        """Return the experiment's record of a phase's newest usable run: `run_id`, `output_digest`, `grade`."""
        return mapping(self.experiment_tags().get(schema.LATEST + schema.phase_key(self.project.name, phase)))

    def latest(self, phase: Phase) -> PhaseRun | None:
        """Return the newest complete run of a phase that is good enough and not quarantined, or None.

        Good enough is a run that a person accepted, or one that is good with all gates passed; without any such run, a
        borderline one.
        """
        run, accepted = self.pointed_at(phase.name), self.pointer(phase.name).get("grade") == "accepted"
        # The bounds may have been changed, and metrics logged, since the pointer was written.
        if run and not self.quarantine_reason(run) and (accepted or phase.grade(run.metrics) == "good"):
            return run
        return self._latest_by_search(phase)

    def pointed_at(self, phase: str) -> PhaseRun | None:
        """Return the run that the experiment's pointer names, if it is a complete run of that phase."""
        run = self.run(str(self.pointer(phase).get("run_id", "")))
        return run if run and run.complete and run.phase == phase else None

    def read_ahead(self, phases: Iterable[str]) -> None:
        """Read in one go what every verdict needs: the runs that these phases' pointers name, and quarantined runs."""
        if not self.client.tracking_uri.startswith("http"):
            self._read_pointers(phases)
            return
        # A server can answer both at once, and waiting is most of what a request costs.
        with ThreadPoolExecutor(max_workers=1) as pool:
            quarantined = pool.submit(self.quarantined, self.experiment_id)
            self._read_pointers(phases)
            quarantined.result()

    def _read_pointers(self, phases: Iterable[str]) -> None:
        self.runs(str(self.pointer(phase).get("run_id", "")) for phase in phases)

    def _latest_by_search(self, phase: Phase) -> PhaseRun | None:
        borderline = None
        for run in self._one_after_another(phase.name):
            reused = self.run(run.reused_run_id) if run.reused_run_id else run
            if not run.complete or reused is None or not reused.complete or self.quarantine_reason(reused):
                continue
            grade = phase.grade(reused.metrics)
            if grade == "good" or (run.reused_run_id and run.answer):
                return reused
            borderline = borderline or (reused if grade == "borderline" else None)
        return borderline

    def _one_after_another(self, phase: str) -> Iterator[PhaseRun]:
        """Yield the newest 200 runs of a phase, newest first, in two reads: mostly one of the first ten will do."""
        seen = 0
        for at_most in (10, 200):
            runs = self.recent(phase, at_most)
            yield from runs[seen:]
            seen = len(runs)
            if seen < at_most:
                return

    def recent(self, phase: str, at_most: int = _AT_MOST) -> list[PhaseRun]:
        """Return the newest runs of a phase, however they ended."""
        return self._of_phase(schema.RUNS_INDEX, phase, at_most, lambda run: bool(run.verdict or run.reason))

    def computed(self, phase: str, at_most: int = _AT_MOST) -> list[PhaseRun]:
        """Return the newest runs of a phase that computed something, however they ended; reuses do not count."""
        return self._of_phase(schema.COMPUTED_INDEX, phase, at_most, lambda run: run.computing)

    def _of_phase(self, index: str, phase: str, at_most: int, counts: Callable[[PhaseRun], bool]) -> list[PhaseRun]:
        """Return the newest runs of a phase under an index, from earlier reads where these hold enough of them.

        With tens of thousands of runs in a phase, each such search takes a tenth of a second.
        """
        where = self._indexed(index, phase)
        if self._newest is not None:
            runs = [run for run in self._newest if self.is_own(run) and run.phase == phase and counts(run)]
            if len(runs) >= at_most or len(self._newest) < _NEWEST:
                return runs[:at_most]
        read, runs = self._recent.get(where, (0, []))
        if at_most > read and len(runs) == read:
            runs = self.search(where, at_most)
            self._recent[where] = (at_most, runs)
        return runs[:at_most]

    def _indexed(self, index: str, phase: str) -> str:
        return f"tags.`{index}{schema.phase_key(self.project.name, phase)}` = '1'"

    # --- what goes on ---

    def is_own(self, run: PhaseRun) -> bool:
        """Return whether a run is one of this project's phases."""
        return run.project == self.project.name and run.phase in self.project.phases

    def newest(self) -> list[PhaseRun]:
        """Return the newest runs of the experiment, of a phase or not.

        From then on `recent` and `computed` use these where they can, so that a look at all phases costs one search.
        """
        if self._newest is None:
            self._newest = self.search("", _NEWEST)
        return self._newest

    def running(self) -> list[PhaseRun]:
        """Return the project's newest runs that the store calls RUNNING and that have not completed."""
        if self._running is None:
            runs = self.search("attributes.status = 'RUNNING'", _NEWEST)
            self._running = [run for run in runs if self.is_own(run) and not run.successor and not run.complete]
        return self._running

    def unended(self) -> list[PhaseRun]:
        """Return the project's newest runs that are RUNNING, or lost their heartbeat without a successor."""
        if self._dead is None:
            marked = self.marked(schema.PRESUMED_DEAD, _NEWEST)
            self._dead = [run for run in marked if not run.successor and not run.complete]
        runs = {run.run_id: run for run in (*self.running(), *self._dead)}
        return sorted(runs.values(), key=lambda run: run.started_at, reverse=True)

    def asking(self) -> list[PhaseRun]:
        """Return the project's newest runs with an unanswered question, whether they still wait or have ended."""
        asked = self.search(f"tags.`{schema.QUESTION}` LIKE '%' AND tags.`{schema.VERDICT}` = 'ask'", _NEWEST)
        return [run for run in asked if self.is_own(run) and not _is_answered(run)]

    def all_of(self, phase: str, within_seconds: float) -> tuple[list[PhaseRun], bool]:
        """Return the runs of a phase, newest first, and whether these are all: reading stops after `within_seconds`."""
        if self._newest is not None and len(self._newest) < _NEWEST:
            return self.recent(phase, _NEWEST), True
        runs: list[PhaseRun] = []
        began, token, where = time.monotonic(), None, self._indexed(schema.RUNS_INDEX, phase)
        while self.experiment_id != NO_EXPERIMENT:
            part = self.client.search_runs([self.experiment_id], where, max_results=_PAGE, page_token=token)
            runs += [phase_run(run) for run in part]
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
        return [run for run in map(phase_run, runs) if self.is_own(run)]

    def made_from(self, run: PhaseRun, at_most: int) -> list[PhaseRun]:
        """Return the runs of this experiment that have this very run as an input, directly or not; at most so many."""
        later_runs: dict[str, PhaseRun] = {}
        pending = [run]
        while pending and len(later_runs) < at_most:
            where = f"tags.`{schema.INPUT_INDEX}{pending.pop().run_id}` = '1'"
            later = [one for one in self.search(where, at_most) if one.run_id not in later_runs]
            later_runs |= {one.run_id: one for one in later}
            pending += later
        return sorted(later_runs.values(), key=lambda one: one.when, reverse=True)[:at_most]

    def pinned(self, phase: Phase, run_id: str) -> PhaseRun:
        """Return the run that the caller chose as an input. Raises UsageError when it cannot feed the phase, and says
        why.
        """
        run = self.run(run_id)
        if run is None:
            raise UsageError(f"{phase.name}_run_id={run_id}: there is no such run in this tracking store.")
        if run.phase != phase.name:
            what = f"a run of {run.phase}" if run.phase else "no phase run"
            raise UsageError(f"{phase.name}_run_id={run_id}: that is {what}, not of {phase.name}.")
        if run.project != self.project.name:
            raise UsageError(f"{phase.name}_run_id={run_id}: that is a run of the project {run.project!r}.")
        if run.reused_run_id:
            run = self.pinned(phase, run.reused_run_id)
        if not run.complete:
            raise UsageError(f"{phase.name}_run_id={run_id}: that run never completed ({run.status.lower()}).")
        if quarantine_reason := self.quarantine_reason(run):
            raise UsageError(
                f"{phase.name}_run_id={run_id}: {quarantine_reason}. Choose another, or lift the quarantine."
            )
        return run

    # --- candidates ---

    def same_identity(self, identity: Identity) -> list[PhaseRun]:
        """Return all runs of this identity, newest first: the good run before many failed starts counts."""
        return self._by_digests(schema.IDENTITY_INDEX, identity, identity.digests(), _ALL, inputs=True)

    def same_config(self, identity: Identity) -> list[PhaseRun]:
        """Return the runs with the same parameters and code, whatever their inputs, newest first."""
        return self._by_digests(schema.CONFIG_INDEX, identity, identity.config_digests(), _AT_MOST, inputs=False)

    def _by_digests(
        self, index: str, identity: Identity, digests: Iterable[str], at_most: int, *, inputs: bool
    ) -> list[PhaseRun]:
        filters = [f"tags.`{index}{digest}` = '1'" for digest in digests]
        runs = {run.run_id: run for where in filters for run in self.search(where, at_most)}
        # Two runs can share the sparse digest when a default was changed between them.
        same = [run for run in runs.values() if not identity.differences(run.fingerprint, inputs=inputs)]
        return sorted(same, key=lambda run: run.started_at, reverse=True)

    def lock_entries(self, identity: Identity) -> list[PhaseRun]:
        """Return the runs with an entry for the lock on this identity that was not withdrawn. Always read anew."""
        runs: dict[str, PhaseRun] = {}
        for digest in dict.fromkeys(identity.digests()):
            filter_string = f"tags.`{schema.LOCK_INDEX}{digest}` != '{WITHDRAWN}'"
            runs |= {run.run_id: run for run in self.search(filter_string, _ALL)}
        return [run for run in runs.values() if not identity.differences(run.fingerprint)]

    # --- lineage ---

    def quarantine_reason(self, run: PhaseRun) -> str:
        """Say why nothing may be built on a run: it or a run upstream of it is quarantined. Empty for a usable run."""
        if run.quarantined:
            return f"{run.phase} {run.short} is quarantined: {run.quarantined}"
        lineage = {*run.ancestors, *run.inputs.values()}
        for experiment_id in sorted({run.experiment_id, *run.experiments}):
            for marked in self.quarantined(experiment_id).values():
                if marked.run_id in lineage:
                    return f"{marked.phase} {marked.short} upstream of it is quarantined: {marked.quarantined}"
        return ""

    def quarantined(self, experiment_id: str) -> Mapping[str, PhaseRun]:
        """Return all quarantined runs of an experiment by id, deleted ones included.

        They are few: one search is cheaper than reading every ancestor of a run.
        """
        if experiment_id not in self._quarantined:
            runs = self.search(f"tags.`{schema.QUARANTINED}` LIKE '%'", _ALL, experiment_id, deleted_too=True)
            self._quarantined[experiment_id] = {run.run_id: run for run in runs}
        return self._quarantined[experiment_id]

    def used_by(self, run: PhaseRun) -> list[PhaseRun]:
        """Return runs that have a run as an input, in any experiment, deleted ones included; at most so many."""
        filter_string = f"tags.`{schema.INPUT_INDEX}{run.run_id}` = '1'"
        experiments = self.client.search_experiments(ViewType.ALL, max_results=_ALL)
        places = [experiment.experiment_id for experiment in experiments]
        runs = self.client.search_runs(places, filter_string, ViewType.ALL, _AT_MOST)
        return [phase_run(one) for one in runs]

    def downstream(self, run: PhaseRun, at_most: int = 100) -> list[PhaseRun]:
        """Return the runs that were made from a run's output bytes, directly or not, newest first, without reuses.

        A phase that was run again and gave the same bytes still has everything that was made from them before. Of the
        runs made from the very same bytes, `at_most` are returned.
        """
        downstream: dict[str, PhaseRun] = {}
        pending = {(run.phase, run.output_digest)} if run.output_digest else set()
        searched: set[tuple[str, str]] = set()
        while pending:
            output = pending.pop()
            searched.add(output)
            for later in self._made_from_bytes(*output, at_most):
                if not later.reused_run_id:
                    downstream[later.run_id] = later
                    if later.output_digest:
                        pending.add((later.phase, later.output_digest))
            pending -= searched
        return sorted(downstream.values(), key=lambda run: run.when, reverse=True)

    def _made_from_bytes(self, phase: str, output_digest: str, at_most: int) -> list[PhaseRun]:
        key = schema.output_key(self.project.name, phase, output_digest)
        if self._newest is not None:
            inputs = [
                (run, run.fingerprint.get("inputs")) for run in self._newest if self.is_own(run) and run.computing
            ]
            used = [run for run, digests in inputs if isinstance(digests, dict) and digests.get(phase) == output_digest]
            if len(used) >= at_most or len(self._newest) < _NEWEST:
                return used[:at_most]
        read, runs = self._from_bytes.get(key, (0, []))
        if at_most > read:
            runs = self.search(f"tags.`{schema.INPUT_BYTES_INDEX}{key}` = '1'", at_most)
            self._from_bytes[key] = (at_most, runs)
        return runs[:at_most]


def _is_answered(run: PhaseRun) -> bool:
    """Return whether the answer on a run is one of its question's options: people set the tag by hand as well."""
    options = run.question.get("options")
    letters = [one.get("letter") for one in options if isinstance(one, dict)] if isinstance(options, list) else []
    return run.answer.strip().upper() in letters
