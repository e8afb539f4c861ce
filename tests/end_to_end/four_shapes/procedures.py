"""Rows that take several steps, on a finished project of any shape whose scripts read little.

Each is a function that makes the changes and checks what follows. `LEFT_OUT` names the shapes that a row does not apply
to, with the reason.
"""

import os
import shlex
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tests.end_to_end.four_shapes.shaped import Shaped

Procedure = Callable[[Shaped], None]
FIRST = "seed=0 raw=1): rate=0.001"
ENDS_BADLY = "\nimport mlflow\n\nmlflow.start_run()\nmlflow.end_run('FAILED')\n"
LOGS_MODEL = """
import mlflow


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


# Without a run, MLflow would keep a model that belongs to none.
with mlflow.start_run():
    mlflow.pyfunc.log_model(name="model", python_model=Model())
"""
SCORES = """
import mlflow

for step in range(3):
    mlflow.log_metric('score', 0.9, step=step)
mlflow.log_metric('score', LAST)
"""
QUALITY = {"metric": "score", "good": 0.8, "poor": 0.5}
STEPPING = """
from mlflow_plugin import start_phase

with start_phase() as phase:
    state = {"sum": 0.0}
    for epoch in phase.steps(phase.parameters["epochs"], state, every=1):
        with open("epochs.txt", "a") as seen:
            seen.write(f"{epoch} ")
        state["sum"] += epoch
    FAULT
    main(*sys.argv[1:])
"""


def unchanged(shaped: Shaped, **given: object) -> None:
    """Nothing is left to do."""
    plan = shaped.plan(**given)
    assert "nothing to compute" in plan, plan


def run(shaped: Shaped, *computed: str, exit_code: int = 0, step: str = "main", **given: object) -> str:
    """Ask for the project or a step, and check which steps are computed. Return what was said."""
    done = shaped.run(step, **given)
    assert done.exit_code == exit_code, done.text
    executed = [one for one in shaped.executed() if one != "main"]
    assert sorted(executed) == sorted(computed), done.text
    return done.text


def append(shaped: Shaped, step: str, text: str) -> None:
    path = shaped.path(step, f"{step}.py")
    path.write_text(path.read_text() + text)


def parameter_added(shaped: Shaped) -> None:
    """29: a question that names what is assumed, never silently the new default."""

    def change(entry: dict[str, Any]) -> None:
        entry["parameters"]["dropout"] = {"type": "float", "default": 0.1}
        entry["command"] += " --dropout {dropout}"

    shaped.entry_point("train", change)
    told = run(shaped, exit_code=3)
    assert "dropout" in told
    assert "0.1" in told
    run(shaped, decide="reuse")
    assert FIRST in shaped.evaluated()
    unchanged(shaped)


def ignore_changed(shaped: Shaped) -> None:
    """30: what was used then counts, not what the file says now."""
    run(shaped, device="gpu")
    shaped.declare("train", ignore=None)
    if shaped.shape.calls:
        shaped.declare("main", ignore=None)
    unchanged(shaped, device="cpu")
    run(shaped, "train", "evaluate", device="gpu")
    assert "device=gpu" in shaped.evaluated()


def quality_without_a_step(shaped: Shaped) -> None:
    """32: the value that was logged last in time counts."""
    shaped.declare("train", quality=QUALITY)
    append(shaped, "train", SCORES.replace("LAST", "0.1"))
    done = shaped.run()
    assert "train" in shaped.executed()
    assert "0.1" in done.text
    assert done.exit_code == (0 if shaped.shape.calls else 3), done.text
    plan = shaped.plan()
    assert ("step src/train: would run now" if shaped.shape.calls else "train: run") in plan, plan
    assert "0.1" in plan


def failure_in_a_pipe(shaped: Shaped) -> None:
    """33: a command in a pipe that fails is not complete, and nothing is made from it."""

    def change(entry: dict[str, Any]) -> None:
        entry["command"] += " | tee log.txt"

    shaped.entry_point("train", change)
    append(shaped, "train", "\nraise SystemExit('no data')\n")
    run(shaped, "train", exit_code=1)
    assert shaped.runs("train")[0].info.status == "FAILED"
    append(shaped, "train", "\n")
    run(shaped, "train", exit_code=1)


