"""The fixtures of tests/projects/lora_retraining."""

from tests.projects.lora_retraining.conftest import _messages_are_shown, project, tiny_folder  # noqa: F401
