"""A Python file as the code digest sees it: a digest of its syntax tree, and what it imports."""

import ast
import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.docstrings import docstring_summary
from mlflow_plugin.project.loading import loaded_files, loaded_groups, loaded_modules
from mlflow_plugin.project.search_path import path_entries

PYTHON_KIND = "python-4"
"""Names this summary of Python in the memory of digests: raise the number whenever it or the canonical form changes."""

# Positions are no fields; these fields vary between Python versions or say nothing about behaviour.
_IGNORED_FIELDS = {"kind", "type_comment", "type_ignores", "ctx"}
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORT_LINE = re.compile(
    r"^\s*(?:from\s+(\.*)([\w.]*)\s+import\s+(\([^)]*|[^#;(\\\n]*)|import\s+([^#;\\\n]+))", re.MULTILINE
)


class Import(NamedTuple):
    """`import module` or `from <level dots>module import names`; the names are empty for the first form."""

    level: int
    module: str
    names: list[str]


def python_summary(path: Path) -> str:
    """JSON with a Python file's `digest` (64 hex digits) and what it leads to.

    `imports` are [level, module, names], those of `importlib.import_module` with a literal too. `path` are the folders
    that it puts on `sys.path` and `files` the files that it loads, as [base, path]. `groups` are the groups of entry
    points that it loads. `docs` says which docstrings it reads, `docstring` and `docstrings` are digests of them, and
    `text` of the whole file: see `docstrings`.

    Comments, docstrings, layout, quote style and redundant parentheses do not change the digest, and it is the same on
    Python 3.10 to 3.14. A file that does not parse counts byte by byte, and its imports are read line by line.
    Raises PhaseError when the file cannot be read.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PhaseError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    try:
        tree = _parsed(source)
    except _UNPARSABLE:
        digest = hashlib.sha256(b"bytes " + source.replace(b"\r\n", b"\n")).hexdigest()
        imports = _imports_by_line(source.decode("utf-8", errors="replace"))
        return json.dumps({"digest": digest, "imports": imports})
    digest = hashlib.sha256(b"syntax " + canonical_form(tree)).hexdigest()
    imports = _imports(tree)
    found: dict[str, object] = {"digest": digest, "imports": imports}
    if b"import_module" in source or b"__import__" in source or b"run_module" in source:
        found["imports"] = imports + [Import(level, module, []) for level, module in loaded_modules(tree)]
    if b"sys" in source:
        found["path"] = path_entries(tree)
    if b"spec_from_file_location" in source or b"run_path" in source:
        found["files"] = loaded_files(tree)
    if b"entry_points" in source:
        found["groups"] = loaded_groups(tree)
    found |= docstring_summary(tree, {module.partition(".")[0] for level, module, _ in imports if not level}, source)
    return json.dumps(found)


def imports_of_text(text: str) -> list[Import]:
    """Return the imports of a piece of Python; none when it is not Python."""
    try:
        return _imports(_parsed(text.encode("utf-8")))
    except _UNPARSABLE:
        return []


def canonical_form(tree: ast.AST) -> bytes:
    """A syntax tree as bytes, without docstrings and positions. Walks by a stack of its own, so depth is no limit."""
    pieces: list[bytes] = []
    waiting: list[object] = [tree]
    while waiting:
        item = waiting.pop()
        if type(item) is bytes:
            pieces.append(item)
        elif isinstance(item, ast.Constant):
            pieces.append(_constant_bytes(item.value))
        elif isinstance(item, ast.AST):
            pieces.append(b"(" + type(item).__name__.encode())
            waiting.append(b")")
            for name, value in reversed(_fields(item)):
                waiting += (value, b" " + name.encode() + b"=")
        elif isinstance(item, list):
            pieces.append(b"[")
            waiting.append(b"]")
            waiting += reversed(item)
        else:
            pieces.append(_constant_bytes(item))
    return b"".join(pieces)


def _parsed(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _fields(node: ast.AST) -> list[tuple[str, object]]:
    """Fields that say something; optional ones that are empty are left out, since newer versions of Python add some."""
    fields = []
    for name in node._fields:
        value = getattr(node, name, None)
        if name == "body" and isinstance(node, _WITH_DOCSTRING):
            value = _without_docstring(node.body)
        elif isinstance(node, ast.JoinedStr):
            value = [part for part in node.values if not _is_empty_text(part)]
        elif isinstance(value, ast.JoinedStr) and not value.values:
            value = None  # the empty format of f"{x:}", which some versions keep and others drop
        if value is not None and value != [] and name not in _IGNORED_FIELDS:
            fields.append((name, value))
    return fields


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:]
    return body


def _is_empty_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def _constant_bytes(value: object) -> bytes:
    """A literal or name by type, length and content: 1 is not True, and Python versions differ in `repr` of text."""
    if isinstance(value, str):
        content = value.encode("utf-8", errors="surrogatepass")
    elif isinstance(value, bytes):
        content = value
    elif isinstance(value, int):
        content = hex(value).encode()
    else:
        content = repr(value).encode()
    return b"%s:%d:%s" % (type(value).__name__.encode(), len(content), content)


def _imports(tree: ast.AST) -> list[Import]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(Import(node.level, node.module or "", [alias.name for alias in node.names]))
    return found


def _imports_by_line(text: str) -> list[Import]:
    found = []
    for dots, module, names, modules in _IMPORT_LINE.findall(text):
        if modules:
            found += [Import(0, name, []) for name in _first_words(modules)]
        else:
            found.append(Import(len(dots), module, _first_words(names)))
    return found


def _first_words(listed: str) -> list[str]:
    """`a as b, c` -> [a, c]"""
    return [words[0] for words in map(str.split, listed.lstrip("(").split(",")) if words]
