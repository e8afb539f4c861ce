"""Repetition of the tests of one module in another, which gives their fixtures other values."""

import inspect
from types import ModuleType


def repeated(module: ModuleType, *fixtures: str, without: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the names of a module with only those of its tests that take one of the fixtures.

    A module of tests/nightly adds them to its own names and then defines the fixtures anew, so that the tests run there
    with other values:

        globals().update(repeated(test_life, "route"))

    Args:
        module: a module of tests.
        fixtures: names of fixtures. A test takes one when it is among its arguments.
        without: names of tests to leave out.

    Raises:
        ValueError: no test takes any of the fixtures, or one of those to leave out does not exist.
    """
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_") and callable(value)}
    wanted = {name for name, test in tests.items() if set(inspect.signature(test).parameters) & set(fixtures)}
    if not wanted or set(without) - wanted:
        raise ValueError(f"{module.__name__}: no test takes {fixtures}, or there is none of {without}")
    kept = wanted - set(without)
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("__") and (name not in tests or name in kept)
    }
