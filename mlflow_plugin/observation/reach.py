"""Keep account of what a comparison cannot reach here: missing folders, unknown roots, files of other users."""

import os
from collections.abc import Sequence

from mlflow_plugin.observation.places import Place, Places
from mlflow_plugin.observation.readable import listed, readable
from mlflow_plugin.observation.report import Report
from mlflow_plugin.observation.trace import Trace


class Reach:
    """What can be reached on this machine.

    Args:
        trace: What the run read.
        places: The folders of the user.
        report: Takes in what cannot be compared.
        trusted: Files outside the user's folders may be read.
    """

    def __init__(self, trace: Trace, places: Places, report: Report, *, trusted: bool) -> None:
        self._trace, self._places, self._report, self.trusted = trace, places, report, trusted
        self._is_folder: dict[str, bool] = {}
        self._untrusted: list[str] = []
        self._rootless: dict[str, int] = {}
        self._missing: dict[str, int] = {}

    def may_read(self, place: Place, names: Sequence[str], files: int) -> bool:
        """Return True when a place may be read; else its names are kept for one sentence.

        Args:
            place: The place of a file or of a folder.
            names: Names of what is read there.
            files: The number of files among them.
        """
        if place.path is None:
            self._rootless[place.root] = self._rootless.get(place.root, 0) + files
        elif not place.own and not self.trusted:
            self._untrusted += names
        else:
            return True
        return False

    def is_folder(self, path: str) -> bool:
        """Return True when there is a folder at a path. Looks once."""
        if path not in self._is_folder:
            self._is_folder[path] = os.path.isdir(path)
        return self._is_folder[path]

    def miss(self, folder: str, files: int) -> None:
        """Keep a folder that is not here, and how many files were read in it."""
        self._missing[folder] = self._missing.get(folder, 0) + files

    def report(self) -> None:
        """Report everything that was not reached, each in one sentence."""
        for root, number in self._rootless.items():
            files = f"{_files(number)} that it read there" if number else "what it read there"
            self._report.unclear(
                f"the root {readable(root)} has no folder here, so {files} cannot be compared: set the variables of "
                "`roots` in the MLproject file",
                ["root", root],
            )
        for folder, number in self._missing_folders().items():
            files = f"{_files(number)} that it read there" if number else "its list of files"
            missing = f"the folder of the {readable(folder[:-3])}" if folder.endswith(": .") else readable(folder)
            self._report.unclear(f"{missing} is not here, so {files} cannot be compared", ["missing", folder])
        if self._untrusted:
            self._report.unclear(
                f"{listed(self._untrusted)} outside the project cannot be compared unasked, since another user made "
                "the run",
                ["untrusted", self._trace.digest],
            )

    def _missing_folders(self) -> dict[str, int]:
        """The topmost missing folders by their names -> number of files below."""
        found: dict[str, int] = {}
        for folder, number in self._missing.items():
            above = os.path.dirname(folder)
            while not self.is_folder(above) and above != os.path.dirname(above):
                folder, above = above, os.path.dirname(above)
            name = self._places.name_of(folder)
            found[name] = found.get(name, 0) + number
        return found


def _files(number: int) -> str:
    return f"{number:,} file{'s' if number != 1 else ''}"
