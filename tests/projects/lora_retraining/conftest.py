"""The tiny model and an empty project for every test."""

from pathlib import Path

import pytest
from lora_project import LoraProject
from projects_common.messages import show_messages


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """Return the folder of the saved tiny model. No test may write into it."""
    from lora_retraining.base_model.tiny import tiny_folder

    return tiny_folder()


@pytest.fixture(autouse=True)
def _messages_are_shown() -> None:
    show_messages("lora_retraining")


@pytest.fixture
def project(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> LoraProject:
    """Return the project before any phase, on a store of its own."""
    return LoraProject(tmp_path / "project", monkeypatch)
