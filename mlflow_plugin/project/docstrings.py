"""Find out which docstrings a Python file reads: those are behaviour, and count in the code digest.

All other docstrings do not count. A bare `__doc__` is the docstring of its own module. With `x.__doc__`,
`inspect.getdoc`, `ast.get_docstring` or `pydoc` it is not known whose docstring is read, so all docstrings of all files
of the phase's code count. Some libraries make behaviour of the docstrings of functions and classes that are handed to
them: in a file that imports one of these, its own docstrings count.
"""

import ast
import hashlib
from collections.abc import Iterator, Set
from typing import Any, Literal

Reads = Literal["", "module", "own", "all"]
"""The docstrings that a file reads: none, its module's, all of its own, all of all files."""

LIBRARIES = {
    *("docopt", "defopt", "clize", "fire", "plac"),
    *("dspy", "langchain", "langchain_core", "langchain_community", "langgraph", "llama_index", "semantic_kernel"),
    *("agents", "autogen", "crewai", "fastmcp", "magentic", "marvin", "mcp", "pydantic_ai", "smolagents"),
}
"""Libraries that read the docstrings of functions or classes of their user as settings, prompts or descriptions."""

_READERS = {"getdoc", "get_docstring"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_summary(tree: ast.Module, imported: Set[str]) -> dict[str, Any]:
    """Return `docs`, a word of `Reads`, and the digests `docstring` (the module's) and `docstrings` (all of them).

    Args:
        tree: A Python file.
        imported: The top-level names that it imports.
    """
    docstrings = list(_docstrings(tree))
    return {
        "docs": _reads(tree, imported),
        "docstring": _digest([("", ast.get_docstring(tree, clean=False) or "")]),
        "docstrings": _digest(docstrings),
    }


def _reads(tree: ast.Module, imported: Set[str]) -> Reads:
    bare = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (node.attr == "__doc__" or node.attr in _READERS):
            return "all"
        if isinstance(node, ast.Name):
            if node.id in _READERS:
                return "all"
            bare = bare or node.id == "__doc__"
    if "pydoc" in imported:
        return "all"
    if LIBRARIES & imported:
        return "own"
    return "module" if bare else ""


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node, clean=False)):
            yield getattr(node, "name", ""), text


def _digest(docstrings: list[tuple[str, str]]) -> str:
    joined = "\0".join(f"{name}\0{text}" for name, text in docstrings)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()


def digest_with_docstrings(summary: dict[str, Any], everywhere: bool) -> str:
    """Return the digest of a Python file with the docstrings that count in it.

    Args:
        summary: The content of `syntax.python_summary`.
        everywhere: A file of the phase's code reads docstrings of others.
    """
    reads: Reads = "all" if everywhere else summary.get("docs", "")
    if not reads:
        return str(summary["digest"])
    read = summary.get("docstring" if reads == "module" else "docstrings", "")
    return hashlib.sha256(f"{summary['digest']} {read}".encode()).hexdigest()
