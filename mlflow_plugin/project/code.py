"""The code digest of a phase: what its command runs inside the project, edits that change nothing left out.

A Python file counts by its syntax tree without comments, docstrings and layout, any other file byte by byte. Python
files are followed through their import statements; what is named only while the program runs (importlib, plugins,
compiled extensions, a script given as a parameter) cannot be seen: list such files under `code`. Files outside the
project, in hidden folders or an environment, and this package itself are left out: the tool is not the experiment.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_digest, remembered, value_digest, walk_files
from mlflow_plugin.project.project import LOG_FILE
from mlflow_plugin.project.syntax import PYTHON_KIND, Import, imports_of_text, python_summary

_THIS_PACKAGE = "mlflow_plugin"
_SHORT_DIGEST = 12
_NO_CODE_FOLDERS = {"__pycache__", "site-packages", "node_modules", "venv", "mlruns", "mlartifacts"}
_SHELL_SUFFIXES = {".sh", ".bash"}
_COMMENT_LINE = re.compile(r"^\s*#.*$", re.MULTILINE)
_REDIRECT = re.compile(r"[<>&|]*>[<>&|]*")
_MODULE_OPTION = re.compile(r"-[A-Za-z]*m")
_CODE_OPTION = re.compile(r"-[A-Za-z]*c")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(\w+)[^{}]*\}")
_COMMAND_TOKEN = re.compile(r"""\n|(?:\\.|[^\s"'\\]|"(?:\\.|[^"\\])*"|'[^']*'|["'\\])+""", re.DOTALL)


@dataclass(frozen=True)
class CodeDigest:
    """`digest`: 64 hex digits over all files. `files`: path relative to the project -> its first 12 hex digits."""

    digest: str
    files: dict[str, str]


def code_digest(project_dir: Path, command: str, code: list[str] | None) -> CodeDigest:
    """Digest of the code that `command` runs inside `project_dir`, or of the files and folders listed in `code`.

    Without `code`, every file that the command names counts (a literal output file too: give such a command a `code`
    list), except where output is redirected to; so does `python -m package.module`; shell scripts are read like the
    command itself. Imports are looked for in the script's own folder, the project folder and its `src`.
    Raises PhaseError for a listed path that is missing or outside the project, and for a file that cannot be read.
    """
    project = os.path.abspath(project_dir)
    if code is None:
        files = _Closure(project).of_command(command)
    else:
        files = {file: _digest(file) for file in _listed_files(project, code)}
    digests = {os.path.relpath(file, project).replace(os.sep, "/"): digest for file, digest in files.items()}
    ordered = dict(sorted(digests.items()))
    return CodeDigest(value_digest(ordered), {name: digest[:_SHORT_DIGEST] for name, digest in ordered.items()})


_SEPARATORS = ("&&", "||", "|", ";", "&")


def command_usage(command: str, parameters: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Split a command template into its literal part and, per parameter, the tokens that use it.

    A token with `{name}` belongs to that parameter, and so does the option before it when the placeholder is a token of
    its own: `train.py --epochs {epochs}` has the literal part `train.py` and uses epochs as `--epochs {epochs}`. So a
    parameter can be added to a command and the literal part stays. One without an option counts with its place. What
    follows `&&`, `;` or `|` is another command, and the use is told to be that command's.
    `{{` and `}}` are literal braces. Unused parameters have no entry.
    """
    known = set(parameters)
    literal: list[str] = []
    usage: dict[str, list[str]] = {}
    option: str | None = None
    number = positional = 0
    for token in _COMMAND_TOKEN.findall(command.replace("\\\n", " ").strip()):
        names = [name for name in dict.fromkeys(_placeholders(token)) if name in known]
        if not names:
            literal.append(token)
            option = token if token.startswith("-") else None
            number += token in _SEPARATORS or token.endswith(";")
            continue
        alone = re.fullmatch(r"\{\w+[^{}]*\}", token.strip("\"'")) is not None
        if alone and option is not None:
            token = f"{literal.pop()} {token}"
        elif not token.startswith("-"):
            place, positional = len(literal) + positional, positional + 1
            token = f"@{place} {token}"
        token = f"{token} of command {number}" if number else token
        for name in names:
            usage.setdefault(name, []).append(token)
        option = None
    return " ".join(literal), {name: " ".join(tokens) for name, tokens in usage.items()}


def _placeholders(token: str) -> list[str]:
    return [match[1] for match in _PLACEHOLDER.finditer(token) if match[1]]


def _digest(file: str) -> str:
    path = Path(file)
    return _python_summary(path)[0] if path.suffix == ".py" else file_digest(path)


def _python_summary(path: Path) -> tuple[str, list[Import]]:
    summary = json.loads(remembered(path, PYTHON_KIND, python_summary))
    return summary["digest"], [Import(*entry) for entry in summary["imports"]]


def _listed_files(project: str, code: list[str]) -> Iterator[str]:
    for entry in code:
        path = os.path.normpath(os.path.join(project, entry))
        if "\0" in path or not _is_below(path, project):
            raise PhaseError(f"`code` lists {entry!r}, which lies outside the project {project}. List paths inside it.")
        if os.path.isdir(path):
            yield from (str(file) for name, file in walk_files(Path(path), _is_no_code) if _counts_in_folder(name))
        elif os.path.isfile(path):
            yield path
        else:
            raise PhaseError(
                f"`code` lists {entry!r}, but there is no such file or folder in {project}. Mend the path."
            )


def _is_no_code(folder_name: str) -> bool:
    return folder_name.startswith(".") or folder_name in _NO_CODE_FOLDERS


def _counts_in_folder(name: str) -> bool:
    bare = name.rpartition("/")[2]
    # The log grows with every run, and would make each the first of its kind.
    return not bare.startswith((".", "mlflow.db")) and not bare.endswith(".pyc") and bare != LOG_FILE


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


class _Closure:
    """The files of one project that a command reaches, with their digests. Each folder is listed once at most."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._search_path: list[str] = []
        self._listings: dict[str, frozenset[str]] = {}
        self._reached: dict[str, str] = {}
        self._followed: set[tuple[str, str]] = set()

    def of_command(self, command: str) -> dict[str, str]:
        self._follow_command(command)
        return self._reached

    def _follow_command(self, command: str) -> None:
        folders = [self._project]
        previous = ""
        for token in _tokens(command):
            if not _placeholders(token) and not _REDIRECT.fullmatch(previous):
                if previous == "cd":
                    folders.append(os.path.normpath(os.path.join(folders[-1], token)))
                elif token.startswith("PYTHONPATH="):
                    listed = token.partition("=")[2].split(os.pathsep)
                    self._search_path += [os.path.normpath(os.path.join(self._project, entry)) for entry in listed]
                for folder in folders:
                    self._follow_token(previous, token, folder)
            previous = token

    def _follow_token(self, previous: str, token: str, folder: str) -> None:
        if _MODULE_OPTION.fullmatch(previous):
            self._follow_python(self._resolve([*token.split("."), "__main__"], self._roots(folder)), folder)
        elif _CODE_OPTION.fullmatch(previous) and token != previous:
            # The text is Python after `python -c` and a command after `sh -c`; the wrong reading finds nothing.
            for entry in imports_of_text(token):
                self._follow_python(self._imported(entry, folder, folder), folder)
            if " " in token:
                self._follow_command(token)
        self._follow_file(os.path.normpath(os.path.join(folder, token.rpartition("=")[2])))

    def _follow_file(self, path: str) -> None:
        """Take in a file that a command names. A folder with a `__main__.py` is a program too."""
        if "__main__.py" in self._names_in(path):
            path = os.path.join(path, "__main__.py")
        if "\0" in path or not self._counts(path) or not os.path.isfile(path):
            return
        if path.endswith(".py"):
            self._follow_python([path], script_folder=os.path.dirname(path))
        elif path not in self._reached:
            self._reached[path] = _digest(path)
            if os.path.splitext(path)[1] in _SHELL_SUFFIXES:
                self._follow_command(Path(path).read_text(encoding="utf-8", errors="replace"))

    def _follow_python(self, files: list[str], script_folder: str) -> None:
        waiting = list(files)
        while waiting:
            file = waiting.pop()
            if (file, script_folder) not in self._followed and self._counts(file):
                self._followed.add((file, script_folder))
                self._reached[file], imports = _python_summary(Path(file))
                for entry in imports:
                    waiting += self._imported(entry, os.path.dirname(file), script_folder)

    def _imported(self, entry: Import, folder: str, script_folder: str) -> list[str]:
        """The project's files that an import statement in a file of `folder` runs."""
        roots = self._roots(script_folder)
        if entry.level:
            for _ in range(entry.level - 1):
                folder = os.path.dirname(folder)
            roots = [folder]
        module = entry.module.split(".") if entry.module else []
        found = self._resolve(module, roots)
        if entry.level and "__init__.py" in self._names_in(folder):
            found.append(os.path.join(folder, "__init__.py"))
        names = entry.names
        if "*" in names and found and found[-1].endswith("__init__.py"):
            # `__all__` may name any module of the package.
            names = [name[:-3] for name in sorted(self._names_in(os.path.dirname(found[-1]))) if name.endswith(".py")]
        for name in names:
            found += self._resolve([*module, name], roots)
        return list(dict.fromkeys(found))

    def _roots(self, script_folder: str) -> list[str]:
        """Where Python looks for modules, in its order."""
        roots = [script_folder, *self._search_path, self._project]
        if "src" in self._names_in(self._project):
            roots.append(os.path.join(self._project, "src"))
        return roots

    def _resolve(self, parts: list[str], roots: list[str]) -> list[str]:
        """The files that importing a dotted name runs, as far as they exist: packages, then the module."""
        if parts[:1] == [_THIS_PACKAGE]:
            return []
        files: list[str] = []
        folders = roots
        for part in parts:
            packages = [os.path.join(folder, part) for folder in folders if part in self._names_in(folder)]
            module = part + ".py"
            for folder in folders:
                if "__init__.py" in self._names_in(os.path.join(folder, part)):
                    packages = [os.path.join(folder, part)]
                    files.append(os.path.join(folder, part, "__init__.py"))
                    break
                if module in self._names_in(folder):
                    return [*files, os.path.join(folder, module)]
            if not packages:
                break
            folders = packages
        return files

    def _names_in(self, folder: str) -> frozenset[str]:
        """Names in a folder of the project; none for what is no such folder."""
        if folder not in self._listings:
            names: list[str] = []
            if self._counts(folder):
                try:
                    names = os.listdir(folder)
                except (OSError, ValueError):
                    names = []
            self._listings[folder] = frozenset(names)
        return self._listings[folder]

    def _counts(self, path: str) -> bool:
        if not _is_below(path, self._project):
            return False
        parts = path[len(self._project) :].strip(os.sep).split(os.sep)
        return parts[0] != _THIS_PACKAGE and not any(_is_no_code(part) for part in parts if part)


def _tokens(command: str) -> list[str]:
    """Words of a shell command or script, quotes removed; separators and redirections are words of their own."""
    command = _COMMENT_LINE.sub("", command)
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:  # an unclosed quote, or one in a comment: read the words without it
        return [word.strip("\"'") for word in re.findall(r"[<>]+|[^\s;&|()<>]+", command)]
