"""Environment variables: which ones count, and what is kept of their values."""

import hashlib
from pathlib import Path

import pytest

from mlflow_plugin.observation.places import Places
from mlflow_plugin.observation.recorder import INJECTED, load
from mlflow_plugin.observation.variables import counts_as_variable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEY", "x"),
        ("HF_TOKEN", "x"),
        ("DB_PASSWORD", "x"),
        ("GITHUB_AUTH", "x"),
        ("DB_PASS", "x"),
        ("DATABASE", "postgresql://user:pass@db:5432/x"),
        ("SETTING", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("SETTING", "key=AKIAIOSFODNN7EXAMPLE9Q,region=eu"),
    ],
)
def test_no_digest_is_kept_of_what_may_be_a_secret(name: str, value: str) -> None:
    assert load("variables").digest_of(name, value) == "-"


@pytest.mark.parametrize(
    "value", ["0.001", "", "/data/experiments/2026/run_0017/checkpoint", "resnet50-imagenet-large", "http://host:80/x"]
)
def test_a_digest_stands_for_a_plain_value(value: str) -> None:
    assert load("variables").digest_of("SETTING", value) == hashlib.sha256(value.encode()).hexdigest()


def test_a_variable_that_is_not_set_has_no_digest() -> None:
    assert load("variables").digest_of("API_KEY", None) == "!"


def test_the_injected_folder_holds_nothing_that_a_program_may_import_by_accident() -> None:
    names = {path.stem for path in INJECTED.glob("*.py")} - {"__init__"}
    assert {name for name in names if not name.startswith("_mlflow_phases_")} == {"sitecustomize"}


@pytest.mark.parametrize(
    ("names", "counts"),
    [("MLFLOW_RUN_ID RAY_ADDRESS LOCAL_RANK PHASE_INPUT_MODEL _ DATA", False), ("RATE RANKED MLFLOWS LEVEL", True)],
)
def test_what_a_launcher_or_a_root_accounts_for_does_not_count(names: str, counts: bool, tmp_path: Path) -> None:
    places = Places(tmp_path, None, variables=frozenset({"DATA"}))
    assert {counts_as_variable(name, places) for name in names.split()} == {counts}
