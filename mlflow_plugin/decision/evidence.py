"""Collect the evidence for one phase from the tracking store and hand it to the rules. Reads, never writes.

`decide_phase` is the one decision function behind the backends, the phase's process, the command line and the Python
lookup.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from mlflow_plugin.checkpoints.store import newest_complete
from mlflow_plugin.decision.calls import given_by_program
from mlflow_plugin.decision.earlier import (
    ask_above,
    deleted_sentences,
    interrupted_before_edit,
    replaced_run,
    shorter_run,
)
from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.facts import Candidate, Evidence, Generations, Handover, Shorter
from mlflow_plugin.decision.graphs import good_downstream_anywhere, graphs_with
from mlflow_plugin.decision.handed import handover
from mlflow_plugin.decision.kept import with_kept_answer
from mlflow_plugin.decision.lineage import mixed_generations
from mlflow_plugin.decision.members import verdict_of
from mlflow_plugin.decision.past import estimate_phase
from mlflow_plugin.decision.reads import ReadsComparison
from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.decision.rules import decide, force, run_beside
from mlflow_plugin.decision.verdict import SupersededRun, Verdict
from mlflow_plugin.errors import UsageError
from mlflow_plugin.machine.liveness import Watch, is_alive
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.project.identity import Identity, recipe_of
from mlflow_plugin.project.parameters import local_path
from mlflow_plugin.project.project import AskAbove, Phase
from mlflow_plugin.store.artifacts import absent_root
from mlflow_plugin.store.history import History
from mlflow_plugin.store.input_artifacts import refuse_artifacts_by_hand
from mlflow_plugin.store.outputs import missing
from mlflow_plugin.store.run import PhaseRun


def decide_phase(
    request: Request,
    history: History | None = None,
    watch: Watch | None = None,
    like: ReadsComparison | None = None,
) -> Decision:
    """Return the verdict on a phase, with the evidence it rests on.

    Args:
        request: The phase, its parameters and its project.
        history: Runs that were read a moment ago, from a caller that has written nothing since.
        watch: Handed in by a caller that is going to act on the verdict: a run on another machine is then waited for
            until it was seen to be dead.
        like: The comparison for another run of the same matrix.

    Raises:
        UsageError: A parameter or a pinned run is wrong, or the request is for a whole matrix.
        MlflowException: The store does not answer.
    """
    if request.phase.matrix is not None:
        names = " ".join(f"-P {name}=VALUE" for name in request.phase.matrix.values)
        raise UsageError(f"{request.phase.name} has a matrix: name one of its runs with {names}.")
    history = history or History(request.client, request.experiment_id, request.project)
    collector = _Collector(request, history, watch, like)
    evidence = collector.evidence()
    verdict = _as_requested(request, evidence, decide(evidence))
    abandoned = tuple(collector.abandoned)
    decision = Decision(request, verdict, collector.identity, collector.inputs, history, abandoned, evidence.input_ages)
    return _for_all(with_kept_answer(decision))


def decide_whole(request: Request, history: History | None = None) -> Verdict:
    """Return the verdict on a phase as `decide_phase` does; on one with a matrix, that on the set of its runs."""
    return verdict_of(decide_phase, request, history)


def _for_all(decision: Decision) -> Decision:
    """Say in a question for which other runs of the matrix its answer counts."""
    names, verdict, in_all = decision.request.also_for, decision.verdict, decision.request.in_all
    if not names or verdict.action != "ask":
        return decision
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    reason = f"the same question is open for {some}: the answer counts for {'all of these' if names[1:] else 'both'}"
    reasons = (*verdict.reasons, reason, *([in_all] if in_all else []))
    return replace(decision, verdict=replace(verdict, reasons=reasons))


def _as_requested(request: Request, evidence: Evidence, verdict: Verdict) -> Verdict:
    """Apply `decide=beside` and `decide=rerun`, which need no question."""
    if request.decide == "beside" and verdict.action == "ask":
        return run_beside(evidence, verdict)
    forced = request.decide == "rerun" and request.force_allowed and not evidence.missing_inputs
    # An open question is answered by it instead, so that what the answer gives up is shown and written down. A run
    # that computes the same thing now is the re-run.
    if forced and not verdict.option("rerun") and verdict.action != "wait":
        return force(evidence)
    return verdict


class _Collector:
    def __init__(
        self, request: Request, history: History, watch: Watch | None, like: ReadsComparison | None = None
    ) -> None:
        self.request, self.history, self.phase, self.watch = request, history, request.phase, watch
        self._like = like
        self.abandoned: list[PhaseRun] = []
        self.inputs: dict[str, PhaseRun] = {}
        self.missing: list[str] = []
        self.identity: Identity | None = None
        self._reads: ReadsComparison | None = None
        self._findings: dict[str, Findings] = {}

    def evidence(self) -> Evidence:
        if not given_by_program.get():
            refuse_artifacts_by_hand(self.request.client, self.phase, {**self.request.values, **self.request.given})
        self._resolve_inputs()
        request, codes = self.request, self._like.codes if self._like else None
        recipe = recipe_of(request.project, self.phase, request.given, request.base, request.argv, codes)
        same: list[Candidate] = []
        if not self.missing:
            self.identity = Identity(recipe, {need: run.output_digest for need, run in self.inputs.items()})
            same = self._same()
        return Evidence(
            phase=self.phase,
            same=same,
            missing_inputs=self.missing,
            inputs=self.inputs,
            input_ages=self._ages(),
            stale=self._stale,
            current=lambda: self.history.latest(self.phase),
            downstream=self._downstream,
            estimate=lambda: self._estimate(self.phase),
            downstream_estimate=self._downstream_estimates,
            nearest=self._nearest,
            input_runs=self.history.run,
            replaced=self._replaced,
            edited=self._edited,
            deleted=self._deleted,
            generations=self._generations,
            handover=self._handover,
            unreadable_inputs=lambda: [said for need in self.missing for said in self.history.unreadable(need)],
            shorter=self._shorter,
            ask_above=AskAbove(0, 0) if self.request.ask_always else ask_above(self.phase),
            following=self.request.following,
            beside=self._beside(),
            observed=self.observed,
        )

    def _beside(self) -> str:
        """Say why a new run would leave `latest` as it is; empty when it would not."""
        if self.request.decide == "beside":
            return "decide=beside"
        made_from = [f"{run.phase} {run.short} was run beside" for run in self.inputs.values() if run.beside]
        return made_from[0] if made_from else ""

    def _same(self) -> list[Candidate]:
        """Return the runs of this identity.

        The phase's newest run is at hand already: when it has this identity and is good, no search is needed.
        """
        assert self.identity is not None
        newest = self.request.newest if self.phase.member else self.history.pointed_at(self.phase.name)
        if newest is not None and not self.identity.differences(newest.fingerprint, newest.parameters):
            candidates = self._candidates([newest])
            if any(self._settles(candidate) for candidate in candidates):
                return candidates
        runs = {run.run_id: run for run in self.history.same_identity(self.identity)}
        candidates = self._candidates(list(runs.values()))
        if any(self._settles(candidate) for candidate in candidates):
            return candidates
        # The digests have other parameters in them when the list under `ignore` was changed since.
        others = [run for run in self.history.computed(self.phase.name) if run.run_id not in runs]
        same = [run for run in others if not self.identity.differences(run.fingerprint, run.parameters)]
        both = [*candidates, *self._candidates(same)]
        return sorted(both, key=lambda one: one.run.started_at, reverse=True) if same else candidates

    def _settles(self, candidate: Candidate) -> bool:
        run = candidate.run
        usable = run.complete and not candidate.quarantine_reason and not candidate.faults
        if not usable or candidate.assumed or self.phase.grade(run.metrics) != "good":
            return False
        findings = self.observed(run)
        return not findings.changed and not findings.unclear

    def observed(self, run: PhaseRun) -> Findings:
        """Compare what a run read with what lies here now, once for each run."""
        if self._reads is None:
            self._reads = ReadsComparison(self.request, self.identity, decide_whole, self._like)
        if run.run_id not in self._findings:
            self._findings[run.run_id] = self._reads.findings(run)
        return self._findings[run.run_id]

    def _resolve_inputs(self) -> None:
        if self._like is None:
            self.history.read_ahead([self.phase.name, *self.phase.needs])
        for need in self.phase.needs:
            upstream = self.request.project.phases[need]
            pinned = self._pin(need)
            run = self.history.pinned(upstream, pinned) if pinned else self.history.latest(upstream)
            if run is None:
                self.missing.append(need)
            else:
                self.inputs[need] = run

    def _pin(self, need: str) -> str:
        name = f"{need}_run_id"
        chosen = self.request.given.get(name, self.request.values.get(name))
        if chosen not in (None, "", "latest"):
            return str(chosen)
        return self.request.inputs.get(need, "")

    def _candidates(self, runs: Sequence[PhaseRun]) -> list[Candidate]:
        candidates = []
        for run in runs:
            if run.run_id == self.request.own_run_id or run.reused_run_id:
                continue
            quarantine_reason = self.history.quarantine_reason(run)
            faults = missing(self.request.client, run) if run.complete and not quarantine_reason else ()
            computing = is_computing(run, self.watch)
            if run.is_open and not computing:
                self.abandoned.append(run)
            if not (run.complete or quarantine_reason) and run.first_checkpoint and not run.checkpoint:
                # Killed between the two. Or all were removed since.
                run = replace(run, checkpoint=newest_complete(run.artifact_uri))
            root = absent_root(run) if faults else None
            candidates.append(
                Candidate(
                    run,
                    live=computing,
                    resumable=bool(run.checkpoint),
                    quarantine_reason=quarantine_reason,
                    faults=faults,
                    unreachable=str(root or ""),
                    assumed=self._assumptions(run),
                )
            )
            if self._settles(candidates[-1]):
                break  # The newest good run settles it; older ones need no look.
        return candidates

    def _assumptions(self, run: PhaseRun) -> tuple[str, ...]:
        if self.identity is None:
            return ()
        return tuple(
            f"{run.phase} {run.short} has no parameter `{name}`; it is assumed that it used the default {value}"
            if name not in run.parameters
            else f"{run.phase} {run.short} used {name}={value}, but the content of that file then is not known"
            for name, value in self.identity.assumed(run.fingerprint, run.parameters).items()
        )

    def _replaced(self) -> PhaseRun | None:
        return replaced_run(self.request, self.identity, self.history) if self.identity else None

    def _edited(self) -> Candidate | None:
        """Return the interrupted run of other code from which the phase could go on."""
        run = interrupted_before_edit(self.request, self.identity, self.history) if self.identity else None
        if run is None or self.identity is None:
            return None
        found = [one for one in self._candidates([run]) if one.resumable and not one.live and not one.quarantine_reason]
        differs = "; ".join(self.identity.differences(run.fingerprint, run.parameters))
        return replace(found[0], differs=differs) if found and differs else None

    def _deleted(self) -> Sequence[str]:
        return deleted_sentences(self.phase, self.identity, self.history) if self.identity else ()

    def _generations(self) -> Generations:
        return mixed_generations(self.history, self.request.project, self.inputs)

    def _shorter(self) -> Shorter | None:
        found = shorter_run(self.request, self.identity, self.history) if self.identity else None
        return None if found is None or self.observed(found.run).changed else found

    def _handover(self) -> Handover:
        return handover(self.history, self.request.project, self.inputs)

    def _stale(self) -> Sequence[Candidate]:
        if self.identity is None or not self.phase.needs:
            return ()
        runs = [run for run in self.history.same_config(self.identity) if run.complete]
        return self._candidates(runs)

    def _ages(self) -> dict[str, float]:
        """Return the seconds since each upstream run completed and since each local path parameter was changed."""
        if self.phase.max_age_seconds is None:
            return {}
        now = datetime.now(UTC)
        each = [(need, run) for need, of_need in self.inputs.items() for run in of_need.each]
        ages = {f"{need} {run.short}": (now - run.when).total_seconds() for need, run in each}
        for parameter in self.phase.result_parameters:
            value = self.request.values[parameter.name]
            if parameter.type == "path" and (path := local_path(str(value), self.request.base, self.request.argv)):
                ages[str(value)] = time.time() - path.stat().st_mtime
        return ages

    def _downstream(self) -> Sequence[SupersededRun]:
        """Return the good runs that were built on the phase's newest run and would become stale."""
        asking, shown = next(graphs_with(self.request, self.history))
        current = asking.latest(shown)
        return good_downstream_anywhere(self.request, self.history, current) if current else ()

    def _estimate(self, phase: Phase) -> Estimate | None:
        return estimate_phase(self.history, phase, self.request.values, self.request.price())

    def _downstream_estimates(self) -> Sequence[tuple[str, Estimate | None]]:
        """Return the later phases that were run before, and so would have to be run again, with their estimates."""
        found: dict[str, Estimate | None] = {}
        for history, shown in graphs_with(self.request, self.history):
            for phase in history.project.downstream(shown.name):
                if phase.name not in found and history.latest(phase) is not None:
                    found[phase.name] = estimate_phase(history, phase, {}, self.request.price())
        return list(found.items())

    def _nearest(self) -> str:
        """Describe how the most similar recent run differs from the request; the newest of several."""
        if self.identity is None:
            return ""
        complete = [run for run in self.history.computed(self.phase.name) if run.complete and not run.unreadable]
        compared = [(run, self.identity.differences(run.fingerprint, run.parameters)) for run in complete]
        run, differences = min(compared, key=lambda pair: len(pair[1]), default=(None, []))
        return f"{self.phase.name} {run.short} differs in {'; '.join(differences)}" if run and differences else ""


def is_computing(run: PhaseRun, watch: Watch | None = None) -> bool:
    """Return whether a run is on its way to completion and its process is alive.

    Args:
        run: A run whose work nobody has taken over counts.
        watch: Runs on other machines as this process has watched them; without it the age of the last heartbeat
            decides.
    """
    if not run.is_open or run.successor:
        return False
    return watch.is_alive(run.run_id, run.heartbeat) if watch else is_alive(run.heartbeat, time.time())
