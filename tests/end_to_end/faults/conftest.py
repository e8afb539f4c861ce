"""What the short version of the harness shares."""

from collections.abc import Callable

import pytest

from tests.nightly.faults.training import Twin, make_duplicate
from tests.servers.stores import Store


@pytest.fixture(scope="module")
def twin(stores: Callable[[str], Store], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Twin]:
    """A function that gives the uninterrupted twin of a training on a store."""
    made: dict[tuple[object, ...], Twin] = {}

    def of(name: str, *, counting: bool = False, **parameters: int) -> Twin:
        key = (name if counting else "any", counting, *parameters.items())
        if key not in made:
            made[key] = make_duplicate(stores(name), tmp_path_factory.mktemp("twin"), counting=counting, **parameters)
        return made[key]

    return of