def ended_as_failed(shaped: Shaped) -> None:
    """34: a script that ends its run as FAILED and exits with 0 is not complete."""
    append(shaped, "train", ENDS_BADLY)
    run(shaped, "train", exit_code=1)
    run(shaped, "train", exit_code=1)


def model_deleted(shaped: Shaped) -> None:
    """35: a logged model is an output."""
    append(shaped, "train", LOGS_MODEL)
    shaped.run()
    assert "train" in shaped.executed()
    unchanged(shaped)
    (model,) = shaped.project.client.search_logged_models(["0"])
    shaped.project.client.delete_logged_model(model.model_id)
    plan = shaped.plan()
    assert ("step src/train: would run now" if shaped.shape.calls else "train: run") in plan, plan


def two_generations(shaped: Shaped) -> None:
    """36: never silently from two generations of one input."""
    shaped.put("prepare", "raw.csv", "2")
    if shaped.shape.calls:
        # `main.py` asks for every step in turn, so all of them are renewed.
        run(shaped, "prepare", "baseline", "train", "evaluate")
    else:
        run(shaped, "prepare", step="prepare")
        run(shaped, "train", step="train")
        assert "baseline" in run(shaped, exit_code=3, step="evaluate")
        run(shaped, "baseline", "evaluate")
    text = shaped.evaluated()
    assert text.count("seed=0 raw=2") == 2
    unchanged(shaped)


def damaged(shaped: Shaped) -> None:
    """37: damaged outputs are never computed on; the command that repairs them is named, and works."""
    stored = shaped.stored("prepare")
    stored.chmod(0o644)
    stored.write_text(stored.read_text().replace("raw=1", "raw=9"))
    if place := shaped.shape.result.get("prepare"):
        (shaped.folder / place).unlink()
    shaped.edit("train", "train.py", "model {WIDTH}", "model of {WIDTH}")
    done = shaped.run()
    assert done.exit_code != 0
    assert "train" not in shaped.executed()
    assert "decide=rerun" in done.text, done.text
    command = next(part for part in done.text.split("`") if part.startswith("mlflow run ") and "decide=rerun" in part)
    words = shlex.split(command)
    local = [] if "--env-manager" in words else ["--env-manager", "local"]
    repaired = shaped.project.command(*words, *local)
    assert repaired.exit_code == 0, repaired.text
    shaped.executed()
    run(shaped, "train", "evaluate")
    assert "raw=9" not in shaped.evaluated()
    assert f"model of 8 of ({FIRST}" in shaped.evaluated()


def back_again(shaped: Shaped) -> None:
    """38: after another value and back again, the evaluation is that of the first, and nothing is computed."""
    run(shaped, "prepare", "baseline", "train", "evaluate", seed=1)
    assert shaped.evaluated().count("seed=1 raw=1") == 2
    run(shaped)
    assert FIRST in shaped.evaluated()
    for place in shaped.shape.result.values():
        assert "seed=0" in (shaped.folder / place).read_text()


def there_and_back(shaped: Shaped) -> None:
    """38: after another value and back again, later steps are made from the files of the first."""
    back_again(shaped)
    run(shaped, "train", "evaluate", rate=0.002)
    assert "seed=0 raw=1): rate=0.002" in shaped.evaluated()
    run(shaped, seed=1)
    assert shaped.evaluated().count("seed=1 raw=1") == 2
    for place in shaped.shape.result.values():
        assert "seed=1" in (shaped.folder / place).read_text()


def without_outputs(shaped: Shaped) -> None:
    """38: without `outputs:`, no later step is computed on what lies there without a question."""
    for step in ("prepare", "train", "baseline"):
        shaped.declare(step, outputs=None)
    shaped.put("prepare", "raw.csv", "3")
    shaped.run(decide="reuse")
    shaped.run(seed=1, decide="reuse")
    shaped.executed()
    done = shaped.run(rate=0.002)
    text = shaped.evaluated()
    assert done.exit_code == 3 or "seed=0 raw=3): rate=0.002" in text, f"{done.text}\n{text}"


def upstream_again(shaped: Shaped) -> None:
    """39: an artifact by its path follows its phase, and a path into another run by hand is refused."""
    path = str(shaped.stored("prepare").parent)
    shaped.put("prepare", "raw.csv", "2")
    run(shaped, "prepare", "baseline", "train", "evaluate")
    assert shaped.evaluated().count("seed=0 raw=2") == 2
    done = shaped.run("train", source=path)
    assert done.exit_code == 2, done.text
    assert "source is the artifact" in done.text


