"""Measure LoRA training in a phase against the same Trainer alone: the cost of checkpoints, detectors and monitors.

python -m benchmarks.lora_training [--steps 60] [--rounds 2]

SmolLM2 with the adapter and batches of its preset. Both take turns in one process, each round in the other order, so
that a busy minute falls on both. The phase saves when it chooses; its background threads count.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.limits import Limit
from benchmarks.timing import heading, row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "projects/lora_retraining"))

STEPS, ROUNDS = 60, 2
ALLOWED_PERCENT = 3.0
"""Slower than the Trainer alone by at most so much."""
MLPROJECT = """\
name: throughput
entry_points:
  train:
    command: "python train.py"
    phase: {}
"""


@dataclass(frozen=True)
class Taken:
    """The times of one training: seconds of each step from the second; wall clock between the first and the end of the
    phase; and time of all processors in between.
    """

    steps: tuple[float, ...]
    wall: float
    processors: float


def stopwatch() -> Any:
    """Return a callback that notes when each step ended."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[tuple[float, float]] = []

        def on_step_end(self, *given: Any, **named: Any) -> None:
            self.ends.append((time.perf_counter(), time.process_time()))

    return Stopwatch()


class Training:
    """One base model and one set of rows, trained again and again with a new adapter."""

    def __init__(self, steps: int, folder: Path) -> None:
        from lora_retraining.base_model.loading import find_model
        from lora_retraining.data.chat import encode_rows
        from lora_retraining.data.generator import generated_tasks, training_rows
        from lora_retraining.settings import read_settings
        from lora_retraining.training.plan import make_plan
        from projects_common.models.loading import load_model, load_tokenizer

        self.settings = read_settings({"preset": "smollm2", "packing": "grouped"})
        files = find_model("smollm2")
        rows = training_rows(generated_tasks("train", steps * self.settings.batch_size, seed=0))
        self.rows = encode_rows(load_tokenizer(files), rows, self.settings.max_length).rows
        self.plan = make_plan(self.rows, len(self.rows), self.settings)
        self.model = load_model(files, "float32", "cpu")
        self.folder = folder

    def alone(self) -> Taken:
        """Run `Trainer.train()` with the same arguments."""
        return self._timed(lambda model, watch: self._trainer(model, watch).train())

    def in_phase(self) -> Taken:
        """Train as the script of phase `train` does."""
        from lora_retraining.training.monitors import Monitor

        from mlflow_plugin import start_phase
        from mlflow_plugin.integrations.transformers import PhaseCallback

        new_run(self.folder)

        def train(model: Any, watch: Any) -> None:
            with start_phase() as phase:
                trainer = self._trainer(model, watch)
                trainer.add_callback(Monitor(phase.log, self.plan))
                PhaseCallback(phase).train(trainer)

        return self._timed(train)

    def _timed(self, train: Callable[[Any, Any], object]) -> Taken:
        from lora_retraining.training.adapter import add_adapter

        watch = stopwatch()
        adapted = add_adapter(self.model, self.settings, "smollm2")
        train(adapted, watch)
        wall, processors = time.perf_counter(), time.process_time()
        self.model = adapted.unload()
        ends = watch.ends
        steps = tuple(later[0] - earlier[0] for earlier, later in pairwise(ends))
        return Taken(steps, wall - ends[0][0], processors - ends[0][1])

    def _trainer(self, model: Any, watch: Any) -> Any:
        from lora_retraining.base_model.loading import multiplies_bfloat16
        from lora_retraining.training.loop import make_trainer, training_arguments

        model.config.use_cache = False
        arguments = training_arguments(self.plan, self.settings, str(self.folder), True, multiplies_bfloat16())
        trainer = make_trainer(model, self.rows, arguments, padding=0)
        trainer.add_callback(watch)
        return trainer


def new_run(folder: Path) -> None:
    """Create a run as `mlflow run` does, for the next `start_phase`."""
    from mlflow.tracking import MlflowClient

    (folder / "MLproject").write_text(MLPROJECT)
    (folder / "train.py").write_text(f"number = {time.time_ns()}\n")  # Else the run before would be reused.
    tags = {"mlflow.project.entryPoint": "train", "mlflow.source.name": str(folder)}
    os.environ["MLFLOW_RUN_ID"] = MlflowClient().create_run("0", tags=tags).info.run_id
    os.chdir(folder)


def measure(steps: int = STEPS, rounds: int = ROUNDS) -> str:
    """Return a Markdown table of both, and if the difference is allowed."""
    taken: dict[str, list[Taken]] = {"alone": [], "in a phase": []}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(folder / "artifacts")
        training = Training(steps, folder)
        ways = {"alone": training.alone, "in a phase": training.in_phase}
        for number in range(rounds):
            for way in sorted(ways, reverse=number % 2 == 1):
                taken[way].append(ways[way]())
                print(f"round {number + 1} of {rounds}: {way}", file=sys.stderr, flush=True)
        os.chdir(before)
    return report(taken, steps)


def report(taken: dict[str, list[Taken]], steps: int) -> str:
    """Return the table.

    Batches differ in length, the rounds do not: each step counts as its fastest of all rounds, which ignores neighbours
    on the machine. The wall clock includes what the phase saves and its end. The worse of these two decides.
    """
    figures = {
        "a step, s": lambda runs: statistics.fmean(
            min(same) for same in zip(*(run.steps for run in runs), strict=True)
        ),
        "a step with all that the phase saves, s": lambda runs: min(run.wall for run in runs) / (steps - 1),
        "processors a step, s": lambda runs: min(run.processors for run in runs) / (steps - 1),
    }
    lines = [heading(f"LoRA on SmolLM2, {steps} steps", *taken, "ratio")]
    ratios = []
    for name, figure in figures.items():
        alone, phase = (figure(runs) for runs in taken.values())
        ratios.append(phase / alone)
        lines.append(row(name, f"{alone:.3f}", f"{phase:.3f}", f"{phase / alone:.3f}"))
    slower = Limit(
        "training in a phase, slower than the Trainer alone", 100 * max(ratios[:2]) - 100, ALLOWED_PERCENT, "%"
    )
    lines += ["", f"Slower than the Trainer alone by {slower:+.1f}; the limit is {slower.allowed}."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    print(measure(arguments.steps, arguments.rounds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
