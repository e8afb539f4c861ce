"""Find the folders that a Python file puts on `sys.path`, without running it.

Home-made: type checkers ignore such lines, and running them would run the user's program. Only what can be computed
from literals and `__file__` is understood; anything else is left out.
"""

import ast
import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

_DEPTH = 20
_SAME_PATH = {"str", "fspath", "Path", "PurePath", "abspath", "realpath", "normpath", "resolve", "absolute", "as_posix"}


class PathEntry(NamedTuple):
    """A folder put on `sys.path`. `base` is "file" when it counts from the file's own folder, else "cwd"."""

    base: str
    path: str


def evaluated_path(node: ast.expr, tree: ast.Module) -> PathEntry | None:
    """Return the path that an expression of a file stands for, None where that is not known without running it."""
    return _evaluated(node, _assigned(tree), 0)


def path_entries(tree: ast.Module) -> list[PathEntry]:
    """Return the folders that a file adds to `sys.path` by `insert`, `append`, `extend` or `+=`.

    >>> path_entries(ast.parse('import sys; sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "x"))'))
    [PathEntry(base='file', path='../x')]
    """
    assigned = _assigned(tree)
    values = [_evaluated(node, assigned, 0) for node in _added(tree)]
    return list(dict.fromkeys(value for value in values if value is not None))


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    return {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
    }


def _added(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and _is_sys_path(node.target):
            yield from _elements(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_sys_path(node.func.value):
            if node.func.attr == "extend":
                yield from (element for argument in node.args for element in _elements(argument))
            elif node.func.attr in ("insert", "append"):
                yield from node.args[-1:]


def _is_sys_path(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "path"
        and isinstance(node.value, ast.Name)
        and node.value.id == "sys"
    )


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.List | ast.Tuple) else []


def _evaluated(node: ast.expr, assigned: Mapping[str, ast.expr], depth: int) -> PathEntry | None:
    """The path that an expression stands for, None where that is not known without running it."""
    if depth > _DEPTH:
        return None

    def value(part: ast.expr) -> PathEntry | None:
        return _evaluated(part, assigned, depth + 1)

    if isinstance(node, ast.Constant):
        return PathEntry("cwd", node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        # The name of the file does not matter: nothing but its folder is ever used.
        return (
            PathEntry("file", "_")
            if node.id == "__file__"
            else value(assigned[node.id])
            if node.id in assigned
            else None
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Add):
        left, right = value(node.left), value(node.right)
        if isinstance(node.op, ast.Add) and right is not None:
            right = PathEntry(right.base, right.path.lstrip("/"))
        return _joined([left, right])
    if isinstance(node, ast.Attribute):
        if node.attr == "pardir":
            return PathEntry("cwd", "..")
        return _above(value(node.value), 1) if node.attr == "parent" else None
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "parents":
        number = node.slice.value if isinstance(node.slice, ast.Constant) else None
        return _above(value(node.value.value), number + 1) if type(number) is int and 0 <= number < _DEPTH else None
    if isinstance(node, ast.Call) and not node.keywords:
        return _called(node, [value(argument) for argument in node.args], value)
    return None


def _called(
    node: ast.Call, arguments: list[PathEntry | None], value: Callable[[ast.expr], PathEntry | None]
) -> PathEntry | None:
    if isinstance(node.func, ast.Name):
        name, owner = node.func.id, None
    elif isinstance(node.func, ast.Attribute):
        name, owner = node.func.attr, node.func.value
    else:
        return None
    if name in ("getcwd", "cwd"):
        return PathEntry("cwd", ".")
    if name == "dirname" and len(arguments) == 1:
        return _above(arguments[0], 1)
    if name == "join" and arguments:
        return _joined(arguments)
    if name == "joinpath" and owner is not None:
        return _joined([value(owner), *arguments])
    if name in _SAME_PATH:
        if arguments:
            return _joined(arguments)
        return value(owner) if owner is not None else None
    return None


def _above(entry: PathEntry | None, levels: int) -> PathEntry | None:
    if entry is None:
        return None
    return PathEntry(entry.base, posixpath.normpath(posixpath.join(entry.path, *[".."] * levels)))


def _joined(parts: list[PathEntry | None]) -> PathEntry | None:
    joined: PathEntry | None = None
    for part in parts:
        if part is None:
            return None
        if joined is None or (part.base == "cwd" and part.path.startswith("/")):
            joined = part
        elif part.base == "file":
            return None
        else:
            joined = PathEntry(joined.base, posixpath.normpath(posixpath.join(joined.path, part.path)))
    return joined