def same_bytes_upstream(shaped: Shaped) -> None:
    """39: an upstream run that gives the same bytes makes nothing stale."""
    append(shaped, "prepare", "\nprint('again')\n")
    run(shaped, "prepare")
    assert FIRST in shaped.evaluated()
    unchanged(shaped)


def at_once(shaped: Shaped) -> None:
    """40: two runs at once from threads of one process each read their own inputs."""
    before, seeds = dict(os.environ), (1, 2)
    threads = [threading.Thread(target=shaped.run_quietly, kwargs={"seed": seed}) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(os.environ) == before
    found = {run.info.run_id: shaped.stored("evaluate", run).read_text() for run in shaped.runs("evaluate")[:2]}
    assert sorted(found.values()) != [], found
    for seed in seeds:
        assert any(text.count(f"seed={seed} raw=1") == 2 for text in found.values()), found


def dear_value(shaped: Shaped) -> None:
    """41: where it is dear, a new value is asked about, can be computed beside, and the old one is found again."""
    shaped.took("evaluate", 660)
    shaped.took("train", 660)
    if shaped.shape.calls:
        # No phase declares that it needs this one: what was made from its file asks itself.
        assert "11 h" in run(shaped, "train", exit_code=3, rate=0.005)
    else:
        assert "decide=beside" in run(shaped, exit_code=3, rate=0.005)
    run(shaped)
    assert FIRST in shaped.evaluated()


def dear_value_beside(shaped: Shaped) -> None:
    """41: a run beside leaves the latest alone, and its files are those in the project."""
    shaped.took("evaluate", 660)
    step = {"by_artifact": {}, "by_disk": {}, "file_per_step": {}}
    assert shaped.shape.name in step
    run(shaped, "train", step="train", rate=0.005, decide="beside")
    run(shaped)
    assert FIRST in shaped.evaluated()
    if place := shaped.shape.result.get("train"):
        assert "rate=0.001" in (shaped.folder / place).read_text()


def cheap_edit(shaped: Shaped) -> None:
    """42: an edit that is cheap runs and says what becomes stale; a worse result is no `latest` unasked."""
    shaped.declare("train", quality=QUALITY)
    append(shaped, "train", SCORES.replace("LAST", "0.9"))
    run(shaped, "train")
    good = shaped.counting("train").info.run_id
    shaped.edit("train", "train.py", "'score', 0.9)", "'score', 0.6)")
    shaped.edit("train", "train.py", "device={device}", "on={device}")
    done = shaped.run()
    executed = shaped.executed()
    assert "train" in executed
    assert "evaluate" not in executed, done.text
    assert "supersedes train" in done.text
    assert done.exit_code == 3, done.text
    shaped.edit("train", "train.py", "on={device}", "device={device}")
    shaped.edit("train", "train.py", "'score', 0.6)", "'score', 0.9)")
    run(shaped)
    assert shaped.counting("train").info.run_id == good
    assert FIRST in shaped.evaluated()


def dear_last_step(shaped: Shaped) -> None:
    """42a: the code of the last step is edited; its good run took eleven hours."""
    shaped.took("evaluate", 660)
    shaped.edit("evaluate", "evaluate.py", "{words}", "words {words}")
    told = run(shaped, exit_code=3)
    assert "11 h" in told
    run(shaped, decide="reuse")
    unchanged(shaped)


def dear_downstream(shaped: Shaped) -> None:
    """43: what is made from an edited step took eleven hours."""
    shaped.took("evaluate", 660)
    shaped.edit("train", "train.py", "device={device}", "on={device}")
    done = shaped.run()
    assert done.exit_code == 3, done.text
    executed = shaped.executed()
    assert "evaluate" not in executed
    # The steps of a script are no needs of each other: the dear one asks itself.
    assert ("train" in executed) is shaped.shape.calls
    assert "11 h" in done.text
    shaped.run(decide="reuse")
    assert "evaluate" not in shaped.executed()


def _stepping(shaped: Shaped, fault: str = "pass") -> None:
    """Let `train` hold its phase: without it there are no checkpoints."""

    def change(entry: dict[str, Any]) -> None:
        entry["parameters"]["epochs"] = {"type": "int", "default": 3}

    shaped.entry_point("train", change)
    shaped.declare("train", extend=["epochs"])
    script = shaped.path("train", "train.py")
    body = script.read_text().replace("main(*sys.argv[1:])", STEPPING.replace("FAULT", fault))
    script.write_text(body)
    if not shaped.shape.calls:
        return
    shaped.project.edit("main.py", "NAMES = [", "NAMES = ['epochs', ")
    file = shaped.folder / "MLproject"
    text = file.read_text().replace("{seed} ", "{seed} {epochs} ")
    file.write_text(text.replace("    parameters:\n", "    parameters:\n      epochs: {type: int, default: 3}\n"))


def epochs_since(shaped: Shaped) -> str:
    path = shaped.path("train", "epochs.txt")
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text


def fixed_after_the_last_epoch(shaped: Shaped) -> None:
    """44: a crash after the last epoch; the fixed code is asked about: go on from the checkpoint, or start over."""
    _stepping(shaped, "raise RuntimeError('at the end')")
    shaped.run(decide="rerun")
    assert epochs_since(shaped) == "0 1 2 "
    shaped.edit("train", "train.py", "raise RuntimeError('at the end')", "pass")
    told = shaped.run()
    assert told.exit_code == 3, told.text
    assert "step-000003" in told.text
    assert epochs_since(shaped) == ""
    done = shaped.run(decide="reuse")
    assert done.exit_code == 0, done.text
    assert epochs_since(shaped) == ""
    assert FIRST in shaped.evaluated()


def extended(shaped: Shaped) -> None:
    """45: more epochs go on from the end of the shorter run, which stays."""
    _stepping(shaped)
    done = shaped.run(decide="rerun")
    assert done.exit_code == 0, done.text
    assert epochs_since(shaped) == "0 1 2 "
    short = shaped.counting("train").info.run_id
    shaped.executed()
    run(shaped, "train", epochs=5)
    assert epochs_since(shaped) == "3 4 "
    assert shaped.runs("train")[0].data.tags["phase.resumed_from"] == short
    run(shaped)
    assert shaped.counting("train").info.run_id == short


PROCEDURES: Mapping[str, Procedure] = {
    "29: a parameter is added": parameter_added,
    "30: a parameter is no longer ignored": ignore_changed,
    "32: quality without a step": quality_without_a_step,
    "33: a failure in a pipe": failure_in_a_pipe,
    "34: the script ends its run as failed": ended_as_failed,
    "35: a logged model is deleted": model_deleted,
    "36: a diamond of two generations": two_generations,
    "37: damaged outputs": damaged,
    "38: parameters there and back again": there_and_back,
    "38: without outputs": without_outputs,
    "39: an artifact's path follows upstream": upstream_again,
    "39: the same bytes upstream": same_bytes_upstream,
    "40: two at once": at_once,
    "41: a dear value": dear_value,
    "41: a dear value beside": dear_value_beside,
    "42: a cheap edit": cheap_edit,
    "42a: a dear last step": dear_last_step,
    "43: a dear step downstream": dear_downstream,
    "44: fixed after the last epoch": fixed_after_the_last_epoch,
    "45: extended": extended,
}
MADE_HERE = (("41: a dear value", "hydra"), ("43: a dear step downstream", "hydra"))
"""Rows about a run that is superseded because it had a file of the same absolute path: a copied project has another."""
NO_PATH = "no parameter of it is an artifact of another step"
LEFT_OUT: Mapping[tuple[str, str], str] = {
    ("39: an artifact's path follows upstream", "by_disk"): NO_PATH,
    ("39: an artifact's path follows upstream", "file_per_step"): NO_PATH,
    ("39: an artifact's path follows upstream", "hydra"): "its paths are files of the project, given by main.py",
    ("38: without outputs", "by_artifact"): "nothing is handed over by the disk",
    ("40: two at once", "hydra"): "two runs of main.py at once need a checkout each: docs/nested_runs.md, Limits",
    ("41: a dear value beside", "hydra"): "a step of a script is no phase whose latest others are made from",
}
NOWHERE = {"20": "none of the four runs in a container: tests/end_to_end/changes/test_images.py"}
"""Rows that apply to none of the shapes."""
