"""The folders that a phase listed: their names as they were then, without those that the run made itself."""

import os
import zlib
from collections.abc import Iterable

from mlflow_plugin.observation.files import ListedFolder
from mlflow_plugin.observation.places import folders_above
from mlflow_plugin.observation.policy import Filter, counts_in_listing, is_temporary
from mlflow_plugin.observation.recording import Listing, Recording
from mlflow_plugin.project.digests import value_digest

MOST_NAMES = 500
"""A folder of more names keeps their digest alone."""
_MOST_ENTRIES = 2_000


class Listings:
    """The listed folders of a recording.

    Attributes:
        changed: Names of folders that another process changed while the run used them.
        gone_too: Names of folders that the run made or moved away: they may be gone.
    """

    def __init__(self, recording: Recording, paths: Filter) -> None:
        self._recording, self._filter = recording, paths
        self._written = recording.written
        self._made_folders = recording.folders
        self._above = folders_above((*recording.written, *recording.folders))
        self._beside = {os.path.dirname(path) for path in recording.written}
        self._made: dict[str, bool] = {}
        self._removed: dict[str, set[str]] = {}
        for path in recording.removed & recording.read.keys():
            self._removed.setdefault(os.path.dirname(path), set()).add(os.path.basename(path))
        self._most_entries = _MOST_ENTRIES + 2 * len(recording.written)
        self.changed: set[str] = set()
        self.gone_too: set[str] = set()

    def folders(self) -> list[ListedFolder]:
        """Return the folders that count, as they were when they were listed."""
        found: dict[str, ListedFolder] = {}
        for path, listing in sorted(self._recording.listed.items()):
            name = self._filter.counted_folder(path)
            if name is None or (is_temporary(path) and os.path.isabs(name) and not os.path.isdir(path)):
                continue
            path = path.rstrip(os.sep) or os.sep
            place = self.place_now(path)
            if folder := self._folder(name, place, listing):
                found[name] = folder
                if place != path or path in self._recording.filled:
                    self.gone_too.add(name)
        return [found[name] for name in sorted(found)]

    def place_now(self, path: str) -> str:
        """Return where a file or folder lies that the run may have moved."""
        moved = self._recording.moved
        if moved and not os.path.lexists(path):
            above = path
            while len(above) > 1:
                if above in moved:
                    return moved[above] + path[len(above) :]
                above = os.path.dirname(above)
        return path

    def was_made(self, path: str) -> bool:
        """Return True for a path that the run made: it wrote it, or it wrote everything below it."""
        if path in self._written or path in self._made_folders:
            return True
        if path not in self._made:
            # A rename puts a file into place that was written beside it.
            beside = os.path.dirname(path) in self._beside and not os.path.isdir(path)
            self._made[path] = beside or (path in self._above and self._holds_only_written(path))
        return self._made[path]

    def _folder(self, name: str, path: str, then: Listing) -> ListedFolder | None:
        real = os.path.realpath(path)
        try:
            entries = os.listdir(path)
            now_ns = os.stat(path).st_mtime_ns
        except OSError:
            if not self._above & {path, real}:
                self.changed.add(name)
            return None
        folders = {path, real}
        own = {entry for entry in entries if any(self._is_own(os.path.join(one, entry)) for one in folders)}
        counted = {entry for entry in entries if self._filter.counts_in_listing(name, path, entry)}
        # The folder's time moves with everything that the run itself, or the tracking store, makes and removes there,
        # and with an editor's swap files, which come and go.
        removed = {name for one in folders for name in self._removed.get(one, ())}
        changed = now_ns != then.mtime_ns and then.names not in (
            _sum_of_names(entries),
            _sum_of_names({*entries, *removed}),
        )
        if changed and not self._above & folders and not own and len(counted) == len(entries):
            self.changed.add(name)
            return None
        names = sorted(counted - own - removed)
        kept = tuple(names) if len(names) <= MOST_NAMES else None
        return ListedFolder(name, value_digest(names), len(names), kept, tuple(sorted((own & counted) | removed)))

    def _is_own(self, path: str) -> bool:
        if path in self._written or path in self._made_folders:
            return True
        return path in self._above and self._holds_only_written(path)

    def _holds_only_written(self, folder: str) -> bool:
        """True for a folder in which the run wrote everything that counts, and something at all."""
        waiting, looked_at, written = [folder], 0, False
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        looked_at += 1
                        if looked_at > self._most_entries:
                            return False
                        if entry.path in self._written:
                            written = True
                        elif entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        elif counts_in_listing(entry.name):
                            return False
            except OSError:
                return False
        return written


def _sum_of_names(names: Iterable[str]) -> int:
    return sum(zlib.crc32(os.fsencode(name)) for name in names) % 2**64
