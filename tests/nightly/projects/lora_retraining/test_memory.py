"""The estimate of memory with gradient checkpointing.

Cheaper sibling: the test of the same name in tests/projects/lora_retraining/checks/test_memory.py, without it.
"""

from pathlib import Path

from tests.projects.lora_retraining.checks import test_memory


def test_the_estimate_is_near_what_training_with_gradient_checkpointing_takes(tmp_path: Path) -> None:
    test_memory.test_the_estimate_is_near_what_training_takes(tmp_path, dropout=0.0, checkpointing=True)
