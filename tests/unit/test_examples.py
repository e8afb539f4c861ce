"""Every `>>>` example of the package runs.

`pytest --doctest-modules` would import the whole package with torch, and a server that wants a secret key. Only the
modules that hold an example are imported here.
"""

import doctest
import importlib
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "mlflow_plugin"
EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)


def modules_with_examples() -> list[str]:
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if EXAMPLE.search(file.read_text(encoding="utf-8"))]
    return [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
    assert result.attempted > 0, "no docstring holds the example"
    assert result.failed == 0


def test_examples_are_found() -> None:
    assert "mlflow_plugin.format" in modules_with_examples()
