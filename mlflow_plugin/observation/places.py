"""Name the files that a phase read so that another checkout and another machine find them again."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mlflow_plugin.project.own_code import OwnCode, is_below
from mlflow_plugin.project.project import Project

_ROOT = re.compile(r"root ([^\0]*?): (.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class Place(NamedTuple):
    """The place of a name on this machine.

    Attributes:
        path: The absolute path, None where the name's root has no folder here.
        own: True for a path in the project, its repository or a named root. Other paths need trust.
        root: The name of the root that it lies below, empty without one.
    """

    path: str | None
    own: bool
    root: str = ""


@dataclass(frozen=True)
class Places:
    """Translate between paths on this machine and names in a trace.

    A name is relative to the project (`data/rows.csv`, `../common/table.csv` in its repository), begins with a named
    root (`root data: rows.csv`), or is an absolute path.

    Attributes:
        project: The project's folder.
        repository: The git repository around it, None without one.
        roots: Named root -> folder. A root whose folder is not known here is missing.
        variables: Environment variables that the roots are written with.
    """

    project: Path
    repository: Path | None = None
    roots: Mapping[str, Path] = field(default_factory=dict)
    variables: frozenset[str] = frozenset()

    def name_of(self, path: str) -> str:
        """Return the name of an absolute path.

        The project comes first, then the innermost of the repository and the named roots.
        """
        folder, base = os.path.split(plain_path(path))
        name = self._named(os.path.join(folder, base))
        if name is None:
            # The same folder by another way: a link above the project, or a temporary folder that is a link.
            name = self._named(os.path.join(os.path.realpath(folder), base))
        return path if name is None else name

    def is_own(self, path: str) -> bool:
        """Return True for an absolute path in the project, its repository or a named root."""
        return not os.path.isabs(self.name_of(path))

    def place_of(self, name: str) -> Place:
        """Return the place of a name. Names come from a store: `..` may lead out, and the place says so."""
        if os.path.isabs(name):
            path = os.path.normpath(name)
            return Place(path, any(is_below(path, folder) for _, folder in self._folders))
        if match := _ROOT.fullmatch(name):
            return self._below_root(match)
        path = os.path.normpath(os.path.join(self._project, name))
        if is_below(path, self._project):
            return Place(path, own=True)
        path = os.path.normpath(os.path.join(self._real_project, name))
        return Place(path, any(is_below(path, folder) for _, folder in self._folders))

    def _below_root(self, match: re.Match[str]) -> Place:
        # A root's name may hold a colon itself, so that the known names are tried first.
        for root, folder in self.roots.items():
            if match[0].startswith(f"root {root}: "):
                top = os.path.abspath(folder)
                path = os.path.normpath(os.path.join(top, match[0][len(f"root {root}: ") :]))
                return Place(path, is_below(path, top), root)
        return Place(None, own=True, root=match[1])

    @cached_property
    def _project(self) -> str:
        return os.path.abspath(self.project)

    @cached_property
    def _real_project(self) -> str:
        return os.path.realpath(self.project)

    @cached_property
    def _folders(self) -> list[tuple[str, str]]:
        """Every folder of the user as (root, path), innermost first; the root is empty for the repository."""
        folders = [("", self._project), ("", self._real_project)]
        if self.repository is not None:
            folders += [("", os.path.abspath(self.repository)), ("", os.path.realpath(self.repository))]
        for root, folder in self.roots.items():
            folders += [(root, os.path.abspath(folder)), (root, os.path.realpath(folder))]
        return sorted(dict.fromkeys(folders), key=lambda one: (-len(one[1]), one))

    def _named(self, path: str) -> str | None:
        for project in (self._project, self._real_project):
            if is_below(path, project):
                name = os.path.relpath(path, project)
                # A file of the project that is called like a path below a root.
                return f"./{name}" if _ROOT.fullmatch(name) else name
        for root, folder in self._folders:
            if is_below(path, folder):
                if root:
                    return f"root {root}: {os.path.relpath(path, folder)}"
                return os.path.relpath(path, self._real_project)
        return None


def places_of(project: Project) -> Places:
    """Return the places of a project. Roots are expanded; one with an unset variable is left out."""
    directory = os.path.abspath(project.directory)
    roots = {}
    for name, text in project.roots.items():
        if all(os.environ.get(variable) for variable in _variables(text)):
            folder = os.path.expanduser(os.path.expandvars(text))
            roots[name] = Path(os.path.normpath(os.path.join(directory, folder)))
    repository = OwnCode(directory).repository
    variables = frozenset(name for text in project.roots.values() for name in _variables(text))
    return Places(Path(directory), Path(repository) if repository else None, roots, variables)


def _variables(text: str) -> list[str]:
    return [braced or bare for braced, bare in _VARIABLE.findall(text)]


def plain_path(path: str) -> str:
    """Return an absolute path without `.`, `..` and doubled slashes.

    Behind a link `..` leads elsewhere than its text says, so that there the links are resolved.
    """
    if "/." not in path and "//" not in path and not path.endswith("/"):
        return path
    parts = path.split(os.sep)
    if ".." not in parts:
        return os.path.normpath(path)
    folder, base = os.path.split(path.rstrip(os.sep))
    if base == "..":
        return os.path.realpath(path)
    return os.path.normpath(os.path.join(os.path.realpath(folder), base))


def folders_above(paths: Iterable[str]) -> set[str]:
    """Return all folders that lie above any of these paths."""
    above: set[str] = set()
    for path in paths:
        folder = os.path.dirname(path)
        while folder not in above and folder not in ("", os.sep):
            above.add(folder)
            folder = os.path.dirname(folder)
    return above
