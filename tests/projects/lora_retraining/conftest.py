"""The tiny model for every test."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The saved tiny model. Nobody may write into it."""
    from lora_retraining.models.tiny import tiny_folder

    return tiny_folder()
