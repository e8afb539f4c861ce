"""Tell what a script may have read before its observation began, by the text of what it had run until then."""

import ast
import os
import sys
from types import FrameType

BEFORE = "what the script read before `from mlflow_plugin import start_phase` was not seen (it is with -b phases)"
SIBLINGS = "what the other programs of the command read was not seen (it is with -b phases)"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Calls that read nothing, by the last part of their names.
_QUIET_CALLS = {
    *("getLogger", "get_logger", "basicConfig", "filterwarnings", "simplefilter", "set_start_method", "compile"),
    *("Path", "resolve", "absolute", "abspath", "dirname", "join", "insert", "append", "split", "setdefault"),
    *("dataclass", "field", "namedtuple", "TypeVar", "NewType", "lru_cache"),
    *("frozenset", "set", "dict", "list", "tuple", "str", "int", "float"),
}
_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.Pass)


def may_have_read() -> bool:
    """Return True when the code that is being run may have read something before it came here.

    Called while the script imports this package. Imports, definitions and plain values read nothing.
    """
    project = os.path.realpath(os.getcwd())
    frame: FrameType | None = sys._getframe(1)
    running: set[str] = set()
    while frame is not None:
        file = frame.f_code.co_filename
        if _is_own(file, project):
            running.add(os.path.realpath(file))
            if frame.f_code.co_name != "<module>" or not is_passive(_text(file), frame.f_lineno):
                return True
        frame = frame.f_back
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    loaded = {os.path.realpath(file) for file in files if isinstance(file, str) and _is_own(file, project)}
    return not all(is_passive(_text(file)) for file in loaded - running if file.endswith(".py"))


def is_passive(text: str, line: int | None = None) -> bool:
    """Return True for Python that reads nothing when it is run, as far as its statements above a line tell."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return False
    above = [one for one in body if line is None or (one.end_lineno or one.lineno) < line]
    return all(map(_reads_nothing, above))


def _reads_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, _DEFINITIONS):
        return True
    if isinstance(statement, ast.ClassDef):
        return all(map(_reads_nothing, statement.body))
    if isinstance(statement, ast.If):
        if "__main__" in ast.unparse(statement.test):
            return True  # Not run where the file is imported; where it is run, the import above it comes first.
        return _is_quiet(statement.test) and all(map(_reads_nothing, [*statement.body, *statement.orelse]))
    if isinstance(statement, ast.Try):
        handlers = [one for handler in statement.handlers for one in handler.body]
        return all(map(_reads_nothing, [*statement.body, *handlers, *statement.orelse, *statement.finalbody]))
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return statement.value is None or _is_quiet(statement.value)
    return isinstance(statement, ast.Expr) and _is_quiet(statement.value)


def _is_quiet(expression: ast.expr) -> bool:
    for node in ast.walk(expression):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name not in _QUIET_CALLS:
                return False
        elif isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
            return False
    return True


def _is_own(file: str, project: str) -> bool:
    if file.startswith("<") or file.startswith(_PACKAGE + os.sep):
        return False
    path = os.path.realpath(file)
    installed = "site-packages" in path or "dist-packages" in path or path.startswith(sys.base_prefix + os.sep + "lib")
    return path.startswith(project + os.sep) and not installed


def _text(file: str) -> str:
    try:
        with open(file, "rb") as opened:
            return opened.read().decode("utf-8", "replace")
    except OSError:
        return "?"
