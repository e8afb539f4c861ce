"""The extraction of failures, killed and resumed.

Cheaper sibling: test_a_killed_validation_resumes_and_ends_the_same in
tests/projects/lora_retraining/phases/test_validate.py, which generates in the same way.
"""

from tests.projects.lora_retraining.phases import test_extract_failures
from tests.projects.lora_retraining.phases.test_extract_failures import GIVEN, FailuresProject

empty, project = test_extract_failures.empty, test_extract_failures.project


def test_a_killed_extraction_resumes_and_ends_the_same(project: FailuresProject) -> None:
    given = (*GIVEN, "--batch-size", "2", "--checkpoint-every", "1")
    killed = project.run_until_killed("extract_failures", 4, *given)
    resumed = project.extract(*given)
    whole = project.extract(*given, "--seed", "0")  # The same extraction, another identity.
    assert resumed.data.tags["phase.resumed_from"] == killed
    assert resumed.data.tags["phase.output_digest"] == whole.data.tags["phase.output_digest"]
