"""The examples in the docstrings of the project."""

import doctest
import importlib
import pkgutil

import lora_retraining
import pytest

MODULES = [module.name for module in pkgutil.walk_packages(lora_retraining.__path__, "lora_retraining.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
