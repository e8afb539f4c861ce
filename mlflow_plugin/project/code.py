"""The code digest of a phase: the user's own code that its command runs, edits that change nothing left out.

A Python file counts by its syntax tree without comments, docstrings and layout, any other file byte by byte. Modules
that are named only while the program runs (importlib, plugins, compiled extensions, a script given as a parameter)
cannot be seen: list such files under `code`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.closure import Closure, file_code_digest
from mlflow_plugin.project.digests import value_digest, walk_files
from mlflow_plugin.project.own_code import OwnCode, counts_in_folder, is_below, is_no_code

_SHORT_DIGEST = 12


@dataclass(frozen=True)
class CodeDigest:
    """The digest of a phase's code.

    Attributes:
        digest: 64 hex digits over all files.
        files: Name of each file -> its first 12 hex digits. A name is the path relative to the project
            (`../common/x.py` in the same repository), or for code elsewhere begins with the package.
        elsewhere: Name -> path of the files that do not lie where their name says, seen from the project.
    """

    digest: str
    files: dict[str, str]
    elsewhere: dict[str, Path] = field(default_factory=dict)


def code_digest(project_dir: Path, command: str, code: list[str] | None) -> CodeDigest:
    """Digest the code that `command` runs, or the files and folders listed in `code`.

    Without `code`, every file of the user that the command names counts (a literal output file too: give such a command
    a `code` list), except where output is redirected to; so does `python -m package.module`; shell scripts are read
    like the command itself. Imports are looked for in the script's own folder, the project folder and its `src`, and
    then where `PYTHONPATH`, `sys.path`, editable installs and the project's environment file lead outside the project.

    Raises:
        PhaseError: A listed path is missing or lies outside the repository, or a file cannot be read.
    """
    own = OwnCode(os.path.abspath(project_dir))
    if code is None:
        files = Closure(own).of_command(command)
    else:
        files = {file: file_code_digest(file) for file in _listed_files(own, code)}
    names = _names(own, files)
    ordered = {name: files[file] for name, file in sorted(names.items())}
    elsewhere = {
        name: Path(file) for name, file in names.items() if file != os.path.normpath(os.path.join(own.project, name))
    }
    short = {name: digest[:_SHORT_DIGEST] for name, digest in ordered.items()}
    return CodeDigest(value_digest(ordered), short, elsewhere)


def _names(own: OwnCode, files: Mapping[str, str]) -> dict[str, str]:
    """Name -> file. Where two files have one name, the project's own keeps it and the others get a number."""
    names: dict[str, str] = {}
    for file in sorted(files, key=lambda file: (not is_below(file, own.project), files[file], file)):
        plain = name = own.name_of(file)
        number = 1
        while name in names and files[names[name]] != files[file]:
            number += 1
            name = f"{plain} ({number})"
        names.setdefault(name, file)
    return names


def _listed_files(own: OwnCode, code: list[str]) -> Iterator[str]:
    for entry in code:
        path = _listed_path(own, entry)
        if path is None:
            raise PhaseError(
                f"`code` lists {entry!r}, which lies outside {own.repository or own.project}. List paths "
                f"{'inside that repository' if own.repository else 'relative to the project'}."
            )
        if os.path.isdir(path):
            listed = walk_files(Path(path), is_no_code)
            files = [str(file) for name, file in listed if counts_in_folder(name)]
            yield from (file for file in files if is_below(file, own.project) or not own.is_this_package(file))
        elif os.path.isfile(path):
            yield path
        else:
            raise PhaseError(
                f"`code` lists {entry!r}, but there is no such file or folder in {own.project}. Correct the path."
            )


def _listed_path(own: OwnCode, entry: str) -> str | None:
    """The absolute path of a listed entry, None where it must not be listed."""
    if "\0" in entry:
        return None
    path = os.path.normpath(os.path.join(own.project, entry))
    if is_below(path, own.project):
        return path
    path = os.path.normpath(os.path.join(own.real_project, entry))
    if own.repository is None:
        return None if os.path.isabs(entry) else path
    path = own.located(path)
    return path if is_below(path, own.repository) else None
