"""Find the modules and files that a Python file loads by a call instead of an import statement.

Only literals, and paths made of literals and `__file__`, are understood. Modules that are named while the program runs
are seen by the observation of the run alone.
"""

import ast
from collections.abc import Iterator

from mlflow_plugin.project.search_path import PathEntry, evaluated_path

_BY_NAME = {"import_module", "__import__", "run_module"}
_FILE_ARGUMENT = {"spec_from_file_location": 1, "run_path": 0}


def loaded_modules(tree: ast.Module) -> list[tuple[int, str]]:
    """Return (level, name) of each module that a call loads by a literal name. The level counts leading dots.

    >>> loaded_modules(ast.parse("importlib.import_module('.plugins.one', package=__package__)"))
    [(1, 'plugins.one')]
    """
    found = []
    for name, call in _calls(tree):
        if name in _BY_NAME and (text := _literal(call, 0, "name")):
            package = _literal(call, 1, "package") if name == "import_module" else ""
            module = text.lstrip(".")
            level = len(text) - len(module)
            if level and package:
                above = package.split(".")[: len(package.split(".")) - level + 1]
                level, module = 0, ".".join([*above, module])
            found.append((level, module))
    return found


def loaded_files(tree: ast.Module) -> list[PathEntry]:
    """Return the Python files that a call loads by their path (`spec_from_file_location`, `runpy.run_path`)."""
    found = []
    for name, call in _calls(tree):
        place = _FILE_ARGUMENT.get(name)
        if place is not None:
            named = [keyword.value for keyword in call.keywords if keyword.arg in ("location", "path_name")]
            arguments = [*call.args[place : place + 1], *named]
            found += [entry for node in arguments if (entry := evaluated_path(node, tree)) is not None]
    return found


def loaded_groups(tree: ast.Module) -> list[str]:
    """Return the literal groups of entry points that a file loads (`entry_points(group=...)`)."""
    return [text for name, call in _calls(tree) if name == "entry_points" and (text := _literal(call, 0, "group"))]


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id, node
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr, node


def _literal(call: ast.Call, place: int, name: str) -> str:
    nodes = [*call.args[place : place + 1], *(keyword.value for keyword in call.keywords if keyword.arg == name)]
    return next((node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)), "")
