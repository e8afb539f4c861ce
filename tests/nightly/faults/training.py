"""One training on one store, executed again and again until it is done, and judged after every execution."""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from mlflow.entities import Param

from tests.nightly.faults.child import Settings, start
from tests.nightly.faults.points import Fault
from tests.servers.process import PATIENCE_SECONDS, wait_until
from tests.servers.stores import Store

CHECKPOINT_TAG = "mlflow.phase.checkpoint"
HISTORIES = ("loss", "drawn")
KEPT_VARIABLES = ("PATH", "HOME", "XDG_CACHE_HOME", "LANG", "OMP_NUM_THREADS", "MLFLOW_DISABLE_TELEMETRY")


@dataclass
class Execution:
    """One process that executed the script, on one MLflow run."""

    store: Store
    run_id: str
    folder: Path
    process: BaseProcess

    @property
    def reported(self) -> list[dict[str, object]]:
        """The metrics that the script has logged so far, one entry for each step."""
        file = self.folder / "report.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def steps(self) -> dict[int, str]:
        """The digest of the state before each step that was executed."""
        return {int(str(one["step"])): str(one["digest"]) for one in self.reported if "step" in one}

    @property
    def finished(self) -> bool:
        return {"finished": True} in self.reported

    @property
    def result_run_id(self) -> str:
        """The run with its result, when it has one: itself, or one that was complete before and is reused."""
        tags = self.store.client.get_run(self.run_id).data.tags
        return tags.get("phase.reused_run_id", self.run_id if self.finished else "")

    @property
    def text(self) -> str:
        file = self.folder / "output.txt"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def announced(self) -> int:
        """The step of the newest checkpoint that the run says it has, 0 for none."""
        name = self.store.client.get_run(self.run_id).data.tags.get(CHECKPOINT_TAG, "")
        return int(name.removeprefix("step-") or 0)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit code, once it has ended. One that hangs is made to say where, and fails the trial."""
        self.process.join(seconds)
        hangs = self.process.exitcode is None
        if hangs and self.process.pid:
            os.kill(self.process.pid, signal.SIGABRT)
            self.process.join(5)
        assert not hangs, f"it hangs: {self.text[-3000:]}"
        return int(self.process.exitcode or 0)

    def release(self) -> None:
        """Let a script go on that was held at a step."""
        (self.folder / "hold").unlink()

    def wait_held(self, step: int, saved: int | None = None) -> None:
        """Until the script is held at a step, and what it saved before is announced."""

        def reached() -> bool:
            return step in self.steps and (saved is None or self.announced == saved)

        wait_until(lambda: self.process.exitcode is not None or reached(), f"held at step {step}")
        assert self.process.exitcode is None, self.text[-3000:]


@dataclass
class Reference:
    """The result of a training that nothing interrupts."""

    steps: Mapping[int, str]
    result: str
    histories: Mapping[str, list[tuple[int, float]]]
    starting: float = 0.0
    training: float = 0.0
    """Seconds from the start of the process to the first step, and from there to the last."""
    points: Mapping[str, int] = field(default_factory=dict)
    resumed_points: Mapping[str, int] = field(default_factory=dict)


class Training:
    """A training in an experiment of its own. Every execution but the first is to go on from where the newest complete
    checkpoint was; `announced` is its step, and a test that damages it sets it to what is left.
    """

    def __init__(
        self, store: Store, folder: Path, reference: Reference | None = None, phase: str = "train", **parameters: int
    ) -> None:
        self.store, self.folder, self.reference, self.phase = store, folder, reference, phase
        self.parameters = {"seed": 0, "steps": 10, "every": 2, "width": 128, **parameters}
        self.experiment = store.new_experiment()
        self.executions: list[Execution] = []
        self.announced = 0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def last(self) -> Execution:
        return self.executions[-1]

    def start(
        self,
        fault: Fault | None = None,
        hold_at: int | None = None,
        *,
        counting: bool = False,
        ordinary: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Execution:
        """Start the script on a new run."""
        folder = self.folder / str(len(self.executions))
        (folder / "tmp").mkdir(parents=True)
        tags = {"mlflow.project.entryPoint": self.phase}
        run_id = self.store.client.create_run(self.experiment, tags=tags).info.run_id
        self.store.client.log_batch(run_id, params=[Param(name, str(value)) for name, value in self.parameters.items()])
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        environment |= {**self.store.variables, **(variables or {})}
        environment |= {"MLFLOW_RUN_ID": run_id, "MLFLOW_EXPERIMENT_ID": self.experiment, "TMPDIR": str(folder / "tmp")}
        if hold_at is not None:
            environment["MLFLOW_TESTS_HOLD_AT"] = str(hold_at)
            (folder / "hold").touch()
        settings = Settings(folder, environment, self.parameters, fault, counting, ordinary)
        self.executions.append(Execution(self.store, run_id, folder, start(settings)))
        return self.last

    def judge(self) -> None:
        """Judge an execution that has ended: it began where it should, and held only states of the reference.

        Raises AssertionError saying which of the promises was broken.
        """
        done, reference = self.last, self.reference
        assert reference is not None
        steps = done.steps
        if steps:
            first = min(steps)
            assert first >= self.announced, (
                f"lost: step {self.announced} was saved, and it went on from {first}. It said: {done.text[-2000:]}"
            )
            wrong = [step for step, digest in steps.items() if reference.steps[step] != digest]
            assert not wrong, f"bad state: at step {wrong[0]} it is not that of the uninterrupted run"
        self.announced = max(self.announced, done.announced)
        if done.result_run_id:
            self.judge_result()

    def judge_result(self) -> None:
        assert self.reference is not None
        result, histories = self.result(), self.histories()
        assert result == self.reference.result, "result: its outputs are not those of the uninterrupted run"
        for name, history in histories.items():
            assert history == self.reference.histories[name], (
                f"result: the history of {name} is not the uninterrupted run's"
            )

    def finish(self, executions: int = 1) -> Execution:
        """Execute it undisturbed until it is done. Raises AssertionError when that takes more executions."""
        for _ in range(executions):
            code = self.start().wait()
            self.judge()
            if self.last.result_run_id:
                assert code == 0, self.last.text[-2000:]
                return self.last
        raise AssertionError(f"undisturbed, it does not finish: {self.last.text[-3000:]}")

    def kill(self) -> None:
        """Kill the last execution at once."""
        self.last.process.kill()
        self.last.wait()
        self.judge()

    def result(self) -> str:
        """The digest of the outputs of the last run, or of the one that it reuses."""
        return str(self.store.client.get_run(self.last.result_run_id).data.tags["phase.output_digest"])

    def histories(self) -> dict[str, list[tuple[int, float]]]:
        """The metrics of the run with the last result, as (step, value) in order of step."""
        client, run_id = self.store.client, self.last.result_run_id
        return {
            name: sorted((one.step, one.value) for one in client.get_metric_history(run_id, name)) for name in HISTORIES
        }


def make_reference(store: Store, folder: Path, *, counting: bool = False, **parameters: int) -> Reference:
    """Execute a training without disturbing it. With `counting` it is told as well which points it passes, here and
    when it resumes from a checkpoint.
    """
    alone = Training(store, folder / "reference", **parameters)
    code = alone.start(counting=counting).wait()
    assert code == 0, f"undisturbed, the training fails: {alone.last.text[-3000:]}"
    reference = Reference(alone.last.steps, alone.result(), alone.histories())
    if counting:
        reference.points = _points(alone.last)
        resumed = Training(store, folder / "resumed", reference, **parameters)
        steps, every = resumed.parameters["steps"], resumed.parameters["every"]
        began = time.monotonic()
        held = resumed.start(hold_at=steps - every)
        held.wait_held(steps - every, steps - every)
        reached = [float(str(one["at"])) for one in held.reported]
        reference.starting, reference.training = (
            reached[0] - began,
            (reached[-1] - reached[0]) * steps / (steps - every),
        )
        resumed.kill()
        assert resumed.start(counting=True).wait() == 0, resumed.last.text[-3000:]
        resumed.judge()
        reference.resumed_points = _points(resumed.last)
    return reference


def _points(execution: Execution) -> Mapping[str, int]:
    found: Mapping[str, int] = json.loads((execution.folder / "points.json").read_text())
    return found
