"""Write the set of runs that a phase with a matrix leaves: a run above them, which later phases are made from."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.graphs import good_downstream_anywhere
from mlflow_plugin.decision.quality import quality_of, quality_text
from mlflow_plugin.decision.request import Request
from mlflow_plugin.execution.experiment_tags import point
from mlflow_plugin.execution.run_creation import RunCreator
from mlflow_plugin.execution.run_description import run_link, with_block
from mlflow_plugin.execution.tags import ancestor_tags
from mlflow_plugin.format import short
from mlflow_plugin.markdown import plain
from mlflow_plugin.project.matrix import label
from mlflow_plugin.project.members import Member
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import NOTE, RUN_NAME, clipped, dumps, now
from mlflow_plugin.store.sets import set_digest

__all__ = ["MemberRun", "SetRecords"]

_LISTED, _LONGEST = 50, 5000


@dataclass(frozen=True)
class MemberRun:
    """One run of a set.

    Attributes:
        member: Its place in the matrix.
        recorded: The run that was recorded for it now.
        result: The run whose outputs count: that one, or the one that it reuses.
    """

    member: Member
    recorded: PhaseRun
    result: PhaseRun

    @property
    def reused(self) -> bool:
        return self.recorded.run_id != self.result.run_id


class SetRecords(RunCreator):
    """Writes the runs above those of a matrix."""

    def create_set(
        self, request: Request, members: Sequence[Member], backend: str = "", parent_run_id: str = ""
    ) -> str:
        """Make a RUNNING run, under which the runs of a matrix nest, and return its id."""
        phase = request.phase
        run_id = self._create(request.project, phase.name, request.experiment_id, backend, parent_run_id)
        listed = {name: dict.fromkeys(one.values[name] for one in members) for name in members[0].values}
        values = {name: value for name, value in request.values.items() if name in phase.parameters}
        given = {**values, **request.given, **{name: ",".join(texts)[:_LONGEST] for name, texts in listed.items()}}
        needs = {f"{need}_run_id" for need in phase.needs}
        self.parameters(run_id, {name: value for name, value in given.items() if name not in needs})
        return run_id

    def complete_set(
        self, run_id: str, request: Request, asked_for: Sequence[Member], runs: Sequence[MemberRun], beside: str
    ) -> None:
        """Record a set of good runs as complete; without `beside` it becomes the latest of its phase.

        Args:
            run_id: The run above them.
            request: The request for the whole matrix.
            asked_for: All runs that were asked for.
            runs: Those of them that are good, in the order of the matrix.
            beside: Why it leaves `latest` as it is; empty when it does not.
        """
        phase, client = request.phase, self.client
        history = History(client, request.experiment_id, request.graph or request.project)
        before = history.latest(request.shown)
        if not beside:
            point(client, request, run_id, "good", None)
        place = {id(member): number for number, member in enumerate(asked_for, 1)}
        digest = set_digest(phase, [(one.member.values, one.result) for one in runs])
        computed = [one.result for one in runs if not one.reused]
        reason = f"{_count(len(runs), len(asked_for))}: {len(computed)} computed, {len(runs) - len(computed)} reused"
        worst = worst_of(phase, [one.result for one in runs])
        tags = {
            **self._names(request, reason),
            schema.VERDICT: "run",
            schema.OUTPUT_DIGEST: digest,
            schema.MATRIX: dumps({"count": len(asked_for)}),
            schema.SETS_INDEX + schema.phase_key(request.project.name, phase.name): "1",
            **{f"{schema.MEMBER_PREFIX}{place[id(one.member)]}": one.result.run_id for one in runs},
            **_lineage(request, [one.result for one in runs]),
            **({schema.BESIDE: beside} if beside else {}),
            RUN_NAME: f"{phase.name} ({_count(len(runs), len(asked_for))})",
            NOTE: with_block("", [plain(reason), *_table(phase, runs)]),
        }
        self._tag(run_id, tags, {**_judged(phase, worst), **_sums(runs)})
        self._tag(run_id, {schema.COMPLETED_AT: now()})
        if before is not None and not beside and before.output_digest != digest:
            own = History(client, request.experiment_id, request.project)
            self.invalidate((one.run_id for one in good_downstream_anywhere(request, own, before)), run_id)
        self.end(run_id, "FINISHED")

    def reuse_set(self, run_id: str, request: Request, earlier: PhaseRun, reason: str) -> None:
        """Record that an earlier set counts, all runs of which would be reused, and make it the latest."""
        phase = request.phase
        for one in (earlier, *earlier.each):
            if one.invalidated_by:
                with suppress(MlflowException):
                    self.client.delete_tag(one.run_id, schema.INVALIDATED_BY)
        point(self.client, request, earlier.run_id, "good", None)
        saved = {
            schema.SAVED_SECONDS: sum(one.duration_seconds or 0.0 for one in earlier.each),
            schema.SAVED_USD: sum(one.cost_usd or 0.0 for one in earlier.each),
        }
        tags = {
            **self._names(request, reason),
            **{schema.INPUT_PREFIX + need: used for need, used in earlier.inputs.items()},
            schema.VERDICT: "reuse",
            schema.MATRIX: dumps(earlier.matrix),
            schema.REUSED_RUN_ID: earlier.run_id,
            **ancestor_tags({earlier.run_id, *earlier.ancestors}),
            schema.OUTPUT_DIGEST: earlier.output_digest,
            schema.COMPLETED_AT: now(),
            RUN_NAME: f"{phase.name}: reuse of {earlier.short} ({_count(len(earlier.members), len(earlier.members))})",
            NOTE: with_block("", [f"**reuse** of {run_link(earlier)}: {plain(reason)}"]),
        }
        self._tag(run_id, tags, {**_judged(phase, worst_of(phase, list(earlier.each))), **saved})
        self.end(run_id, "FINISHED")

    def _names(self, request: Request, reason: str) -> dict[str, str]:
        return {
            schema.FORMAT: str(schema.FORMAT_VERSION),
            schema.NAME: request.phase.name,
            schema.PROJECT: request.project.name,
            schema.REASON: clipped(reason),
        }


def worst_of(phase: Phase, runs: Sequence[PhaseRun]) -> PhaseRun:
    """Return the run that a set is judged by: the one of the lowest grade, and of these that of the lowest quality."""
    order = ("poor", "unknown", "gate", "borderline", "good")
    sign = 1 if phase.quality is None or phase.quality.higher_is_better else -1

    def rank(run: PhaseRun) -> tuple[int, float]:
        value = quality_of(phase, run)
        return order.index(phase.grade(run.metrics)), 0.0 if value is None else sign * value

    return min(runs, key=rank)


def _judged(phase: Phase, run: PhaseRun) -> dict[str, float]:
    return {name: run.metrics[name] for name in phase.judged_metrics if name in run.metrics}


def _sums(runs: Sequence[MemberRun]) -> dict[str, float]:
    """Return what was spent now, and what the reused runs had cost."""
    computed = [one.result for one in runs if not one.reused]
    reused = [one.result for one in runs if one.reused]
    return {
        schema.DURATION_SECONDS: sum(one.duration_seconds or 0.0 for one in computed),
        schema.COST_USD: sum(one.cost_usd or 0.0 for one in computed),
        schema.SAVED_SECONDS: sum(one.duration_seconds or 0.0 for one in reused),
        schema.SAVED_USD: sum(one.cost_usd or 0.0 for one in reused),
    }


def _lineage(request: Request, runs: Sequence[PhaseRun]) -> dict[str, str]:
    """Return the tags by which a set is found from its runs, and everything upstream of them."""
    project = request.project.name
    ancestors = {used for run in runs for used in (run.run_id, *run.ancestors)}
    experiments = {experiment for run in runs for experiment in (run.experiment_id, *run.experiments)}
    tags = {
        **ancestor_tags(ancestors),
        schema.EXPERIMENTS: ",".join(sorted(experiments)),
        **_inputs(request, runs),
    }
    for run in runs:
        tags[schema.INPUT_INDEX + run.run_id] = "1"
        tags[schema.INPUT_BYTES_INDEX + schema.output_key(project, run.phase, run.output_digest)] = "1"
    return tags


def _inputs(request: Request, runs: Sequence[PhaseRun]) -> Mapping[str, str]:
    """Return the upstream run of each need; where the runs differ in it, that of the first which was made from another
    than the request names: the set is then as much out of date as that run.
    """
    tags = {}
    for need in request.phase.needs:
        used = [run.inputs[need] for run in runs if need in run.inputs]
        wanted = request.inputs.get(need, "")
        others = [run_id for run_id in used if run_id != wanted]
        if used:
            tags[schema.INPUT_PREFIX + need] = others[0] if others else used[0]
    return tags


def _count(good: int, asked_for: int) -> str:
    return f"{good} runs" if good == asked_for else f"{good} of {asked_for} runs"


def _table(phase: Phase, runs: Sequence[MemberRun]) -> list[str]:
    rows = [
        f"| {run_link(one.result, label(one.member.values))} | {plain(quality_text(phase, one.result))} | "
        f"{'reuse of ' + short(one.result.run_id) if one.reused else one.result.verdict} |"
        for one in runs[:_LISTED]
    ]
    more = [f"and {len(runs) - _LISTED} more"] if len(runs) > _LISTED else []
    return ["\n".join(["| run | quality | verdict |", "|---|---|---|", *rows]), *more]
