"""Each kind of damage alone, and all of them on every remote store.

Cheaper sibling: test_every_kind_of_damage_is_noticed_and_passed_over in tests/end_to_end/faults/test_damage.py, which
does all kinds to one training on a local store.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.faults import test_damage
from tests.nightly.faults import damage
from tests.nightly.faults.training import Reference
from tests.nightly.repeated import repeated
from tests.servers.stores import REMOTE, Store

globals().update(repeated(test_damage, "store_kind"))


@pytest.fixture(params=REMOTE)
def store_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("kind", damage.DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(
    kind: str, stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    finished = damage.damaged(stores("local"), tmp_path, reference("local", steps=damage.STEPS), kind)
    assert min(finished.last.steps) == damage.STEPS - 2
