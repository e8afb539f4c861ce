"""Find the data files of a project that its code names in literals, for runs whose reads were not recorded."""

import ast
import json
import os
from collections.abc import Iterable
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import remembered

_KIND = "literals-1"
_LONGEST = 300


def named_files(project: Path, code: Iterable[Path]) -> list[str]:
    """Return the files below a project that literals in its Python code name, relative to the project, sorted.

    A literal counts from the project's folder and from the folder of the file that it stands in. Files that are code
    themselves are left out.

    Raises:
        PhaseError: A file of the code cannot be read.
    """
    files = [Path(file) for file in code]
    own = {os.path.normpath(file) for file in files}
    named: set[str] = set()
    for file in files:
        if file.suffix != ".py":
            continue
        for literal in json.loads(remembered(file, _KIND, _literals)):
            for folder in (project, file.parent):
                path = os.path.normpath(folder / literal)
                if path not in own and path.startswith(f"{project}{os.sep}") and os.path.isfile(path):
                    named.add(os.path.relpath(path, project))
    return sorted(named)


def _literals(file: Path) -> str:
    """Return the string literals of a Python file that may be names of files, as a JSON list."""
    try:
        tree = ast.parse(file.read_bytes())
    except OSError as error:
        raise PhaseError(f"{file} cannot be read: {error.strerror}. Check its permissions.") from error
    except (SyntaxError, ValueError):
        return "[]"
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return json.dumps(sorted(text for text in texts if _may_be_a_path(text)))


def _may_be_a_path(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and "\n" not in text and "\0" not in text and ("." in text or "/" in text)
