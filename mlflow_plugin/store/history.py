"""Every lookup in the tracking store that a verdict needs: the latest run, candidates, lineage. Reads, never writes."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.identity import Identity
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store import schema, sets
from mlflow_plugin.store.lock import WITHDRAWN
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_decoding import phase_run
from mlflow_plugin.store.run_reader import AT_MOST, NEWEST, NO_EXPERIMENT, RunReader, unreadable_sentence
from mlflow_plugin.store.untrusted import mapping, moment

__all__ = ["NO_EXPERIMENT", "History", "moment", "phase_run"]

_ALL = 50_000


class History(RunReader):
    """The runs of one project's phases in one experiment: the latest, the candidates, the lineage.

    It keeps what it has read for as long as it lives: make a new one for each verdict.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, project: Project) -> None:
        super().__init__(client, experiment_id, project)
        self._quarantined: dict[str, dict[str, PhaseRun]] = {}
        self._from_bytes: dict[str, tuple[int, list[PhaseRun]]] = {}

    # --- the newest run of a phase ---

    def pointer(self, phase: str) -> dict[str, Any]:
        """Return the experiment's record of a phase's newest usable run: `run_id`, `output_digest`, `grade`."""
        return mapping(self.experiment_tags().get(schema.LATEST + schema.phase_key(*self.project.stored_as(phase))))

    def latest(self, phase: Phase) -> PhaseRun | None:
        """Return the newest complete run of a phase that is good enough and not quarantined, or None.

        Good enough is a run that a person accepted, or one that is good with all gates passed; without any such run, a
        borderline one. Of a phase with a matrix it is the newest set of runs, and of one run of it the newest with its
        values.
        """
        if phase.matrix is not None:
            return sets.latest_set(self, phase)
        if phase.member:
            return self._latest_by_search(phase) or sets.latest_of_set(self, phase)
        run, accepted = self.pointed_at(phase.name), self.pointer(phase.name).get("grade") == "accepted"
        # The bounds may have been changed, and metrics logged, since the pointer was written.
        if run and not self.quarantine_reason(run) and (accepted or phase.grade(run.metrics) == "good"):
            return run
        return self._latest_by_search(phase)

    def pointed_at(self, phase: str) -> PhaseRun | None:
        """Return the run that the experiment's pointer names, if it is a complete run of that phase."""
        run = self.run(str(self.pointer(phase).get("run_id", "")))
        is_set = bool(run and run.members)
        own = run is not None and run.phase == phase and self.is_own(run)
        usable = own and run and run.complete and not run.beside and is_set == self._has_matrix(phase)
        return run if usable else None

    def _has_matrix(self, phase: str) -> bool:
        declared = self.project.phases.get(phase)
        return declared is not None and declared.matrix is not None

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
            if not sets.is_of_member(phase, run):
                continue
            reused = self.run(run.reused_run_id) if run.reused_run_id else run
            if run.beside or not run.complete or reused is None or not reused.complete or reused.beside:
                continue
            if self.quarantine_reason(reused) or (reused is not run and reused.reused_run_id):
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
        if (run.project, run.own_phase) != self.project.stored_as(phase.name):
            raise UsageError(f"{phase.name}_run_id={run_id}: that is a run of the project {run.project!r}.")
        if run.reused_run_id:
            reused = self.run(run.reused_run_id)
            if reused is not None and reused.reused_run_id:  # Nobody writes that; a cycle would have no end.
                raise UsageError(
                    f"{phase.name}_run_id={run_id}: it reuses {reused.short}, which computed nothing itself."
                )
            run = self.pinned(phase, run.reused_run_id)
        if not run.complete:
            raise UsageError(f"{phase.name}_run_id={run_id}: that run never completed ({run.status.lower()}).")
        if quarantine_reason := self.quarantine_reason(run):
            raise UsageError(
                f"{phase.name}_run_id={run_id}: {quarantine_reason}. Choose another, or lift the quarantine."
            )
        return sets.as_input(self, phase, run)

    # --- candidates ---

    def same_identity(self, identity: Identity) -> list[PhaseRun]:
        """Return all runs of this identity, newest first: the good run before many failed starts counts."""
        return self._by_digests(schema.IDENTITY_INDEX, identity, identity.digests(), _ALL, inputs=True)

    def same_config(self, identity: Identity) -> list[PhaseRun]:
        """Return the runs with the same parameters and code, whatever their inputs, newest first."""
        return self._by_digests(schema.CONFIG_INDEX, identity, identity.config_digests(), AT_MOST, inputs=False)

    def _by_digests(
        self, index: str, identity: Identity, digests: Iterable[str], at_most: int, *, inputs: bool
    ) -> list[PhaseRun]:
        filters = [f"tags.`{index}{digest}` = '1'" for digest in digests]
        runs = {run.run_id: run for where in filters for run in self.search(where, at_most)}
        # Two runs can share the sparse digest when a default was changed between them. Nonsense is not compared: the
        # run is no candidate, but the verdict names it.
        phase = self._called(identity)
        own = [self._as_own(run, phase) for run in runs.values()]
        same = [
            run
            for run in own
            if run.unreadable or not identity.differences(run.fingerprint, run.parameters, inputs=inputs)
        ]
        return sorted(same, key=lambda run: run.started_at, reverse=True)

    def _called(self, identity: Identity) -> str:
        """Return the name of the phase of an identity in this project."""
        phase = self.project.called_here.get((identity.recipe.project, identity.recipe.phase))
        return phase.name if phase else identity.recipe.phase

    def lock_entries(self, identity: Identity) -> list[PhaseRun]:
        """Return the runs with an entry for the lock on this identity that was not withdrawn. Always read anew."""
        runs: dict[str, PhaseRun] = {}
        for digest in dict.fromkeys(identity.digests()):
            filter_string = f"tags.`{schema.LOCK_INDEX}{digest}` != '{WITHDRAWN}'"
            runs |= {run.run_id: run for run in self.search(filter_string, _ALL)}
        return [run for run in runs.values() if not identity.differences(run.fingerprint, run.parameters)]

    def deleted_same(self, identity: Identity) -> list[PhaseRun]:
        """Return the complete runs of this identity that were deleted in MLflow and can still be restored, newest
        first.
        """
        if self.experiment_id == NO_EXPERIMENT:
            return []
        where = f"tags.`{schema.IDENTITY_INDEX}{identity.digests()[0]}` = '1'"
        found = self.client.search_runs([self.experiment_id], where, ViewType.DELETED_ONLY, AT_MOST)
        runs = [run for run in map(self._read, found) if run.complete and not run.quarantined and not run.unreadable]
        return [run for run in runs if not identity.differences(run.fingerprint, run.parameters)]

    # --- lineage ---

    def quarantine_reason(self, run: PhaseRun) -> str:
        """Say why nothing may be built on a run; empty for a usable one.

        It, or a run upstream of it, is quarantined, or what the store holds of it is nonsense.
        """
        if run.quarantined:
            return f"{run.phase} {run.short} is quarantined: {run.quarantined}"
        if run.unreadable:
            return unreadable_sentence(run)
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

    def used_by(self, run: PhaseRun) -> list[PhaseRun]:
        """Return runs that have a run as an input, in any experiment, deleted ones included; at most so many."""
        filter_string = f"tags.`{schema.INPUT_INDEX}{run.run_id}` = '1'"
        experiments = self.client.search_experiments(ViewType.ALL, max_results=_ALL)
        places = [experiment.experiment_id for experiment in experiments]
        runs = self.client.search_runs(places, filter_string, ViewType.ALL, AT_MOST)
        return [self._read(one) for one in runs]

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
                if not later.reused_run_id and not later.beside:
                    if not later.members:  # A set costs nothing; what was made from it follows.
                        downstream[later.run_id] = later
                    if later.output_digest:
                        pending.add((later.phase, later.output_digest))
            pending -= searched
        return sorted(downstream.values(), key=lambda run: run.when, reverse=True)

    def _made_from_bytes(self, phase: str, output_digest: str, at_most: int) -> list[PhaseRun]:
        key = schema.output_key(*self.project.stored_as(phase), output_digest)
        if self._newest is not None and not self._has_matrix(phase):  # A set shows the ids of its runs alone.
            inputs = [
                (run, run.fingerprint.get("inputs")) for run in self._newest if self.is_own(run) and run.computing
            ]
            used = [run for run, digests in inputs if isinstance(digests, dict) and digests.get(phase) == output_digest]
            if len(used) >= at_most or len(self._newest) < NEWEST:
                return used[:at_most]
        read, runs = self._from_bytes.get(key, (0, []))
        if at_most > read:
            runs = self.search(f"tags.`{schema.INPUT_BYTES_INDEX}{key}` = '1'", at_most)
            self._from_bytes[key] = (at_most, runs)
        return runs[:at_most]
