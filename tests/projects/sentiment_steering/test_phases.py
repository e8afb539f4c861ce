"""The four scripts: they work on the tiny model, repeat to the byte, and agree with the MLproject file."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.mlproject import load_project
from projects.sentiment_steering import phase1_collect, phase2_train, phase3_intervene, phase4_reversibility
from projects.sentiment_steering.data import BUNDLED_OPENINGS, BUNDLED_PROMPTS
from projects.sentiment_steering.storage import load_operators, load_states

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = {
    "phase1": phase1_collect,
    "phase2": phase2_train,
    "phase3": phase3_intervene,
    "phase4": phase4_reversibility,
}
CHANGED: dict[str, dict[str, Any]] = {
    "phase1": {"preset": "tiny", "pairs": 24, "held_out": 12, "prompts": BUNDLED_PROMPTS},
    "phase2": {},
    "phase3": {"new_tokens": 4, "strengths": "0,6", "openings": BUNDLED_OPENINGS},
    "phase4": {},
}
RunPhase = Callable[..., Any]


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", SCRIPTS)
def test_two_runs_give_the_same_bytes(name: str, finished: Path, tmp_path: Path, run_phase: RunPhase) -> None:
    written = []
    for attempt in ("first", "second"):
        folder = tmp_path / attempt
        for need in {"phase1", "phase2"} - {name}:
            shutil.copytree(finished / need, folder / need)
        run_phase(folder, name, SCRIPTS[name], **CHANGED[name])
        written.append(digests(folder / name))
    assert written[0] == written[1]
    assert written[0]


def test_the_figures_of_all_phases_pass_the_gates_that_are_declared(
    finished: Path, tmp_path: Path, run_phase: RunPhase
) -> None:
    project = load_project(ROOT)
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for name, script in SCRIPTS.items():
        phase = run_phase(tmp_path, name, script, **CHANGED[name])
        assert project.phase(name).grade(phase.metrics) == "good", phase.metrics
        assert phase.description.startswith("### ")
        assert all(isinstance(value, float) for value in phase.metrics.values())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_takes_what_the_project_declares_with_the_same_defaults(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = load_project(ROOT).phase(name)
    monkeypatch.setattr("sys.argv", ["phase"])
    known = vars(SCRIPTS[name].parse_arguments())
    declared = {key: parameter.value() for key, parameter in phase.parameters.items() if key != "decide"}
    assert {key: str(value) for key, value in known.items()} == {key: str(value) for key, value in declared.items()}
    assert all("{" + key + "}" in phase.command for key in declared)


def test_main_hands_down_parameters_that_some_phase_has_with_its_default() -> None:
    project = load_project(ROOT)
    main = project.pipelines["main"]
    for name, parameter in main.parameters.items():
        owners = [phase.parameters[name] for phase in project.phases.values() if name in phase.parameters]
        assert owners
        assert {owner.default for owner in owners} == {parameter.default}


def test_the_cayley_method_trains_what_the_later_phases_read(
    finished: Path, tmp_path: Path, run_phase: RunPhase
) -> None:
    shutil.copytree(finished / "phase1", tmp_path / "phase1")
    phase = run_phase(tmp_path, "phase2", phase2_train, method="cayley", epochs=30, mu="0.05")
    to_negative, to_positive = load_operators(tmp_path / "phase2")
    assert phase.metrics["held_out_fidelity"] > phase.metrics["identity_fidelity"]
    assert to_negative.unitarity_error() < 1e-12
    back = run_phase(tmp_path, "phase4", phase4_reversibility)
    assert back.metrics["adjoint_error"] < 1e-12 < back.metrics["product_error_learned_positive"]
    assert torch.equal(to_negative.basis, to_positive.basis)


@pytest.mark.parametrize(
    ("method", "mu"), [("procrustes", "0"), ("procrustes", "much"), ("cayley", "-1"), ("cayley", "nan")]
)
def test_a_mu_that_the_method_cannot_use_is_refused(
    finished: Path, tmp_path: Path, run_phase: RunPhase, method: str, mu: str
) -> None:
    shutil.copytree(finished / "phase1", tmp_path / "phase1")
    with pytest.raises(PhaseError, match=f"{method} takes"):
        run_phase(tmp_path, "phase2", phase2_train, method=method, mu=mu)


def test_damaged_inputs_are_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "phase1" / "states.json").write_text('{"origin": {"preset": "tiny"}}')
    with pytest.raises(PhaseError, match="Run phase1 again"):
        load_states(tmp_path / "phase1")
    (tmp_path / "phase2" / "operators.safetensors").write_bytes(b"no tensors")
    with pytest.raises(PhaseError, match=r"operators\.safetensors"):
        load_operators(tmp_path / "phase2")


@pytest.mark.parametrize("script", [module.__name__ for module in SCRIPTS.values()])
def test_nothing_heavy_is_imported_before_the_verdict(script: str) -> None:
    heavy = ("torch", "transformers", "sklearn", "matplotlib")
    code = f"import sys, {script}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
