"""Checkpoints that were saved after training diverged are not resumed from."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from mlflow_plugin.checkpoints.files import save_state
from mlflow_plugin.checkpoints.finite import newest_finite, not_finite
from mlflow_plugin.checkpoints.store import CheckpointStore, checkpoint_name
from mlflow_plugin.store.manifest import Manifest
from mlflow_plugin.store.run import PhaseRun

NAN, INF = float("nan"), float("inf")


def run_with(folder: Path, name: str, *weights: float, **states: object) -> PhaseRun:
    """A run whose checkpoints hold a tensor with each of these values, in order."""
    run = PhaseRun(name, "train", artifact_uri=str(folder / name))
    store = CheckpointStore(run.artifact_uri)
    for step, value in enumerate(weights, start=1):
        with store.staging(checkpoint_name(step)) as target:
            state = {"model": {"weight": torch.tensor([1.0, value])}, **states}
            save_state({"state": state, "random": {}}, target)
            manifest = Manifest.of(target, step=step)
            store.publish(checkpoint_name(step), target, manifest.files)
            store.commit(checkpoint_name(step), manifest)
    return run


@pytest.fixture
def remembered() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def remember(remembered: list[tuple[str, str, str]]) -> Callable[[str, str, str], None]:
    return lambda run_id, name, why: remembered.append((run_id, name, why))


def test_checkpoints_from_after_the_divergence_are_rejected_for_good(
    tmp_path: Path, remembered: list[tuple[str, str, str]], remember: Callable[[str, str, str], None]
) -> None:
    run = run_with(tmp_path, "run", 1.0, 2.0, INF, NAN)
    found, rejected = newest_finite([run], remember)
    assert found is not None
    assert (found.run_id, found.step) == ("run", 2)
    assert rejected == [f"step-00000{step}: state.model.weight is not finite" for step in (4, 3)]
    assert remembered == [("run", f"step-00000{step}", "state.model.weight is not finite") for step in (4, 3)]


def test_the_run_that_it_resumed_from_is_searched_too(
    tmp_path: Path, remembered: list[tuple[str, str, str]], remember: Callable[[str, str, str], None]
) -> None:
    runs = [run_with(tmp_path, "second", NAN), run_with(tmp_path, "first", 1.0, 2.0)]
    found, _ = newest_finite(runs, remember)
    assert found is not None
    assert (found.run_id, found.step) == ("first", 2)
    assert [name for _, name, _ in remembered] == ["step-000001"]


def test_no_checkpoint_is_marked_bad_when_all_are_non_finite(
    tmp_path: Path, remembered: list[tuple[str, str, str]], remember: Callable[[str, str, str], None]
) -> None:
    run = run_with(tmp_path, "run", 1.0, 2.0, data=torch.tensor([NAN, 1.0]))
    found, rejected = newest_finite([run], remember)
    assert (found, len(rejected), remembered) == (None, 2, [])


def test_a_run_without_a_checkpoint_has_no_finite_one(
    tmp_path: Path, remember: Callable[[str, str, str], None]
) -> None:
    assert newest_finite([PhaseRun("run", "train", artifact_uri=str(tmp_path))], remember) == (None, [])


@pytest.mark.parametrize(
    "state",
    [
        {"weight": torch.tensor([1.0, NAN])},
        {"layers": [torch.zeros(2), torch.tensor([INF, 0.0], dtype=torch.bfloat16)]},
        {"moments": (torch.tensor(NAN),)},
        {"complex": torch.tensor([complex(NAN, 0)])},
        {"eight bits": torch.tensor([1.0, NAN]).to(torch.float8_e5m2)},
        {"array": np.array([1.0, INF])},
        {"half": np.array([NAN], dtype=np.float16)},
    ],
)
def test_diverged_tensors_are_found(state: Mapping[str, object]) -> None:
    assert not_finite(state).startswith(f"state.{next(iter(state))}")


def test_intended_infinities_do_not_count_as_divergence() -> None:
    state = {
        "best": INF,
        "lowest": torch.tensor(INF),
        "mask": torch.tensor([[0.0, -INF]]),
        "counts": torch.tensor([1, 2]),
        "array": np.array([-INF, 0.0]),
        "names": np.array(["a"]),
        "flags": torch.tensor([True]),
        "text": "nan",
        "nothing": None,
    }
    assert not_finite(state) == ""
