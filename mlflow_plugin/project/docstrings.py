"""Find out which docstrings a Python file reads: those are behaviour, and count in the code digest.

All other docstrings do not count. A bare `__doc__` is the docstring of its own module. With `x.__doc__`, `help`,
`inspect.getdoc`, `ast.get_docstring`, `doctest`, `pydoc` or a schema of pydantic it is not known whose docstring is
read, so all docstrings of all files of the phase's code count. With `inspect.getsource` and the like their comments and
layout count, too. Some libraries make behaviour of the docstrings of functions and classes that are handed to
them: in a file that imports one of these, its own docstrings count.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, Literal

Reads = Literal["", "module", "own", "all", "source"]
"""The docstrings that a file reads: none, its module's, all of its own, all of all files, the text of all files."""

LIBRARIES = {
    *("docopt", "defopt", "clize", "fire", "plac"),
    *("dspy", "langchain", "langchain_core", "langchain_community", "langgraph", "llama_index", "semantic_kernel"),
    *("anthropic", "guidance", "instructor", "litellm", "mirascope", "openai", "outlines"),
    *("agents", "autogen", "crewai", "fastmcp", "magentic", "marvin", "mcp", "pydantic_ai", "smolagents"),
}
"""Libraries that read the docstrings of functions or classes of their user as settings, prompts or descriptions."""

DOCUMENTING = {"doctest", "pydoc", "pdoc", "sphinx-build", "--doctest-modules"}
"""Words of a command that make behaviour of all docstrings."""
_READERS = {"getdoc", "get_docstring", "model_json_schema", "schema_json", "json_schema", "models_json_schema"}
_READERS_OF_SOURCE = {"getsource", "getsourcelines", "getcomments", "findsource", "getline", "getlines", "get_source"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_summary(tree: ast.Module, imported: Set[str], source: bytes) -> dict[str, Any]:
    """Return `docs`, a word of `Reads`, and the digests `docstring` (the module's) and `docstrings` (all of them).

    Args:
        tree: A Python file.
        imported: The top-level names that it imports.
        source: Its text. `text` is the digest of it, ends of lines left out.
    """
    docstrings = list(_docstrings(tree))
    return {
        "text": hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest(),
        "docs": _reads(tree, imported),
        "docstring": _digest([("", ast.get_docstring(tree, clean=False) or "")]),
        "docstrings": _digest(docstrings),
    }


def _reads(tree: ast.Module, imported: Set[str]) -> Reads:
    named: set[str] = set()
    bare = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            named.add(node.attr)
        elif isinstance(node, ast.Name):
            named.add(node.id)
            bare = bare or node.id == "__doc__"
        elif isinstance(node, ast.Constant) and node.value == "__doc__":
            named.add("getdoc")  # getattr(x, "__doc__")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "help":
            named.add("getdoc")
        if isinstance(node, ast.Attribute) and node.attr == "__doc__":
            named.add("getdoc")
    if named & _READERS_OF_SOURCE and {"inspect", "linecache"} & imported:
        return "source"
    if named & _READERS or {"pydoc", "doctest"} & imported:
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


def read_everywhere(summaries: Iterable[Mapping[str, Any]]) -> Reads:
    """Return what the files of a phase's code read of all of its files: `source`, `all`, or nothing."""
    read = {summary.get("docs") for summary in summaries}
    return "source" if "source" in read else "all" if "all" in read else ""


def digest_with_docstrings(summary: Mapping[str, Any], everywhere: Reads) -> str:
    """Return the digest of a Python file with the docstrings that count in it.

    Args:
        summary: The content of `syntax.python_summary`.
        everywhere: From `read_everywhere`.
    """
    reads: Reads = everywhere or summary.get("docs", "")
    if not reads:
        return str(summary["digest"])
    name = {"module": "docstring", "source": "text"}.get(reads, "docstrings")
    return hashlib.sha256(f"{summary['digest']} {summary.get(name, '')}".encode()).hexdigest()
