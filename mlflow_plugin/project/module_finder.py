"""Find the files of the user's own code that an import runs, along the search path that Python would have.

Home-made, since `modulefinder` takes the search path of the running interpreter, follows installed packages as well
and parses every file anew; a verdict has a few milliseconds.
"""

import os
import sys
from collections.abc import Iterable
from functools import cached_property

from mlflow_plugin.project.import_roots import declared_roots, editable_roots, is_installed, path_folders
from mlflow_plugin.project.own_code import THIS_PACKAGE, OwnCode, Root, is_below
from mlflow_plugin.project.syntax import Import


class ModuleFinder:
    """Finds modules in the user's own code. Lists each folder once at most."""

    def __init__(self, own: OwnCode) -> None:
        self._own = own
        self._project = own.project
        self._listings: dict[str, frozenset[str]] = {}
        self._answers: dict[tuple[str, str], list[str]] = {}
        self._search_path: list[str] = []
        self._inserted: list[str] = []
        self._environment = self.accepted(path_folders(os.environ.get("PYTHONPATH", ""), self._project))

    @property
    def inserted(self) -> int:
        """The number of folders that the code puts on `sys.path`, as far as it was read."""
        return len(self._inserted)

    def forget_answers(self) -> None:
        """Look for every module again, since the search path has grown."""
        self._answers = {}

    def insert(self, folders: Iterable[str]) -> None:
        """Put folders in front of the search path, as `sys.path.insert` does."""
        self._inserted += [one for one in self.accepted(folders) if one not in self._inserted]

    def extend(self, value: str) -> None:
        """Take in the folders of a `PYTHONPATH` that a command sets."""
        listed = [os.path.normpath(os.path.join(self._project, entry)) for entry in value.split(os.pathsep)]
        inside = [folder for folder in listed if is_below(folder, self._project)]
        outside = self.accepted(path_folders(value, self._project))
        self._search_path += [folder for folder in [*inside, *outside] if folder not in self._search_path]
        self._answers = {}

    def imported(self, entry: Import, folder: str, script_folder: str) -> list[str]:
        """Return the user's files that an import statement in a file of `folder` runs."""
        if entry.level:
            for _ in range(entry.level - 1):
                folder = os.path.dirname(folder)
        module = entry.module.split(".") if entry.module else []

        def files_of(parts: list[str]) -> list[str]:
            return self._resolve(parts, [folder]) if entry.level else self.found(parts, script_folder)

        files = files_of(module)
        if entry.level and "__init__.py" in self.names_in(folder):
            files.append(os.path.join(folder, "__init__.py"))
        names = entry.names
        if "*" in names and files and files[-1].endswith("__init__.py"):
            # `__all__` may name any module of the package.
            names = [name[:-3] for name in sorted(self.names_in(os.path.dirname(files[-1]))) if name.endswith(".py")]
        for name in names:
            files += files_of([*module, name])
        return list(dict.fromkeys(files))

    def found(self, parts: list[str], script_folder: str) -> list[str]:
        """Return the files of an absolute import, which is looked for once."""
        place = (".".join(parts), script_folder)
        if place not in self._answers:
            self._answers[place] = self._looked_up(parts, script_folder)
        return self._answers[place].copy()

    def _looked_up(self, parts: list[str], script_folder: str) -> list[str]:
        """The files in the project, and those where Python would look before it; only without these, elsewhere."""
        project = [self._project]
        if "src" in self.names_in(self._project):
            project.append(os.path.join(self._project, "src"))
        files = self._resolve(parts, [script_folder, *self._search_path, *project])
        if self._inserted or self._environment:
            path = [*self._inserted, script_folder, *self._search_path, *self._environment, *project]
            files += [file for file in self._resolve(parts, path) if file not in files]
        if files or not parts or parts[0] == THIS_PACKAGE or parts[0] in sys.stdlib_module_names:
            return files
        files = self._resolve_in(parts, self._declared)
        # An ordinary installed package hides an editable one of its name.
        return files if files or is_installed(parts[0]) else self._resolve_in(parts, self._editable)

    @cached_property
    def _declared(self) -> list[Root]:
        return self._counted(declared_roots(self._project))

    @cached_property
    def _editable(self) -> list[Root]:
        return self._counted(editable_roots())

    def accepted(self, folders: Iterable[str]) -> list[str]:
        """Return the folders that may hold code of the user, from here on counted as such."""
        return [root.path for root in self._counted(Root(folder) for folder in folders)]

    def _counted(self, roots: Iterable[Root]) -> list[Root]:
        """The roots that may hold code of the user, from here on counted as such."""
        usable = [root for root in roots if os.path.isabs(root.path) and "\0" not in root.path]
        located = [Root(self._own.located(root.path), root.module) for root in usable]
        counted = [root for root in located if self._own.add(root)]
        # What was looked for before outside the project was not listed.
        self._listings = {place: names for place, names in self._listings.items() if is_below(place, self._project)}
        return counted

    # --- folders ---

    def _resolve_in(self, parts: list[str], roots: list[Root]) -> list[str]:
        files = self._resolve(parts, [root.path for root in roots if not root.module])
        for root in roots:
            module = root.module.split(".")
            if not files and root.module and parts[: len(module)] == module:
                if "__init__.py" in self.names_in(root.path):
                    files.append(os.path.join(root.path, "__init__.py"))
                elif os.path.isfile(f"{root.path}.py"):
                    return [f"{root.path}.py"]
                files += self._resolve(parts[len(module) :], [root.path])
        return files

    def _resolve(self, parts: list[str], roots: list[str]) -> list[str]:
        """The files that importing a dotted name runs, as far as they exist: packages, then the module."""
        if parts[:1] == [THIS_PACKAGE]:
            return []
        files: list[str] = []
        folders = roots
        for part in parts:
            packages = [os.path.join(folder, part) for folder in folders if part in self.names_in(folder)]
            module = part + ".py"
            for folder in folders:
                names = self.names_in(folder)
                # A folder that cannot be listed may still hold one that can.
                if (part in names or not names) and "__init__.py" in self.names_in(os.path.join(folder, part)):
                    packages = [os.path.join(folder, part)]
                    files.append(os.path.join(folder, part, "__init__.py"))
                    break
                if module in names:
                    return [*files, os.path.join(folder, module)]
            if not packages:
                break
            folders = packages
        return files

    def names_in(self, folder: str) -> frozenset[str]:
        """Return the names in a folder of the user's code; none for what is no such folder."""
        if folder not in self._listings:
            names: list[str] = []
            if self._own.counts(folder):
                try:
                    names = os.listdir(folder)
                except (OSError, ValueError):
                    names = []
            self._listings[folder] = frozenset(names)
        return self._listings[folder]
