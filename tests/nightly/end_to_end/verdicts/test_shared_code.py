"""A module that the script itself finds in the repository.

Cheaper sibling: tests/end_to_end/verdicts/test_shared_code.py, where the command names its folder.
"""

from pathlib import Path

import pytest
from project_folder import LOCAL, PHASES, ProjectFolder

from tests.end_to_end.verdicts import test_shared_code

pytestmark = pytest.mark.end_to_end

shared = test_shared_code.shared


def test_a_changed_module_of_the_repository_computes_the_phase_and_a_comment_in_it_does_not(
    project: ProjectFolder, shared: Path
) -> None:
    test_shared_code.check(project, shared, *test_shared_code.BY_SCRIPT, "../common/maths.py", LOCAL, PHASES)
