"""Generation in batches by a real model.

Cheaper siblings: the tests of tests/projects/lora_retraining/validation/test_generation.py, with the tiny model.
"""

from tests.projects.lora_retraining.validation import test_generation


def test_smollm2_writes_nearly_all_completions_alike_in_batches() -> None:
    test_generation.smollm2_writes_nearly_all_completions_alike_in_batches()
