"""Compare the names in a listed folder with those that a run had listed."""

import os

from mlflow_plugin.observation.files import ListedFolder
from mlflow_plugin.observation.policy import Filter
from mlflow_plugin.observation.reach import Reach
from mlflow_plugin.observation.readable import listed, readable
from mlflow_plugin.observation.report import Report
from mlflow_plugin.project.digests import value_digest


class FolderComparison:
    """Compares listed folders.

    Args:
        paths: Tells the names that count.
        reach: What can be reached here.
        report: Takes in what is found.
    """

    def __init__(self, paths: Filter, reach: Reach, report: Report) -> None:
        self._filter, self._reach, self._report = paths, reach, report

    def is_same(self, folder: ListedFolder, path: str) -> bool:
        """Return True when a folder holds the names that it held; else report the difference."""
        try:
            entries = os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            if self._reach.is_folder(os.path.dirname(path)):
                phrase = f"{readable(folder.name)}, which is gone"
                self._report.changed("folder", folder.name, phrase, "gone", missing=True)
            else:
                self._reach.miss(path, 0)
                self._report.row("folder", folder.name, "not compared", remark="it is not here")
            return False
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "its name is not possible here"
            sentence = f"the folder {readable(folder.name)} cannot be listed here: {why}"
            self._report.unclear(sentence, ["unreadable", folder.name])
            self._report.row("folder", folder.name, "not compared", remark=why)
            return False
        own = set(folder.own)
        names = sorted(
            entry for entry in entries if entry not in own and self._filter.counts_in_listing(folder.name, path, entry)
        )
        digest = value_digest(names)
        if digest == folder.digest:
            self._report.row("folder", folder.name, "same", remark=folder.remark)
            return True
        phrase = f"{shown_folder(folder.name)}, {_difference(folder, names)}"
        self._report.changed("folder", folder.name, phrase, digest)
        return False


def shown_folder(name: str) -> str:
    """Return a folder's name as people read it."""
    return "the project's folder" if name == "." else readable(name)


def _difference(folder: ListedFolder, names: list[str]) -> str:
    """The difference between the names of a folder then and now, to follow its name."""
    if folder.names is None:
        return (
            f"which held {folder.number:,} names and holds {len(names):,} now"
            if folder.number != len(names)
            else ("whose list of files has changed since")
        )
    new, gone = sorted(set(names) - set(folder.names)), sorted(set(folder.names) - set(names))
    parts = [f"{listed(new)} {_are(new)} new"] if new else []
    parts += [f"{listed(gone)} {_are(gone)} gone"] if gone else []
    return f"where {' and '.join(parts)}" if parts else "whose list of files has changed since"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
