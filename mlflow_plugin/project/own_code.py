"""Tell the user's own code from installed packages, and name its files alike in every checkout and on every machine.

The user's own are the files of the project, of the git repository around it, and of folders that `import_roots` found.
The standard library, installed packages, environments, hidden folders and this package never count.
Home-made, since no library draws this line: `modulefinder` and `importlib` ask the interpreter that runs them, and the
phase may run in another one.
"""

import os
from dataclasses import dataclass
from functools import cached_property

from mlflow_plugin.project.project import LOG_FILE

THIS_PACKAGE = "mlflow_plugin"
_THIS_FOLDER = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_NO_CODE_FOLDERS = {"__pycache__", "site-packages", "node_modules", "venv", "mlruns", "mlartifacts"}
_INSTALLED_FOLDERS = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__))


@dataclass(frozen=True)
class Root:
    """A folder outside the project with code of the user.

    Attributes:
        path: Absolute path of the folder, or of a module file without its suffix.
        module: Dotted name of the package or module that lies there; empty for a folder that modules lie below.
    """

    path: str
    module: str = ""


def is_no_code(folder_name: str) -> bool:
    """Return True for hidden folders, environments, caches and stores, by a folder's bare name."""
    return folder_name.startswith(".") or folder_name in _NO_CODE_FOLDERS


def counts_in_folder(name: str) -> bool:
    """Return True for a file that counts where its whole folder is listed as code, by its path in there."""
    bare = name.rpartition("/")[2]
    # The log grows with every run, and would make each the first of its kind.
    return not bare.startswith((".", "mlflow.db")) and not bare.endswith(".pyc") and bare != LOG_FILE


def is_below(path: str, folder: str) -> bool:
    """Return True when a path is the folder or lies in it, by its text."""
    return path == folder or path.startswith(os.path.join(folder, ""))


class OwnCode:
    """The user's own code as a phase of one project sees it.

    Args:
        project: Absolute path of the project's folder.
    """

    def __init__(self, project: str) -> None:
        self.project = project
        self._roots: list[Root] = []

    @cached_property
    def repository(self) -> str | None:
        """Real path of the git repository that holds the project: the nearest folder upwards with a `.git`."""
        folder = self.real_project
        # In a worktree and in a submodule `.git` is a file.
        while not os.path.lexists(os.path.join(folder, ".git")):
            above = os.path.dirname(folder)
            if above == folder:
                return None
            folder = above
        return folder

    @cached_property
    def real_project(self) -> str:
        """The project's folder with all links resolved."""
        return os.path.realpath(self.project)

    def add(self, root: Root) -> bool:
        """Count the files of a root. Return False for a folder of installed packages and for one that holds no code.

        A folder of the project counts already, and its files keep their names. A link inside the project to a folder
        elsewhere is no folder of the project.
        """
        if root in self._roots:
            return True
        real = os.path.realpath(root.path)
        if is_below(real, _STANDARD_LIBRARY) or not _INSTALLED_FOLDERS.isdisjoint(real.split(os.sep)):
            return False
        if is_below(real, self.real_project):
            return is_below(root.path, self.project) and self.counts(root.path)
        # The longest first: a file's name counts from the innermost root.
        self._roots = sorted([*self._roots, root], key=lambda one: (-len(one.path), one.path, one.module))
        return True

    def located(self, path: str) -> str:
        """Return the path by which a file or folder counts: links outside the project and its repository are resolved.

        So the same folder has one name, also where an installer wrote down another way to it.
        """
        if "\0" in path or is_below(path, self.project):
            return path
        if self.repository is not None and is_below(path, self.repository):
            return path
        real = os.path.realpath(path)
        if is_below(real, self.real_project):
            return self.project + real[len(self.real_project) :]
        return real

    def is_this_package(self, path: str) -> bool:
        """Return True for the files of mlflow-phases: the tool is not the experiment."""
        return is_below(os.path.realpath(path), _THIS_FOLDER)

    def counts(self, path: str) -> bool:
        """Return True when a file or folder at an absolute path is code of the user."""
        if is_below(path, self.project):
            parts = path[len(self.project) :].strip(os.sep).split(os.sep)
            return parts[0] != THIS_PACKAGE and not any(is_no_code(part) for part in parts if part)
        if is_below(path, _THIS_FOLDER):
            return False
        folders = [root.path for root in self._roots] + ([self.repository] if self.repository else [])
        return any(_counts_below(path, folder) for folder in folders)

    def name_of(self, path: str) -> str:
        """Return the name of a file in the digest, with `/`, as it is in every checkout and on every machine.

        It is relative to the project in the project, in its repository (`../common/x.py`) and for listed paths; below
        other roots it begins with the package (`common/x.py`).
        """
        if not is_below(path, self.project) and not (self.repository and is_below(path, self.repository)):
            for root in self._roots:
                module_file = bool(root.module) and path == f"{root.path}.py"
                if module_file or is_below(path, root.path):
                    below = ".py" if module_file else path[len(root.path) :].replace(os.sep, "/")
                    return (root.module.replace(".", "/") + below).lstrip("/")
        start = self.project if is_below(path, self.project) else self.real_project
        return os.path.relpath(path, start).replace(os.sep, "/")


def _counts_below(path: str, folder: str) -> bool:
    if not is_below(path, folder):
        return path == f"{folder}.py"
    below = path[len(folder) :].strip(os.sep)
    parts = below.split(os.sep) if below else []
    if parts[:1] == [THIS_PACKAGE] or (parts and not counts_in_folder(parts[-1])):
        return False
    return not any(is_no_code(part) or part in _INSTALLED_FOLDERS for part in parts)
