"""Remember the answers that kept a run, so that the same question is not asked twice. Reads, never writes."""

from dataclasses import replace

from mlflow_plugin.decision.request import Decision
from mlflow_plugin.format import clock
from mlflow_plugin.project.digests import value_digest
from mlflow_plugin.store.outputs import missing
from mlflow_plugin.store.untrusted import mapping, moment


def question_key(decision: Decision) -> str:
    """Return a digest of what a question is about: the identity that was asked for and the reason for asking.

    The tag with it stands on the run that was kept. Empty when the question keeps no run.
    """
    identity, verdict = decision.identity, decision.verdict
    keeps = any(option.action == "reuse" and option.decide == "reuse" for option in verdict.options)
    if identity is None or not keeps:
        return ""
    state = verdict.observed.state if verdict.observed else ""
    return value_digest([identity.digests(), verdict.kind, state, _times_too_old(decision)])[:32]


def _times_too_old(decision: Decision) -> list[int]:
    """Return how many times over the limit each input is too old: an answer holds until one more such time is up."""
    limit = decision.request.phase.max_age_seconds
    if decision.verdict.kind != "old" or not limit:
        return []
    return [int(age // limit) for age in decision.input_ages.values() if age > limit]


def with_kept_answer(decision: Decision) -> Decision:
    """Return the decision to reuse a run that a person has kept when the same was asked before, else the decision.

    The run must not be quarantined and have all its files: what was agreed to is then still there.
    """
    verdict, request = decision.verdict, decision.request
    if verdict.action != "ask" or request.decide in ("rerun", "beside"):
        return decision
    kept, key = decision.history.run(verdict.run_id or ""), question_key(decision)
    answer = mapping(kept.kept.get(key)) if kept and key else {}
    if kept is None or not answer or decision.history.quarantine_reason(kept) or missing(request.client, kept):
        return decision
    at = moment(str(answer.get("at")))
    by = f"kept by {str(answer.get('by') or 'unknown')[:100]}{f' on {clock(at)}' if at else ''}"
    reused = replace(verdict, action="reuse", reasons=(*verdict.reasons, by), options=(), invalidates=())
    return replace(decision, verdict=reused)
