"""Say which runs of the tracking store a phase looked at that are no inputs of it: their content is not compared."""

from collections.abc import Set
from dataclasses import replace

from mlflow_plugin.observation.recording import Recording

_RUNS = "runs:/"
_NO_CERTAIN_RUN = "-"


def with_asked_runs(recording: Recording, known: Set[str]) -> Recording:
    """Return a recording that mentions the runs which the project's own code asked MLflow's client for.

    Args:
        recording: What was seen.
        known: The run itself, the runs that are its inputs, and the one that it resumes.
    """
    others = {run for run, _ in recording.asked if run not in known and run != _NO_CERTAIN_RUN}
    remarks = [f"also read run {run[:8]} of the tracking store, not compared" for run in sorted(others)]
    if len(remarks) > 1:
        remarks = [f"also read {len(remarks)} other runs of the tracking store, not compared"]
    calls = sorted({call for run, call in recording.asked if run == _NO_CERTAIN_RUN})
    remarks += [f"the answer of MLflow's {call} is not compared" for call in calls]
    remarks += [
        f"artifacts of run {run[:8]} are not compared"
        for run in sorted({uri.removeprefix(_RUNS).strip("/").partition("/")[0] for uri in _uris(recording)} - known)
        # Where they lie on this machine their files were seen.
        if not any(f"/{run}/" in path for path in recording.read)
    ]
    return replace(recording, partly=(*recording.partly, *remarks))


def _uris(recording: Recording) -> list[str]:
    return [uri for uri in recording.references if uri.startswith(_RUNS)]
