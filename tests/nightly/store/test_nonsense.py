"""Every place of a run and of an experiment with every nonsensical value, and every way to look at the store.

`tests/store/store/test_nonsense.py` looks at a sample of it. Alone, each value is seen by everything that looks at that
run; in a crowd, the parts of the JSON in tags are spoiled as well. Together they take about 40 minutes of CPU.
"""

from collections.abc import Iterator
from itertools import islice

import pytest
from nonsense import Nonsense
from nonsensical import NUMBERS, TEXTS, is_vital
from simulation import Simulation

from mlflow_plugin.decision.lookup import find_reusable
from mlflow_plugin.testing import temporary_store

_SHARES = 24
_CROWD = 30
_ALIKE = ("status --json", "plan --json", "compare 1", "compare 2", "compare 3", "page experiments", "page find")
"""Looks that show what others show too."""


@pytest.fixture(scope="module")
def nonsense(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nonsense]:
    """Yield the demo project with a store to put nonsense into, which each test finds as it was made."""
    folder = tmp_path_factory.mktemp("nonsense")
    with temporary_store(folder / "store") as store, Nonsense(Simulation(folder / "demo", store.uri), folder) as made:
        yield made


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("share", range(_SHARES))
def test_nonsense_in_any_place_stops_nothing_shows_nothing_raw_and_is_never_good(
    nonsense: Nonsense, share: int
) -> None:
    failures = []
    for place in nonsense.places()[share::_SHARES]:
        for name, value in nonsense.values(place, parts=False).items():
            with nonsense.planted((place, value)):
                try:
                    nonsense.look(but=_ALIKE)
                    if is_vital(place, name) and (name in TEXTS or name in NUMBERS):
                        verdict = find_reusable(nonsense.demo.folder, "train")
                        assert verdict.action != "reuse" or verdict.run_id != nonsense.runs[place.owner], verdict
                except Exception as error:  # All of them are to be seen at once.
                    failures.append(f"{place}, {name}: {type(error).__name__}: {error!s:.300}")
    assert not failures, f"{len(failures)} of them:\n" + "\n".join(failures[:50])


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("share", range(_SHARES))
def test_crowds_of_nonsense_stop_nothing_and_show_nothing_raw(nonsense: Nonsense, share: int) -> None:
    places = [place for place in nonsense.places() if place.kind != "experiment tag"]
    cases = [(place, name, value) for place in places for name, value in nonsense.values(place).items()]
    rest = iter(cases[share::_SHARES])
    while crowd := list(islice(rest, _CROWD)):
        with nonsense.crowd([(place, value) for place, _, value in crowd]):
            try:
                nonsense.look(but=("run", *_ALIKE))
            except Exception as error:
                names = "\n".join(f"{place}, {name}" for place, name, _ in crowd)
                raise AssertionError(f"one of these: {type(error).__name__}: {error}\n{names}") from error
