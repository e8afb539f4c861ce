"""Everything that is written to the tracking store about a phase: how its runs start, ask, wait, end and are reused.

The base classes make runs (`run_creation`) and write single entries on them (`store.run_writer`).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.graphs import good_downstream_anywhere
from mlflow_plugin.decision.kept import question_key
from mlflow_plugin.decision.question import question_json
from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.decision.verdict import Option
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.activity import lost_heartbeat
from mlflow_plugin.execution.experiment_tags import declare, point
from mlflow_plugin.execution.prompt import option_commands
from mlflow_plugin.execution.run_description import failed, pipeline_done, reused
from mlflow_plugin.execution.set_records import SetRecords
from mlflow_plugin.execution.tags import ancestor_tags, expected_metrics, index, named, superseded_runs
from mlflow_plugin.machine.hardware import detect_hardware
from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.machine.prices import Price, cost_usd
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History, phase_run
from mlflow_plugin.store.lock import CHOOSING
from mlflow_plugin.store.outputs import OutputFiles
from mlflow_plugin.store.provenance import code_json, code_of, environment_json, keep
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import NOTE, clipped, dumps, now
from mlflow_plugin.store.sets import sets_of

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Completion:
    """The result of a finished phase. Seconds; the price is for an hour; `description` has the run's name,
    its description, and the values of its metrics that are kept.
    """

    output_digest: str
    outputs: OutputFiles
    duration_seconds: float
    price: Price
    grade: str
    description: Mapping[str, str]


@dataclass(frozen=True)
class Work:
    """A phase that is being computed: the request, its upstream runs, and the ids of the runs that it supersedes."""

    request: Request
    inputs: Mapping[str, PhaseRun]
    supersedes: tuple[str, ...] = ()


class Records(SetRecords):
    """Writes what happens to the runs of phases. Every method leaves the store readable when it is the last one."""

    # --- starting ---

    def write_lock_entry(self, run_id: str, decision: Decision, entry: str) -> None:
        """Write a run's entry for the lock on an identity in one request, so that it is seen whole or not at all."""
        assert decision.identity is not None
        request = decision.request
        tags = {f"{schema.LOCK_INDEX}{digest}": entry for digest in decision.identity.digests()}
        if entry == CHOOSING:
            tags |= {
                schema.FORMAT: str(schema.FORMAT_VERSION),
                schema.NAME: request.phase.name,
                schema.PROJECT: request.project.name,
                schema.FINGERPRINT: decision.identity.fingerprint(),
                schema.HEARTBEAT: dumps(new_heartbeat()),
            }
        self._tag(run_id, tags)

    def start(self, run_id: str, decision: Decision) -> None:
        """Record that a run computes this phase: findable by its identity, alive from now on."""
        verdict = decision.verdict
        computed = schema.COMPUTED_INDEX + schema.phase_key(decision.request.project.name, decision.request.phase.name)
        tags = {
            **named(decision),
            computed: "1",
            schema.VERDICT: verdict.action,
            schema.HEARTBEAT: dumps(new_heartbeat()),
        }
        if verdict.action == "resume" and verdict.run_id:
            tags[schema.RESUMED_FROM] = verdict.run_id
        if verdict.beside:
            tags[schema.BESIDE] = verdict.beside
        if superseded := superseded_runs(decision):
            tags[schema.SUPERSEDES] = ",".join(sorted(superseded))
        if decision.identity:
            tags |= index(decision.identity, decision.inputs, decision.request.project.name)
        hardware = detect_hardware()
        tags |= {schema.HARDWARE: hardware.describe(), schema.HARDWARE_KEY: hardware.key}
        self.log_pins(run_id, {need: used.run_id for need, used in decision.inputs.items()})
        self._tag(run_id, tags, expected_metrics(verdict.estimate))
        declare(self.client, decision)
        if decision.identity:
            request, recipe = decision.request, decision.identity.recipe
            code = partial(code_of, request.project.directory, request.phase.command, recipe.files, recipe.elsewhere)
            keep(self.client, run_id, schema.CODE_FILE, lambda: code_json(code()))

    def environment(self, run_id: str, facts: Mapping[str, object]) -> None:
        """Record the environment that a run is computed in; see `machine.environment_facts`."""
        keep(self.client, run_id, schema.ENVIRONMENT_FILE, lambda: environment_json(facts))

    # --- questions ---

    def wait(self, run_id: str, decision: Decision) -> None:
        """Record that a run waits for a duplicate run."""
        self._tag(run_id, {**named(decision), schema.VERDICT: "wait", schema.HEARTBEAT: dumps(new_heartbeat())})

    def ask(self, run_id: str, decision: Decision) -> None:
        """Record that a run needs an answer, with the question and all its options."""
        self._tag(
            run_id,
            {
                **named(decision),
                schema.VERDICT: "ask",
                schema.QUESTION: question_json(decision.verdict, option_commands(decision.request, decision.verdict)),
                schema.HEARTBEAT: dumps(new_heartbeat()),
            },
        )
        declare(self.client, decision)

    def remember_kept(self, decision: Decision, kept: PhaseRun, by: str) -> None:
        """Record on a run that a person kept it, so that the same question is not asked again."""
        if key := question_key(decision):
            with suppress(MlflowException):  # It may only be read: then it is asked again.
                self.client.set_tag(kept.run_id, schema.KEPT + key, dumps({"by": by, "at": now()}))

    # --- ending ---

    def complete(self, run_id: str, work: Work, completion: Completion) -> None:
        """Record the result of a computed phase. The completion marker comes last, so that half a result is never
        found.
        """
        request = work.request
        # Hours may have passed since the verdict: the store's present content counts.
        history = History(self.client, request.experiment_id, request.graph or request.project)
        own = history if request.graph is None else History(self.client, request.experiment_id, request.project)
        before = _readable(lambda: history.latest(request.shown))
        self.metrics(
            run_id,
            {
                schema.DURATION_SECONDS: completion.duration_seconds,
                schema.COST_USD: cost_usd(completion.duration_seconds, completion.price),
            },
        )
        beside = bool(self.client.get_run(run_id).data.tags.get(schema.BESIDE))
        moved = not beside and point(self.client, work.request, run_id, completion.grade, before)
        self._tag(
            run_id,
            {
                **completion.description,
                schema.OUTPUTS: completion.outputs.to_tag(),
                schema.OUTPUT_DIGEST: completion.output_digest,
                schema.COMPLETED_AT: now(),
            },
        )
        if moved and before is not None and before.output_digest != completion.output_digest:
            superseded = _readable(lambda: good_downstream_anywhere(request, own, before)) or []
            sets = (_readable(lambda: sets_of(history, before)) or []) if request.phase.member else []
            ids = {*(one.run_id for one in superseded), *(one.run_id for one in sets), *work.supersedes}
            self.invalidate(ids, run_id)
        self.end(run_id, "FINISHED")

    def reuse(self, run_id: str, decision: Decision, source: PhaseRun, answer: Option | None = None) -> None:
        """Record that an earlier run's outputs count; without `beside` it becomes the latest of its phase.

        The earlier run stays as it is, but for marks that no longer hold.
        """
        phase, verdict = decision.request.phase, decision.verdict
        # Made with other parameters than this run shows, its figures would mislead here.
        kept = [] if verdict.kind == "downstream" else sorted(phase.judged_metrics)
        self.metrics(
            run_id,
            {
                **{name: source.metrics[name] for name in kept if name in source.metrics},
                schema.SAVED_SECONDS: source.duration_seconds or 0.0,
                schema.SAVED_USD: source.cost_usd or 0.0,
            },
        )
        self.log_pins(run_id, source.inputs)
        lineage = {source.run_id, *source.ancestors}
        if verdict.beside:
            self._tag(run_id, {schema.BESIDE: verdict.beside})
        else:
            self._use_from_now_on(decision, source, "accepted" if answer or verdict.kind != "same" else "good")
        self._tag(
            run_id,
            {
                **named(decision),
                **{schema.INPUT_PREFIX + need: used for need, used in source.inputs.items()},
                schema.VERDICT: "reuse",
                **reused(phase, decision.request.values, decision.verdict, source),
                schema.REUSED_RUN_ID: source.run_id,
                **ancestor_tags(lineage),
                schema.OUTPUT_DIGEST: source.output_digest,
                schema.HARDWARE: source.hardware,
                schema.COMPLETED_AT: now(),
            },
        )
        declare(self.client, decision)
        self.end(run_id, "FINISHED")

    def _use_from_now_on(self, decision: Decision, source: PhaseRun, grade: str) -> None:
        """Make a reused run the latest of its phase."""
        # A run that was made beside is one of the others from now on, and must be before the pointer names it.
        for tag, marked in ((schema.BESIDE, source.beside), (schema.INVALIDATED_BY, source.invalidated_by)):
            if marked:
                with suppress(MlflowException):
                    self.client.delete_tag(source.run_id, tag)
        point(self.client, decision.request, source.run_id, grade, None)
        if source.beside:
            self.invalidate((one.run_id for one in decision.verdict.invalidates), source.run_id)

    def fail(self, run_id: str, reason: str, decision: Decision | None = None, status: str = "FAILED") -> None:
        """End a run without a result. Nothing that it logged is removed."""
        self.log_pins(run_id, {})
        tags = named(decision) if decision else {}
        note = tags.get(NOTE) or self.client.get_run(run_id).data.tags.get(NOTE, "")
        ended = {schema.ENDED: status, schema.REASON: clipped(reason)}
        self._tag(run_id, {**tags, **ended, **failed(note, status, reason)})
        self.end(run_id, status)

    def end_pipeline(self, run_id: str, phase_run_ids: Iterable[str]) -> None:
        """End a pipeline's run with the sums of the duration, cost and savings of its phases."""
        runs = [phase_run(self.client.get_run(phase_run_id)) for phase_run_id in phase_run_ids]
        summed = (schema.DURATION_SECONDS, schema.COST_USD, schema.SAVED_SECONDS, schema.SAVED_USD)
        total = {name: sum(run.metrics.get(name, 0.0) for run in runs) for name in summed} if runs else {}
        self._tag(run_id, pipeline_done(runs), total)
        self.end(run_id, "FINISHED")

    def keep_reports(self, run_id: str, folder: str) -> None:
        """Upload the files of a folder as a pipeline's reports."""
        self.client.log_artifacts(run_id, folder, schema.REPORTS_FOLDER)

    def end_unfinished(self, run: PhaseRun, reason: str, status: str = "FAILED") -> None:
        """End a run without a result, unless its own process has recorded how it ended."""
        if run.status == "RUNNING":
            self.fail(run.run_id, reason, status=status)

    # --- the dead ---

    def presume_dead(self, run: PhaseRun, what_next: str) -> None:
        """End a run that lost its heartbeat. It stays resumable; if it is alive after all, its next heartbeat undoes
        this.
        """
        # It may have ended well between the look at its tags and the look at its process.
        now_stored = phase_run(self.client.get_run(run.run_id))
        if now_stored.status == run.status and not now_stored.complete:
            reason = clipped(f"{lost_heartbeat(run)}; {what_next}")
            self._tag(run.run_id, {schema.REASON: reason, schema.PRESUMED_DEAD: now()})
            self.end(run.run_id, "KILLED")

    def take_over(self, run: PhaseRun, successor_id: str) -> bool:
        """Take over a dead run's work: it publishes nothing from now on, even if its process wakes up.

        Returns:
            False when the run had completed by then; it is left as it was.
        """
        self._tag(run.run_id, {schema.SUCCESSOR: successor_id})
        # Read after the write: whichever of the two is done first, the other is seen.
        if phase_run(self.client.get_run(run.run_id)).complete:
            self.client.delete_tag(run.run_id, schema.SUCCESSOR)
            return False
        self.fail(run.run_id, f"{lost_heartbeat(run)}; run {successor_id} took over its work", status="KILLED")
        return True


def _readable(look: Callable[[], _Found]) -> _Found | None:
    """Return what `look` finds; None for runs that this version cannot read: they must not cost the run that just
    ended.
    """
    try:
        return look()
    except PhaseError:
        return None
