"""A phase whose training breaks down stops, says from where to go on, and does go on from there."""

from collections.abc import Callable, Mapping

import pytest
from project_folder import ProjectFolder

pytestmark = pytest.mark.end_to_end

MLPROJECT = """name: small
entry_points:
  train:
    parameters:
      broken_at: {type: int, default: -1}
    command: "python train.py {broken_at}"
    phase: {ignore: [broken_at], checkpoints: {every: 1, keep_last: 10}, quality: {metric: score, good: 0, poor: 0}}
"""
# The weights break in one step, are saved, and the loss shows it only in the next.
SCRIPT = """import sys
import numpy as np
from mlflow_plugin import start_phase
with start_phase() as phase:
    state = {"weights": np.ones(4)}
    for step in phase.steps(8, state=state):
        phase.log(loss=float((state["weights"] ** 2).mean()), weird=float("nan"))
        state["weights"] *= 0.5
        if step == int(sys.argv[1]):
            state["weights"][0] = np.nan
    phase.log(score=float(1 - state["weights"].mean()))
    phase.output("result.txt", lambda path: path.write_text(repr(state["weights"].tolist())))
"""


def test_nan_stops_a_phase_and_it_goes_on_from_before_the_weights_broke(
    make_project: Callable[[Mapping[str, str]], ProjectFolder],
) -> None:
    project = make_project({"MLproject": MLPROJECT, "train.py": SCRIPT})

    broken = project.run("train", broken_at=4)

    run = project.newest("train")
    assert broken.exit_code == 1, broken.text
    assert "Traceback" not in broken.text
    assert "train: weird is nan at step 0\n" in broken.text
    assert broken.text.count("weird is nan") == 1
    assert "rejected checkpoint step-000005: state.weights is not finite" in broken.text
    assert run.info.status == "FAILED"
    assert run.data.tags["phase.reason"].startswith(
        "train: loss is nan at step 5: the training has diverged. "
        f"The last good checkpoint is step-000004 of run {run.info.run_id}. "
    )

    fixed = project.run("train")

    assert fixed.exit_code == 0, fixed.text
    assert "resumes from step 4" in fixed.text
    run = project.newest("train")
    assert project.output_file(run, "result.txt").read_text() == str([0.5**8] * 4)
    losses = project.client.get_metric_history(run.info.run_id, "loss")
    assert [(one.step, one.value) for one in losses] == [(step, 0.25**step) for step in range(8)]


OUT_OF_MEMORY = """import os
from mlflow_plugin import start_phase
with start_phase() as phase:
    batch, seen = phase.batch_size(8), []
    def step(size, accumulation):
        if size > 2:
            raise MemoryError("no memory for so many")
        return [size, accumulation]
    for number in phase.steps(4, state={"batch": batch, "seen": seen}):
        seen.append(batch.fit(step))
        if number == 2 and os.path.exists("interrupted"):
            os.remove("interrupted")
            raise RuntimeError("interrupted")
    phase.log(score=1.0)
    phase.output("result.txt", lambda path: path.write_text(repr(seen)))
"""


def test_a_batch_that_did_not_fit_stays_smaller_also_after_a_resume(
    make_project: Callable[[Mapping[str, str]], ProjectFolder],
) -> None:
    project = make_project({"MLproject": MLPROJECT, "train.py": OUT_OF_MEMORY, "interrupted": ""})

    interrupted = project.run("train")
    assert interrupted.exit_code == 1
    assert interrupted.text.count("train: out of memory; continuing with") == 2, interrupted.text
    assert "train: out of memory; continuing with 2 samples at once, 4 times a step (no memory for" in interrupted.text

    resumed = project.run("train")

    assert resumed.exit_code == 0, resumed.text
    assert "out of memory" not in resumed.text
    run = project.newest("train")
    assert project.output_file(run, "result.txt").read_text() == str([[2, 4]] * 4)
    for name, values in (("batch.size", [4, 2]), ("batch.accumulation", [2, 4])):
        assert [one.value for one in project.client.get_metric_history(run.info.run_id, name)] == values
