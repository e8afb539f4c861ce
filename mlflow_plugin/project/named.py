"""Digest the files and folders that a command or a parameter names, other than programs.

They are compared apart from the code, for two reasons. A phase may write into a folder that its command names, and
must not be made anew for that: `Identity.differences` passes over the names that the run itself wrote to. And a file or
folder that was not there when a run began is left to the trace of what the run looked for: it is mostly the run's
output. Folders with more than `FOLDER_LIMIT` files are left to the trace as well, since a verdict walks them each time.
"""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_digest, value_digest, walk_files
from mlflow_plugin.project.file_code import file_code_digest
from mlflow_plugin.project.own_code import counts_in_folder, is_below, is_no_code
from mlflow_plugin.project.parameters import is_number, local_text

FOLDER_LIMIT = 5000
_LENGTH = 16
_SYSTEM_FOLDERS = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")
_GLOB_SIGNS = "*?["


@dataclass
class Named:
    """Files and folders by the name that they have in a fingerprint.

    Attributes:
        digests: Name -> first digits of the digest of the content.
        paths: Name -> absolute path; of a pattern with the signs in the folder's name escaped.
        uncompared: Names of folders that are too large to be compared, and of what cannot be read.
    """

    digests: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    uncompared: set[str] = field(default_factory=set)

    def add(self, name: str, path: str, *, is_code: bool = False) -> str | None:
        """Take in a file, a folder, or the files that match a pattern.

        Args:
            name: Its name in the fingerprint.
            path: Its absolute path.
            is_code: The ends of lines of a text file do not count, as in code.

        Returns:
            The digest of a single file; None for everything else, and for a path that names nothing.
        """
        is_file = os.path.isfile(path)
        if is_file:
            digest = _file_digest(path, is_code)
        elif os.path.isdir(path):
            digest = _folder_digest(path)
        else:
            folder, pattern = _split_pattern(path)
            digest = _pattern_digest(folder, pattern) if pattern else _NO_FILES
            path = os.path.join(glob.escape(folder), pattern)
        if digest == _NO_FILES:
            return None
        self.paths[name] = path
        if digest is None:
            self.uncompared.add(name)
        else:
            self.digests[name] = digest[:_LENGTH]
        return digest if is_file else None


_NO_FILES = ""


def _file_digest(path: str, is_code: bool) -> str | None:
    try:
        return file_code_digest(path) if is_code else _data_digest(path)
    except PhaseError:
        return None


def _data_digest(path: str) -> str:
    return file_code_digest(path) if path.endswith(".py") else file_digest(Path(path))


def _folder_digest(folder: str) -> str | None:
    """Digest the names and contents of a folder's files; None when they are too many or cannot be read."""
    return _digest_of_files((name, str(path)) for name, path in walk_files(Path(folder), is_no_code))


def is_pattern(path: str) -> bool:
    """Return whether a path has signs of a pattern and is no file or folder itself."""
    return any(sign in path for sign in _GLOB_SIGNS) and not os.path.lexists(path)


def _split_pattern(path: str) -> tuple[str, str]:
    """Split at the last folder that exists, in whose name the signs of a pattern are plain text. (folder, pattern)."""
    folder = path
    while folder != os.path.dirname(folder) and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    rest = path[len(folder) :].strip(os.sep)
    return folder, rest if any(sign in rest for sign in _GLOB_SIGNS) else ""


def _pattern_digest(folder: str, pattern: str) -> str | None:
    matches = sorted(islice(glob.iglob(pattern, root_dir=folder), FOLDER_LIMIT + 1))
    found = ((name.replace(os.sep, "/"), os.path.join(folder, name)) for name in matches)
    return _digest_of_files((name, path) for name, path in found if os.path.isfile(path))


def _digest_of_files(files: Iterator[tuple[str, str]]) -> str | None:
    listed: dict[str, str] = {}
    try:
        for name, path in files:
            if counts_in_folder(name):
                listed[name] = path
            if len(listed) > FOLDER_LIMIT:
                return None
        return value_digest({name: _data_digest(path) for name, path in listed.items()}) if listed else _NO_FILES
    except PhaseError:
        return None


def is_readable_data(path: str, project: str) -> bool:
    """Return whether a path that was named may be read as data.

    The project's own folder and those around it are not read: they hold the store and whatever runs leave behind, so no
    run would ever be the same. Neither are the system's folders, environments, stores and hidden folders.
    """
    if "\0" in path or is_below(project, path) or any(is_below(path, folder) for folder in _SYSTEM_FOLDERS):
        return False
    home = os.path.expanduser("~")
    if is_below(home, path):
        return False
    start = next((folder for folder in (project, home) if is_below(path, folder)), os.sep)
    return not any(is_no_code(part) for part in path[len(start) :].split(os.sep) if part)


def path_of_value(text: str, project: str) -> str | None:
    """Return the absolute path of the file or folder that a text value names, seen from the project's folder.

    None for a text that names nothing, for a number, and for what is no data (see `is_readable_data`).
    """
    if not text or text != text.strip() or "\0" in text or is_number(text):
        return None
    path = os.path.normpath(os.path.join(project, local_text(text)))
    if not is_readable_data(path, project) or not (os.path.isfile(path) or os.path.isdir(path)):
        return None
    return path
