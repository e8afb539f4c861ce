"""Estimate a phase from its earlier runs, at this machine's price."""

from collections.abc import Iterable, Mapping

from mlflow_plugin.decision.estimate import Estimate, PastRun, estimate
from mlflow_plugin.machine.hardware import detect_hardware
from mlflow_plugin.machine.prices import Price, cost_usd
from mlflow_plugin.project.parameters import Value, unquoted
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun


def estimate_phase(history: History, phase: Phase, values: Mapping[str, Value], price: Price) -> Estimate | None:
    """Return the estimate for a phase on this machine from its earlier runs; a size that is not given is the newest
    run's.
    """
    past = past_runs(phase, history.computed(phase.name))
    if not past:
        return None
    sizes = sizes_of(phase, {name: str(value) for name, value in values.items()}) or past[0].size
    expected = estimate(past, detect_hardware().key, sizes)
    if expected is None:
        return None
    # Priced as of today on this machine, not as it was priced when the earlier runs were made.
    usd = cost_usd(expected.seconds, price)
    return Estimate(expected.seconds, expected.low, expected.high, expected.runs, expected.like_hardware, usd)


def past_runs(phase: Phase, runs: Iterable[PhaseRun]) -> list[PastRun]:
    """Return the complete runs among a phase's runs as the estimate needs them, in their order."""
    return [
        PastRun(run.duration_seconds, run.hardware_key, sizes_of(phase, run.parameters), run.cost_usd)
        for run in runs
        if run.complete and run.duration_seconds is not None
    ]


def sizes_of(phase: Phase, parameters: Mapping[str, str]) -> dict[str, float]:
    """Return the parameters that a phase declares as its size, as numbers; those that are no numbers are left out."""
    sizes = {}
    for name in phase.size:
        try:
            sizes[name] = float(unquoted(parameters[name]))
        except (KeyError, ValueError):
            continue
    return sizes
