"""The examples in the docstrings of what projects share."""

import doctest
import importlib
import pkgutil

import projects_common
import pytest

MODULES = [module.name for module in pkgutil.walk_packages(projects_common.__path__, "projects_common.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
