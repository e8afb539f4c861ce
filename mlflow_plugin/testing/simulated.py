"""Decide and record phases of a project without running their scripts."""

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.evidence import decide_phase
from mlflow_plugin.decision.request import Decision, Request, request_for
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.records import Records, Work
from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store import schema


class SimulatedProject:
    """Phases of a project that are decided and recorded as always, with files at hand in place of a script's work.

    For tests of what a project does with its history: `simulated.compute("train", {"model.txt": "..."}, {"loss": 0.1})`
    takes milliseconds, and `plan`, `find_reusable` and `run_phase` then find a finished run.

    Args:
        folder: the folder of the MLproject file.
        uri: the tracking store; the one in force unless given.
    """

    def __init__(self, folder: Path, uri: str | None = None, experiment_id: str = "0") -> None:
        self.folder, self.experiment_id = folder, experiment_id
        self.client = MlflowClient(uri)
        self.records = Records(self.client)

    def request(self, phase: str, **given: object) -> Request:
        """Return the request for a phase with these parameters."""
        project = load_project(self.folder)
        return request_for(project, phase, given, self.client, self.experiment_id, base=self.folder)

    def decide(self, phase: str, **given: object) -> Decision:
        """Decide about a phase; nothing is recorded."""
        return decide_phase(self.request(phase, **given))

    def start(self, phase: str, **given: object) -> tuple[str, Decision]:
        """Start to compute a phase, whatever the verdict would be. Return the id of its run."""
        decision = self.decide(phase, **{**given, "decide": "rerun"})
        run_id = self.records.create(decision.request)
        self.records.start(run_id, decision)
        return run_id, decision

    def finish(
        self, run_id: str, decision: Decision, files: Mapping[str, str], metrics: Mapping[str, float], seconds: float
    ) -> None:
        """Complete a run that was started, with its metrics and its outputs: the text of each file."""
        self.records.metrics(run_id, metrics)
        superseded = tuple(one.run_id for one in decision.verdict.invalidates if one.phase == decision.verdict.phase)
        with tempfile.TemporaryDirectory() as staged:
            for name, text in files.items():
                (Path(staged) / name).write_text(text, encoding="utf-8")
            work = Work(decision.request, decision.inputs, superseded)
            complete_work(self.records, run_id, work, seconds, staged=Path(staged))

    def compute(
        self,
        phase: str,
        files: Mapping[str, str],
        metrics: Mapping[str, float] | None = None,
        *,
        seconds: float = 60.0,
        **given: object,
    ) -> str:
        """Start and finish a phase. Return the id of its run.

        Args:
            phase: the entry point.
            files: the outputs, by name; each a text.
            metrics: what the run logs.
            seconds: how long it took.
            given: parameters of the phase.
        """
        run_id, decision = self.start(phase, **given)
        self.finish(run_id, decision, files, metrics or {}, seconds)
        return run_id

    def lose_heartbeat(self, run_id: str) -> None:
        """Make a run that was started look as if its process had been killed an hour ago, on this machine."""
        heartbeat = {**new_heartbeat(40), "at": time.time() - 3600, "pid": 1, "began": -1000.0}
        self.client.set_tag(run_id, schema.HEARTBEAT, json.dumps(heartbeat))
