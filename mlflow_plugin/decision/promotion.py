"""A run that was made beside is asked for again without `beside`: it becomes the latest of its phase. Pure."""

from mlflow_plugin.decision.asking import ask, keep_option
from mlflow_plugin.decision.facts import Evidence, described
from mlflow_plugin.decision.superseding import is_costly, superseding_sentence
from mlflow_plugin.decision.verdict import Option, SupersededRun, Verdict
from mlflow_plugin.store.run import PhaseRun


def promotion_reasons(evidence: Evidence, run: PhaseRun) -> list[str]:
    if evidence.beside:
        return [f"`latest` stays as it is ({evidence.beside})"]
    if not run.beside:
        return []
    later = _stale_by_promotion(evidence, run)
    return ["it was run beside and becomes the latest", *([superseding_sentence(evidence, later)] if later else [])]


def _stale_by_promotion(evidence: Evidence, run: PhaseRun) -> tuple[SupersededRun, ...]:
    """Return the good runs that become stale when a run that was made beside becomes the latest."""
    current = evidence.current()
    if current is None or current.output_digest == run.output_digest:
        return ()
    return tuple(evidence.downstream())


def ask_promotion(evidence: Evidence, run: PhaseRun) -> Verdict | None:
    """Ask before a run that was made beside becomes the latest, when good runs become stale that are costly."""
    stale, current, phase = _stale_by_promotion(evidence, run), evidence.current(), evidence.phase
    if current is None or not is_costly(evidence, stale):
        return None
    name = described(phase, run)
    use = f"Use {name} from now on; {superseding_sentence(evidence, stale).removeprefix('this ')}"
    for_this = f"Use {name} here, and leave {described(phase, current)} the latest"
    options = (
        keep_option(evidence, current, stale),
        Option("", "rerun", use, (), stale, action="reuse", run_id=run.run_id),
        Option("", "beside", for_this, action="reuse", run_id=run.run_id),
    )
    reasons = (f"{name} has the same parameters, code and inputs, and was run beside {described(phase, current)}",)
    return ask(evidence, "beside", current, reasons, options, stale)
