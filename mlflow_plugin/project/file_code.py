"""Digest single files as code: Python by its syntax, text by its lines, everything else by its bytes."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_digest, remembered
from mlflow_plugin.project.syntax import PYTHON_KIND, python_summary

SHELL_SUFFIXES = {".sh", ".bash", ".zsh", ".ksh"}
PROGRAM_SUFFIXES = SHELL_SUFFIXES | {
    ".py",
    ".r",
    ".jl",
    ".js",
    ".mjs",
    ".ts",
    ".pl",
    ".rb",
    ".lua",
    ".m",
    ".do",
    ".sas",
}
"""Files that are run. Other files that a command names are data or settings."""
# Where an editor or git may change the ends of lines without a change of meaning. Data is always compared byte by byte.
_TEXT_SUFFIXES = (PROGRAM_SUFFIXES - {".jar"}) | {
    ".cfg",
    ".conf",
    ".ini",
    ".j2",
    ".jinja",
    ".json",
    ".md",
    ".sql",
    ".toml",
    ".txt",
}
_TEXT_SUFFIXES |= {".yaml", ".yml", ".mk", ""}
_SMALL = 1 << 20


def file_code_digest(file: str) -> str:
    """Return the digest of one file, 64 hex digits.

    Python counts by its syntax tree. In text of up to 1 MiB that people edit (scripts, queries, settings) the ends of
    lines do not count. A file without carriage returns, and every other file, counts by its bytes.

    Raises:
        PhaseError: The file cannot be read.
    """
    suffix = os.path.splitext(file)[1].lower()
    if suffix == ".py":
        return str(python_summary_of(file)["digest"])
    return remembered(Path(file), "lines-1", _line_digest) if suffix in _TEXT_SUFFIXES else file_digest(Path(file))


def python_summary_of(file: str) -> dict[str, Any]:
    """Return the content of `syntax.python_summary` for a Python file, remembered. Raises PhaseError."""
    return dict(json.loads(remembered(Path(file), PYTHON_KIND, python_summary)))


def _line_digest(path: Path) -> str:
    try:
        if path.stat().st_size > _SMALL:
            return file_digest(path)
        content = path.read_bytes()
    except OSError as error:
        raise PhaseError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    return hashlib.sha256(content if b"\0" in content else content.replace(b"\r\n", b"\n")).hexdigest()


def interpreter_of(file: str) -> str:
    """Return `python`, `shell` or an empty text: the program that a file without suffix asks for in its `#!` line."""
    if os.path.splitext(file)[1]:
        return ""
    try:
        with open(file, "rb") as opened:
            first = opened.readline(200)
    except OSError:
        return ""
    words = first[2:].split() if first.startswith(b"#!") else []
    names = [os.path.basename(word) for word in words if not word.startswith(b"-")]
    if any(name.startswith(b"python") for name in names):
        return "python"
    return "shell" if any(name in (b"sh", b"bash", b"dash", b"zsh", b"ksh") for name in names) else ""
