"""Environment variables: what is kept of their values."""

import hashlib

import pytest

from mlflow_plugin.observation.recorder import INJECTED, load


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
