"""The four scripts: they work on the tiny model, repeat to the byte, and agree with the MLproject file."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentiment_steering.operators.pair import load_operators
from sentiment_steering.states.encoded import load_states
from sentiment_steering.states.sentences import BUNDLED_OPENINGS, BUNDLED_PROMPTS

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.code import code_digest
from mlflow_plugin.project.mlproject import load_project
from tests.projects.sentiment_steering.conftest import SETTINGS

ROOT = Path(__file__).resolve().parents[3]
MODULES = {"phase1": "collect", "phase2": "train", "phase3": "intervene", "phase4": "reversibility"}
CHANGED: dict[str, dict[str, Any]] = {
    "phase1": {"preset": "tiny", "pairs": 24, "held_out": 12, "prompts": BUNDLED_PROMPTS},
    "phase2": {},
    "phase3": {"new_tokens": 4, "strengths": "0,6", "openings": BUNDLED_OPENINGS},
    "phase4": {},
}
RunPhase = Callable[..., Any]


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", MODULES)
def test_two_runs_give_the_same_bytes(name: str, finished: Path, tmp_path: Path, run_phase: RunPhase) -> None:
    written = []
    for attempt in ("first", "second"):
        folder = tmp_path / attempt
        for need in {"phase1", "phase2"} - {name}:
            shutil.copytree(finished / need, folder / need)
        run_phase(folder, name, **CHANGED[name])
        written.append(digests(folder / name))
    assert written[0] == written[1]
    assert written[0]


def test_the_figures_of_all_phases_pass_the_gates_that_are_declared(
    finished: Path, tmp_path: Path, run_phase: RunPhase
) -> None:
    project = load_project(ROOT)
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for name in MODULES:
        phase = run_phase(tmp_path, name, **CHANGED[name])
        assert project.phase(name).grade(phase.metrics) == "good", phase.metrics
        assert phase.description.startswith("### ")
        assert all(isinstance(value, float) for value in phase.metrics.values())


@pytest.mark.parametrize("name", MODULES)
def test_the_settings_are_the_parameters_that_the_project_declares_with_their_defaults(name: str) -> None:
    phase = load_project(ROOT).phase(name)
    declared = {key: parameter.value() for key, parameter in phase.parameters.items() if key != "decide"}
    assert {key: str(value) for key, value in declared.items()} == SETTINGS[name].defaults()
    assert all(f"--{key.replace('_', '-')} {{{key}}}" in phase.command for key in declared)


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
    phase = run_phase(tmp_path, "phase2", method="cayley", epochs=30, mu="0.05")
    operators = load_operators(tmp_path / "phase2")
    assert phase.metrics["held_out_fidelity"] > phase.metrics["identity_fidelity"]
    assert operators.to_negative.unitarity_error() < 1e-12
    back = run_phase(tmp_path, "phase4")
    assert back.metrics["adjoint_error"] < 1e-12 < back.metrics["product_error_learned_positive"]
    assert torch.equal(operators.to_negative.basis, operators.to_positive.basis)


def test_damaged_inputs_are_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "phase1" / "states.json").write_text('{"origin": {"preset": "tiny"}}')
    with pytest.raises(PhaseError, match="Run phase1 again"):
        load_states(tmp_path / "phase1")
    (tmp_path / "phase2" / "operators.safetensors").write_bytes(b"no tensors")
    with pytest.raises(PhaseError, match=r"operators\.safetensors"):
        load_operators(tmp_path / "phase2")


@pytest.mark.parametrize("module", MODULES.values())
def test_nothing_heavy_is_imported_before_the_verdict(module: str) -> None:
    heavy = ("torch", "transformers", "sklearn", "matplotlib")
    code = f"import sys, sentiment_steering.phases.{module}; print([name for name in {heavy} if name in sys.modules])"
    path = os.pathsep.join(str(ROOT / "projects" / folder) for folder in ("sentiment_steering", "common"))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "module"), MODULES.items())
def test_the_code_of_a_phase_counts_with_what_it_shares_with_other_projects(name: str, module: str) -> None:
    files = code_digest(ROOT, load_project(ROOT).phase(name).command, None).files
    project = "projects/sentiment_steering/sentiment_steering"
    assert {
        f"{project}/phases/{module}.py",
        f"{project}/settings.py",
        f"{project}/states/encoding.py",
        "projects/common/projects_common/settings.py",
        "projects/common/projects_common/files.py",
    } <= set(files)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("phase1", ("operators/", "intervention/", "plots/training", "report/training")),
        ("phase2", ("intervention/", "states/collection", "plots/collection")),
        ("phase4", ("intervention/", "operators/training", "operators/procrustes", "states/collection")),
    ],
)
def test_a_phase_does_not_depend_on_the_code_of_other_phases(name: str, others: tuple[str, ...]) -> None:
    files = code_digest(ROOT, load_project(ROOT).phase(name).command, None).files
    project = "projects/sentiment_steering/sentiment_steering/"
    assert not [file for file in files if file.removeprefix(project).startswith(others)]


def test_the_work_imports_neither_mlflow_nor_the_phase_handle() -> None:
    folders = [ROOT / "projects/sentiment_steering/sentiment_steering", ROOT / "projects/common/projects_common"]
    modules = [file for folder in folders for file in folder.rglob("*.py") if file.parent.name != "phases"]
    found = [
        f"{file.name}: {name}"
        for file in modules
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.split(".")[0] == "mlflow" or name == "mlflow_plugin" or name.startswith("mlflow_plugin.phase")
    ]
    assert modules
    assert not found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
