"""The files and folders that a phase leaves in its project, as `outputs:` declares them."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.project import OWN_FOLDER, Phase, Project

__all__ = [
    "all_outputs",
    "any_outputs",
    "checked_pattern",
    "declared_files",
    "declared_names",
    "handed_over",
    "is_declared",
    "is_output",
    "leads_to",
    "overlap",
]

_SIGNS = "*?["


def checked_pattern(text: str) -> str:
    """Return a pattern of `outputs:` in its plain form, such as `data/processed`.

    Raises:
        ValueError: It does not name something below the project's folder. The message says why.
    """
    if text.startswith(("/", "~", "$")) or "\\" in text or "\0" in text:
        raise ValueError("must be a path relative to the project's folder")
    parts = [part for part in PurePosixPath(text).parts if part != "."]
    if ".." in parts:
        raise ValueError("leads out of the project's folder")
    if not parts:
        raise ValueError("is the project's folder itself")
    if "**" in text:
        raise ValueError("has `**`: name the folder, all of which counts")
    if parts[0] in (".git", OWN_FOLDER, "mlruns", "mlartifacts"):
        raise ValueError(f"lies in {parts[0]}, which is no output")
    return "/".join(parts)


def overlap(first: str, second: str) -> bool:
    """Return whether one file may belong to two patterns."""
    pairs = zip(first.split("/"), second.split("/"), strict=False)
    return all(_may_be_equal(one, other) for one, other in pairs)


def _may_be_equal(one: str, other: str) -> bool:
    if not _is_pattern(other):
        return fnmatchcase(other, one)
    if not _is_pattern(one):
        return fnmatchcase(one, other)
    starts, ends = _ends(one), _ends(other)
    begin = starts[0].startswith(ends[0]) or ends[0].startswith(starts[0])
    return begin and (starts[1].endswith(ends[1]) or ends[1].endswith(starts[1]))


def _ends(pattern: str) -> tuple[str, str]:
    """Return the plain text before the first sign of a pattern and after the last one."""
    places = [number for number, sign in enumerate(pattern) if sign in (*_SIGNS, "]")]
    return pattern[: places[0]], pattern[places[-1] + 1 :]


def _is_pattern(part: str) -> bool:
    return any(sign in part for sign in _SIGNS)


def is_declared(patterns: Iterable[str], name: str) -> bool:
    """Return whether a name relative to the project's folder belongs to one of the patterns, or lies below one."""
    parts = name.split("/")
    for pattern in patterns:
        wanted = pattern.split("/")
        if len(wanted) <= len(parts) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False


def leads_to(patterns: Iterable[str], name: str) -> bool:
    """Return whether a name relative to the project's folder is that of a folder above one of the patterns."""
    parts = name.split("/")
    above = (pattern.split("/") for pattern in patterns)
    return any(len(wanted) > len(parts) and all(map(fnmatchcase, parts, wanted)) for wanted in above)


def is_output(directory: Path | str, patterns: Sequence[str], path: Path | str) -> bool:
    """Return whether an absolute path belongs to one of the patterns of a project, or lies below one."""
    if not patterns:
        return False
    name = os.path.relpath(os.path.normpath(path), directory).replace(os.sep, "/")
    return is_declared(patterns, name)


def handed_over(project: Project, phase: Phase) -> tuple[str, ...]:
    """Return the outputs that a phase and all phases before it declare: they are compared as outputs, not as reads."""
    every = project.order([phase.name]) if phase.name in project.phases else [phase]
    return tuple(pattern for one in every for pattern in _from_here(project, one))


def all_outputs(project: Project) -> tuple[str, ...]:
    """Return the outputs that the phases of a project declare, those of other files among them."""
    return tuple(pattern for phase in project.phases.values() for pattern in _from_here(project, phase))


def any_outputs(phase: Phase) -> tuple[str, ...]:
    """Return the outputs that a phase declares; those of a matrix as patterns for all of its runs."""
    if phase.outputs is None or phase.matrix is None:
        return phase.outputs or ()
    return tuple(re.sub(r"\{\w+\}", "*", pattern) for pattern in phase.outputs)


def _from_here(project: Project, phase: Phase) -> list[str]:
    """Return the outputs of a phase relative to a project's folder; those of another file's phase as paths as well.

    What was read outside the project and its repository has an absolute name.
    """
    directory, patterns = project.directory_of(phase), any_outputs(phase)
    if directory == project.directory:
        return list(patterns)
    way = os.path.relpath(directory, project.directory).replace(os.sep, "/")
    return [f"{folder}/{pattern}" for folder in (way, str(directory)) for pattern in patterns]


def declared_files(directory: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Return the files of a project that belong to some patterns: name relative to `directory` -> path, sorted.

    Raises:
        PhaseError: One of them is a link, or neither a file nor a folder, or cannot be read.
    """
    return {name: directory / name for name in declared_names(directory, patterns)}


def declared_names(directory: Path, patterns: Sequence[str]) -> list[str]:
    """Return the names of `declared_files`. Raises PhaseError as that does."""
    matches = (name for pattern in patterns for name in _matches(directory, pattern))
    return sorted({file for name in matches for file in _files(directory, name)})


def _matches(directory: Path, pattern: str) -> Iterator[str]:
    """Yield the names that match a pattern, without following links."""
    names = [""]
    for part in pattern.split("/"):
        below: list[str] = []
        for name in names:
            if _is_pattern(part):
                below += [_join(name, entry) for entry in _entries(directory / name) if fnmatchcase(entry, part)]
            elif os.path.lexists(directory / name / part):
                below.append(_join(name, part))
        names = below
    yield from sorted(names)


def _files(directory: Path, name: str) -> Iterator[str]:
    mode = _mode(directory / name)
    if stat.S_ISREG(mode):
        yield name
    pending = [name] if stat.S_ISDIR(mode) else []
    if not pending and not stat.S_ISREG(mode):
        raise _unkept(directory / name, is_link=stat.S_ISLNK(mode))
    while pending:
        current = pending.pop()
        try:
            with os.scandir(directory / current) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        yield f"{current}/{entry.name}"
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(f"{current}/{entry.name}")
                    else:
                        raise _unkept(Path(entry.path), is_link=entry.is_symlink())
        except OSError as error:
            raise _unreadable(directory / current, error) from None


def _unkept(path: Path, *, is_link: bool) -> PhaseError:
    kind = "a link" if is_link else "neither a file nor a folder"
    return PhaseError(
        f"{path} is {kind}, and cannot be kept as an output. Write a file in its place, or name what counts under "
        "`outputs:` more narrowly."
    )


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from None


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder) if folder.is_dir() and not folder.is_symlink() else []
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(path: Path, error: OSError) -> PhaseError:
    return PhaseError(f"{path} cannot be read: {error.strerror}. Check its permissions.")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
