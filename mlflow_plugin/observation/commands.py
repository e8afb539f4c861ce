"""Tell what the shell of a command does beside starting Python, where the shell itself is not observed."""

import ast
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from mlflow_plugin.project.own_code import is_below

_SHELLS = frozenset(["sh", "bash", "dash", "zsh", "ksh"])
# They run a program that stands behind them, or in their place.
_LAUNCH = (
    "exec time nice nohup env timeout stdbuf taskset numactl mpirun mpiexec srun xvfb-run uv poetry pipenv pixi run"
)
_LAUNCHERS = frozenset(_LAUNCH.split())
_KEEP_QUIET = (
    "cd echo printf export unset set ulimit umask true : exit wait sleep mkdir date trap module deactivate conda"
)
_QUIET = frozenset(_KEEP_QUIET.split())
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*|torchrun|accelerate|deepspeed|mlflow|mlflow-phases")
_ASSIGNMENT = re.compile(r"\w+=\S*")
_OPTION = re.compile(r"-.*|[\d.]+[smhd]?")
_ACTIVATION = re.compile(r"(?:source|\.)\s+\S*(?:activate|conda\.sh)(?:\s|$)")
_MOST_BYTES = 100_000


def only_starts_python(text: str, folder: str) -> bool:
    """Return True for the text of a shell command that reads nothing beside the Python programs which it starts.

    Args:
        text: The text.
        folder: The folder in which it runs.
    """
    return _only_starts_python(text, folder, 3)


def _only_starts_python(text: str, folder: str, depth: int) -> bool:
    text = re.sub(r"\\\n", " ", text)
    if not depth or re.search(r"<|`|\$\(|\{ |\bif\b|\bfor\b|\bwhile\b|\bcase\b", text):
        return False
    text = re.sub(r"\d?>&\d|&>>?|\d?>>?", " > ", text)
    for line in re.split(r"&&|\|\||[;&\n]", text):
        parts = [part.strip() for part in line.split("|")]
        if not _starts_python(parts[0], folder, depth):
            return False
        # What stands behind a pipe reads what Python prints, if it names no file.
        if any(part.split()[:1] not in (["tee"], ["cat"]) for part in parts[1:]):
            return False
    return True


def _starts_python(part: str, folder: str, depth: int) -> bool:
    if not part or part.startswith("#") or _ACTIVATION.match(part):
        return True
    words = [word.strip("\"'") for word in part.split()]
    while words and (_ASSIGNMENT.fullmatch(words[0]) or os.path.basename(words[0]) in _LAUNCHERS):
        is_launcher = os.path.basename(words.pop(0)) in _LAUNCHERS
        while is_launcher and words and _OPTION.fullmatch(words[0]):
            words.pop(0)
    if not words:
        return True
    name = os.path.basename(words[0])
    if name in _SHELLS and len(words) > 1 and not words[1].startswith("-"):
        return _is_simple_script(os.path.join(folder, words[1]), folder, depth)
    return name in _QUIET or _PYTHON.fullmatch(name) is not None


def _is_simple_script(path: str, folder: str, depth: int) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST_BYTES)
    except OSError:
        return False
    return len(text) < _MOST_BYTES and _only_starts_python(text, folder, depth - 1)


def others_read_beside(run_id: str) -> bool:
    """Return True where a shell of the run started this process and may have started other programs beside it."""
    mark = f"MLFLOW_RUN_ID={run_id}".encode()
    pid = os.getppid()
    for _ in range(32):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            words = [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
            folder = os.readlink(f"/proc/{pid}/cwd")
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        if mark not in environment:
            return False
        if words and os.path.basename(words[0]) in _SHELLS and not _is_simple_shell(words, folder):
            return True
        pid = int(status.rpartition(")")[2].split()[1])
    return False


def _is_simple_shell(words: list[str], folder: str) -> bool:
    for position, word in enumerate(words[1:], 1):
        if word.startswith("-") and word.endswith("c") and not word.startswith("--"):
            return position + 1 < len(words) and only_starts_python(words[position + 1], folder)
        if not word.startswith("-"):
            return _is_simple_script(os.path.join(folder, word), folder, 3)
    return False


def may_have_read_before(own: Iterable[str]) -> bool:
    """Return True where the script of this process did more than importing before it imported this package."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(path, str) or not any(is_below(os.path.abspath(path), folder) for folder in own):
        return False
    try:
        with open(path, encoding="utf-8") as file:
            body = ast.parse(file.read(_MOST_BYTES)).body
    except (OSError, ValueError, SyntaxError, RecursionError):
        return True
    package = __name__.partition(".")[0]
    for statement in body:
        names = _imported_by(statement)
        if any(name.partition(".")[0] == package for name in names):
            return False
        if any(_is_own_module(name, own) for name in names) or not (names or _does_nothing(statement)):
            return True
    return True


def _imported_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        return [statement.module or ""]
    return []


def _is_own_module(name: str, own: Iterable[str]) -> bool:
    path = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(path, str) and "/site-packages/" not in path and any(is_below(path, folder) for folder in own)


def _does_nothing(statement: ast.stmt) -> bool:
    """Return True for a docstring, a constant, and a definition."""
    if isinstance(statement, (ast.Expr, ast.Assign)):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not statement.decorator_list
