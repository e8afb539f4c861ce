"""Compare the names in a listed folder with those that a run had listed."""

import os
from collections.abc import Collection, Iterable

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
        gone_too: Names of folders whose absence is no change.
        report: Takes in what is found.
    """

    def __init__(self, paths: Filter, reach: Reach, report: Report, gone_too: Collection[str] = ()) -> None:
        self._filter, self._reach, self._report, self._gone_too = paths, reach, report, gone_too

    def is_same(self, folder: ListedFolder, path: str) -> bool:
        """Return True when a folder holds the names that it held; else report the difference."""
        try:
            entries = os.listdir(path)
        except (FileNotFoundError, NotADirectoryError):
            if folder.name in self._gone_too:
                self._report.row("folder", folder.name, "same", remark="gone, as it was before or as the run left it")
                return True
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
        names = self._counted(folder, path, set(entries) - set(folder.own))
        digest = value_digest(names)
        # The digest of then may hold names that no longer count.
        then = None if folder.names is None else self._counted(folder, path, folder.names)
        if digest == folder.digest or names == then:
            self._report.row("folder", folder.name, "same", remark=folder.remark)
            return True
        phrase = f"{shown_folder(folder.name)}, {_difference(folder, then, names)}"
        self._report.changed("folder", folder.name, phrase, digest)
        return False

    def _counted(self, folder: ListedFolder, path: str, names: Iterable[str]) -> list[str]:
        """Return the names that count, sorted."""
        return sorted(name for name in names if self._filter.counts_in_listing(folder.name, path, name))


def shown_folder(name: str) -> str:
    """Return a folder's name as people read it."""
    return "the project's folder" if name == "." else readable(name)


def _difference(folder: ListedFolder, then: list[str] | None, names: list[str]) -> str:
    """The difference between the names of a folder then and now, to follow its name."""
    if then is None:
        return (
            f"which held {folder.number:,} names and holds {len(names):,} now"
            if folder.number != len(names)
            else ("whose list of files has changed since")
        )
    new, gone = sorted(set(names) - set(then)), sorted(set(then) - set(names))
    parts = [f"{listed(new)} {_are(new)} new"] if new else []
    parts += [f"{listed(gone)} {_are(gone)} gone"] if gone else []
    return f"where {' and '.join(parts)}" if parts else "whose list of files has changed since"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
