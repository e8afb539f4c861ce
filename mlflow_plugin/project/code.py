"""The code digest of a phase: the user's own code that its command runs, edits that change nothing left out.

A Python file counts by its syntax tree without comments, layout and the docstrings that nobody reads, any other file
by its lines or bytes. Modules that are named only while the program runs (plug-ins by a computed name, compiled
extensions) cannot be seen here: the observation of the run sees them, or list such files under `code`.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.closure import Closure
from mlflow_plugin.project.digests import value_digest, walk_files
from mlflow_plugin.project.docstrings import digest_with_docstrings, read_everywhere
from mlflow_plugin.project.file_code import file_code_digest, python_summary_of
from mlflow_plugin.project.named import Named
from mlflow_plugin.project.own_code import OwnCode, counts_in_folder, is_below, is_no_code

_SHORT_DIGEST = 12


@dataclass(frozen=True)
class CodeDigest:
    """The digest of a phase's code.

    Attributes:
        digest: 64 hex digits over the programs and the other files that the command names word for word.
        programs: 64 hex digits over the programs alone; equal to `digest` where the command names no other files.
        files: Name of each file that counts for `digest` -> its first 12 hex digits. A name is the path relative to the
            project (`../common/x.py` in the same repository), or for code elsewhere begins with the package.
        elsewhere: Name -> path of the files that do not lie where their name says, seen from the project.
        named: The files and folders that the command names, other than programs.
        has_code: False when no code of the user was found, so that nothing is known of what the command runs.
    """

    digest: str
    files: dict[str, str]
    elsewhere: dict[str, Path] = field(default_factory=dict)
    programs: str = ""
    named: Named = field(default_factory=Named)
    has_code: bool = True


def code_digest(
    project_dir: Path,
    command: str,
    code: Sequence[str] | None,
    values: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
) -> CodeDigest:
    """Digest the code that `command` runs, or the files and folders listed in `code`.

    Without `code`, every program of the user that the command names counts; so does `python -m package.module`; shell
    scripts, Makefiles and the like are read as the command itself. Imports are looked for in the script's own folder,
    the project folder and its `src`, and then where `PYTHONPATH`, `sys.path`, editable installs and the project's
    environment file lead. Words after a redirection of output, and after an option such as `--out`, are left out.

    Args:
        project_dir: The project's folder.
        command: The command as declared.
        code: The files and folders that count instead.
        values: The text of each parameter, to find the files whose names they are part of.
        outputs: Declared outputs of phases. They are left out, unless `code` lists them.

    Raises:
        PhaseError: A listed path is missing or lies outside the repository, or a file cannot be read.
    """
    own = OwnCode(os.path.abspath(project_dir))
    closure = Closure(own, outputs)
    if code is None:
        closure.follow(command, values or {})
        files = {**closure.programs, **closure.literal}
    else:
        files = _digests_of_listed(own, code)
    names = _names(own, files)
    ordered = {name: files[file] for name, file in sorted(names.items())}
    elsewhere = {
        name: Path(file) for name, file in names.items() if file != os.path.normpath(os.path.join(own.project, name))
    }
    programs = {name: digest for name, digest in ordered.items() if names[name] not in closure.literal}
    return CodeDigest(
        value_digest(ordered),
        {name: digest[:_SHORT_DIGEST] for name, digest in ordered.items()},
        elsewhere,
        value_digest(programs),
        closure.named,
        code is not None or bool(programs) or closure.inline or any(_is_notebook(name) for name in ordered),
    )


def _is_notebook(name: str) -> bool:
    """A notebook is run, but by tools that write the results into it, so it is compared as data."""
    return name.endswith((".ipynb", ".qmd", ".Rmd"))


def _digests_of_listed(own: OwnCode, code: Sequence[str]) -> dict[str, str]:
    files = list(_listed_files(own, code))
    summaries = {file: python_summary_of(file) for file in files if file.endswith(".py")}
    everywhere = read_everywhere(summaries.values())
    return {
        file: digest_with_docstrings(summaries[file], everywhere) if file in summaries else file_code_digest(file)
        for file in files
    }


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


def _listed_files(own: OwnCode, code: Sequence[str]) -> Iterator[str]:
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
